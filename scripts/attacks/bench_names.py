"""Photos whose files are called as no file should be; labels and tables that name others.

    python scripts/attacks/bench_names.py

`seewhy bench` and `seewhy report` must do all that can be read, name the rest on
lines that a terminal shows as they are, and go on with it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from victim import Outcomes, seewhy, write_bench

from seewhy.bench.store import Run

NAMES = [
    b"caf\xe9.png",
    b"\xff\xfe.png",
    b"\xed\xa0\x80.png",
    b"two\nlines.png",
    b"tab\t.png",
    b"\x1b[2J\x1b]0;title\x07.png",
    b"\r.png",
    b"\x7f\xc2\x9b31m.png",
    "\u202egnp.png".encode(),
    "\u2028.png".encode(),
    b"[red]markup[bold].png",
    b"<script>alert(1).png",
    b"'; rm -rf $HOME #.png",
    b"%s%n{0}.png",
    b"-o.png",
    b" .png",
    b"a" * 251 + b".png",
    "\U0001f431".encode() * 62 + b".png",
]
LISTED = [
    "x" * 300 + ".png",
    "a/" * 3000 + "y.png",
    "nul\0.png",
    "",
    ".",
    "..",
    "/etc/passwd",
    "../../../../../etc/passwd",
    "\x1b[31m.png",
    "\ud800.png",
    "~/x.png",
    "C:\\x.png",
]


def printed(said: str) -> bool:
    return all(one.isprintable() or one == "\n" for one in said)


def files(config: Path, found: Outcomes) -> None:
    """Each name as a photo, whole or broken, beside the others."""
    photos = os.fsencode(config.with_name("photos"))
    whole = (config.parent / "photos/ant/0.png").read_bytes()
    for place, name in enumerate(NAMES):
        for kind, content in (("whole", whole), ("broken", whole[:60]), ("empty", b"")):
            path = os.path.join(photos, b"bee", name)
            with open(path, "wb") as file:
                file.write(content)
            folder = config.with_name(f"run-{place}-{kind}")
            code, said, traceback = seewhy("bench", config, "--out", folder, "--workers", 1)
            if traceback:
                found.add(f"a {kind} photo: TRACEBACK", bad=True, about=f"{name!r} {said}")
            else:
                rows = Run.open(folder).table().to_pylist()
                images = {row["image"] for row in rows if not row["failed"]}
                failed = {row["image"] for row in rows if row["failed"]}
                good = len(images) == 7 if kind == "whole" else len(images) == 6 == 7 - len(failed)
                good = good and code == int(kind != "whole") and printed(said)
                found.add(
                    f"a {kind} photo: {'all done' if good else 'NOT ALL DONE'}",
                    bad=not good,
                    about=f"{name!r} {code} {said}",
                )
                code, said, traceback = seewhy("report", folder)
                page = (folder / "report.html").read_text() if not code else ""
                good = code == 0 and not traceback and "<script>alert" not in page
                found.add(f"its page: {'good' if good else 'BAD'}", bad=not good, about=said)
            os.remove(path)


def tables(config: Path, found: Outcomes) -> None:
    """Each name in a table of labels, and in COCO's."""
    photo = config.parent / "photos/ant/0.png"
    for place, name in enumerate(LISTED):
        folder = config.with_name(f"csv{place}")
        (folder / "images").mkdir(parents=True)
        shutil.copy(photo, folder / "images" / "ok.png")
        line = f'file,label\nok.png,ant\n"{name}",bee\n'
        (folder / "labels.csv").write_bytes(line.encode("utf-8", "surrogatepass"))
        coco = config.with_name(f"coco{place}")
        (coco / "images").mkdir(parents=True)
        shutil.copy(photo, coco / "images" / "ok.png")
        images = [
            {"id": i, "file_name": n, "width": 40, "height": 30}
            for i, n in enumerate(["ok.png", name])
        ]
        notes = [
            {
                "id": i,
                "image_id": i,
                "category_id": 1,
                "bbox": [1, 1, 9, 9],
                "iscrowd": 0,
                "area": 81,
                "segmentation": [[1, 1, 9, 1, 9, 9]],
            }
            for i in range(2)
        ]
        table = {"images": images, "annotations": notes, "categories": [{"id": 1, "name": "ant"}]}
        (coco / "instances.json").write_text(json.dumps(table))
        for kind, source in (
            ("labels.csv", f"folder:{folder}"),
            ("instances.json", f"coco:{coco}"),
        ):
            changed = write_bench(config.parent, datasets=[{"dataset": source}])
            run = config.with_name(f"run-{kind}-{place}")
            code, said, traceback = seewhy("bench", changed, "--out", run, "--workers", 1)
            if not traceback and code == 1:
                rows = Run.open(run).table().to_pylist()
                good = {row["image"] for row in rows if not row["failed"]} == {"ok.png"}
                outcome = "named, the rest done" if good and printed(said) else "NOT DONE"
            else:
                good = code == 2 and not traceback and printed(said)
                outcome = "the table is refused in words" if good else "TRACEBACK"
            found.add(f"{kind}: {outcome}", bad=not good, about=f"{name[:40]!r} {said[-300:]}")


if __name__ == "__main__":
    outcomes = Outcomes()
    with tempfile.TemporaryDirectory() as place:
        config = write_bench(Path(place))
        files(config, outcomes)
        tables(config, outcomes)
    sys.exit(outcomes.close("names of files"))
