"""Runs whose folders name code and files that a report must not touch.

    python scripts/attacks/report_trust.py

Each run is forged: its manifest names `evil_nets:build` and other folders in every place, with
checksums that fit. The report is made in a process that notes what it imports, opens and starts.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from victim import Outcomes, seewhy, write_bench

from seewhy.bench.store import Run

EVIL = "from pathlib import Path\nPath(__file__).with_name('owned').touch()\n"
WATCHED = """
import os, sys
outside = sys.argv[1]

def hook(event, args):
    if event == "open" and isinstance(args[0], (str, bytes)):
        path = os.path.realpath(os.fsdecode(args[0]))
        if path.startswith(outside):
            print("OPENED", path, flush=True)
    elif event in ("subprocess.Popen", "os.system", "os.exec", "os.fork", "socket.connect"):
        print("STARTED", event, args[:2], flush=True)

sys.addaudithook(hook)
from seewhy.cli import app
app(["report", *sys.argv[2:]])
"""


def forgeries(manifest: dict[str, Any], outside: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The manifest with code and folders in it, one place after another and in all."""
    evil, folder = "evil_nets:build", str(outside)
    config = manifest["config"]
    network, dataset = config["networks"][0], config["datasets"][0]
    changes: dict[str, dict[str, Any]] = {
        "model": {"networks": [{**network, "name": network["model"], "model": evil}]},
        "weights": {"networks": [{**network, "weights": f"{folder}/weights.pt"}]},
        "classes": {"networks": [{**network, "classes": f"{folder}/classes.txt"}]},
        "dataset": {"datasets": [{**dataset, "dataset": f"folder:{folder}/photos"}]},
        "class map": {"datasets": [{**dataset, "class_map": f"{folder}/map.json"}]},
        "methods": {"methods": [evil, "__import__('evil_nets')", "evil_nets.build"]},
        "metrics": {"metrics": [evil]},
        "protocol": {"protocol": evil},
        "plugins": {"plugins": ["evil_nets"]},
    }
    for name, change in changes.items():
        yield name, {**manifest, "config": {**config, **change}}
    yield "root", {**manifest, "root": folder}
    whole = {key: value for change in changes.values() for key, value in change.items()}
    yield "all of them", {**manifest, "root": folder, "config": {**config, **whole}}


def main(place: Path) -> int:
    """All forgeries, each reported on with and without a gallery, and compared."""
    found = Outcomes()
    config = write_bench(place)
    seewhy("bench", config, "--workers", 1, "--out", place / "run")
    outside = place / "outside"
    (outside / "photos").mkdir(parents=True)
    for name in ("evil_nets", "scenes", "torchvision", "timm", "folder"):
        (outside / f"{name}.py").write_text(EVIL)
    for name in ("weights.pt", "classes.txt", "map.json", "photos/a.png"):
        (outside / name).write_bytes(b"x")
    whole = Run.open(place / "run")
    for name, manifest in forgeries(whole.manifest, outside.resolve()):
        run = Run.create(place / name.replace(" ", "-"), manifest)
        for file in whole.files.values():
            run.put(f"rows/{file.name}", file.read_bytes())
        for pictures in (True, False):
            if pictures:
                run.put("pictures.parquet", (whole.folder / "pictures.parquet").read_bytes())
            for arguments in (
                [run.folder],
                [run.folder, "--images", 0],
                [run.folder, whole.folder],
            ):
                call = [sys.executable, "-c", WATCHED, str(outside.resolve()), *map(str, arguments)]
                path = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path[1:], str(outside)])}
                ran = subprocess.run(call, cwd=outside, env=path, capture_output=True, text=True)
                touched = [line for line in ran.stdout.splitlines() if line[:4] in ("OPEN", "STAR")]
                bad = bool(touched) or (outside / "owned").exists() or "Traceback" in ran.stderr
                outcome = "TOUCHED" if touched else "a page" if not ran.returncode else "words"
                found.add(f"{outcome}", bad=bad, about=f"{name}: {touched} {ran.stderr[-300:]}")
    return found.close("runs that name code and files")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(main(Path(folder)))
