"""Configs, class maps and tables that are bombs, hold themselves, or are damaged.

    python scripts/attacks/bench_config.py [MUTATIONS]

Each must be refused in words, or read, within ten seconds of computing.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from victim import Outcomes, seewhy, write_bench

from seewhy.bench.config import read_config
from seewhy.data.class_map import read_class_map
from seewhy.data.coco import read_coco

PATIENCE = 10.0  # seconds
draw = random.Random(0)

LAUGHS = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
)
MERGES = "\n".join(
    ["a0: &a0 {k: 1}"]
    + [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}], k{n}: 1}}" for n in range(1, 40)]
)


def bombs(good: str) -> dict[str, str]:
    """Configs by what they are."""
    listed = ["methods", "metrics", "networks", "datasets", "name", "seed"]
    found = {
        "laughs": f"{LAUGHS}\n{good}",
        "laughs as methods": good.replace("methods:", f"{LAUGHS}\nmethods: *a11\nold:"),
        "laughs of merges": f"{MERGES}\n{good}",
        "many aliases": "a: &a [1]\nb: [" + "*a, " * 100_000 + "]\n" + good,
        "a key as an alias": "a: &a [1]\n? *a\n: 2\n" + good,
        "deep list": good + "methods: " + "[" * 100_000 + "]" * 100_000,
        "deep open list": good + "methods: " + "[" * 400_000,
        "deep mapping": "a: {" * 50_000,
        "deep block": "- " * 200_000,
        "deep keys": "? " * 200_000,
        "deep tags": "!!seq " * 100_000 + "x",
        "long line": "name: " + "x" * 900_000 + "\n" + good,
        "many keys": good + "".join(f"k{n}: 1\n" for n in range(40_000)),
        "too long": good + "# " + "x" * 2_000_000,
        "many documents": "---\n" * 100_000 + good,
        "huge number": good + "seed: " + "1" * 100_000,
        "huge base 60": good + "seed: 1" + ":59" * 50_000,
        "date that is none": good + "seed: 2024-13-45",
        "infinite": good + "tolerance: .inf",
        "no number": good + "tolerance: .nan",
        "objects": "!!python/object/apply:os.system ['touch owned']\n" + good,
        "binary that is none": good + "seed: !!binary '@@@'",
        "float that is none": good + "tolerance: !!float 'x'",
        "bool that is none": good + "seed: !!bool 'x'",
        "timestamp that is none": good + "seed: !!timestamp 'x'",
        "null byte": good + "\0",
        "escape codes": good + "'\x1b[2J': 1",
        "escaped escape codes": good + '"\\e[2J": 1',
        "half a character": good + 'protocol: "\\ud800"',
        "half a character as a name": good.replace("name: tiny", 'name: "\\ud800"'),
        "directions": good + '"\\u202E": 1',
        "a set": good + "methods: !!set {grad_cam, gradient}",
        "ordered": good + "methods: !!omap [a: 1]",
        "pairs": "!!pairs [a: 1]",
    }
    for key in listed:
        for what, value in (
            ("itself", "&x [*x]"),
            ("itself within", "&x {a: {b: *x}}"),
            ("itself as a key", "&x {*x : 1}"),
            ("merge of itself", "&x {<<: *x}"),
            ("null", "null"),
            ("mapping", "{a: 1}"),
        ):
            kept, inside = [], False
            for line in good.splitlines():
                inside = line.startswith(f"{key}:") or (inside and line[:1] in " -")
                kept += [] if inside else [line]
            found[f"{key} is {what}"] = "\n".join([*kept, f"{key}: {value}", ""])
    return found


def classes() -> dict[str, str]:
    """Class maps by what they are."""
    return {
        "deep": '{"a":' * 100_000,
        "deep list": "[" * 100_000,
        "deep and closed": '{"a":' + "[" * 5_000 + "]" * 5_000 + "}",
        "twice the same": '{"ant": [1], "ant": [2]}',
        "huge number": '{"ant": [' + "1" * 100_000 + "]}",
        "not a number": '{"ant": [NaN]}',
        "infinite": '{"ant": [1e999]}',
        "negative": '{"ant": [-1]}',
        "true": '{"ant": [true]}',
        "a list": "[1, 2]",
        "empty": "",
        "half a character": '{"\\ud800": [1]}',
        "no UTF-8": '{"caf\udce9": [1]}',
        "null": "null",
    }


def tables() -> dict[str, str]:
    """COCO's instances by what they are."""
    image = {"id": 1, "file_name": "a.png", "width": 9, "height": 9}
    note = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "segmentation": []}
    kind = {"id": 1, "name": "ant"}
    whole = {"images": [image], "annotations": [note], "categories": [kind]}
    found = {"deep": "[" * 100_000, "a list": "[]", "null": "null", "empty": "", "text": '"x"'}
    for part, item in (("images", image), ("annotations", note), ("categories", kind)):
        for value in (None, 1, "x", {}, [1], [None], ["x"], [[]], [{}]):
            found[f"{part} is {value}"] = json.dumps({**whole, part: value})
        for key in item:
            for value in (None, [], {}, "x", -1, 1e308):
                found[f"{part}.{key} is {value}"] = json.dumps(
                    {**whole, part: [{**item, key: value}]}
                )
            less = {k: v for k, v in item.items() if k != key}
            found[f"{part} without {key}"] = json.dumps({**whole, part: [less]})
    return found


def mutated(good: str) -> str:
    """The config with a few bytes changed, moved or said again."""
    text = list(good)
    for _ in range(draw.randrange(1, 6)):
        at = draw.randrange(len(text))
        match draw.randrange(4):
            case 0:
                text[at] = draw.choice("&*!|>%@`{}[]:,-?#'\"\n\t \\\0\x1b0aé")
            case 1:
                del text[at : at + draw.randrange(20)]
            case 2:
                text[at:at] = text[at : at + draw.randrange(40)]
            case _:
                text[at:at] = draw.choice(
                    ["&a ", "*a ", "!!", "<<: ", "- ", "? ", ": ", "---\n", "\\x"]
                )
    return "".join(text)


def tried(found: Outcomes, title: str, about: str, read: Callable[[], object]) -> None:
    """Read something that is wrong; only a ValueError is an answer."""
    begun = time.process_time()
    try:
        read()
        outcome, bad = "read", False
    except ValueError as error:
        outcome, bad = "refused in words", len(str(error)) > 20_000
    except Exception as error:
        outcome, bad, about = type(error).__name__, True, f"{about}: {error}"[:300]
    spent = time.process_time() - begun
    found.slowest = max(found.slowest, (spent, about[:100]))
    if spent > PATIENCE:
        outcome, bad = "TOO SLOW", True
    found.add(f"{title}: {outcome}", bad=bad, about=about)


def main(folder: Path, mutations: int) -> int:
    """All attacks."""
    found = Outcomes()
    config = write_bench(folder)
    good = config.read_text()
    os.chdir(folder)
    for name, text in bombs(good).items():
        config.write_text(text)
        begun = time.process_time()
        code, said, traceback = seewhy("bench", config, "--dry-run")
        spent = time.process_time() - begun
        slow = spent > PATIENCE
        found.slowest = max(found.slowest, (spent, name))
        shown = all(one.isprintable() or one == "\n" for one in said)
        bad = traceback or slow or code not in (0, 2) or not shown or len(said) > 20_000
        outcome = "refused in words" if code == 2 else "read"
        found.add(
            f"bombs: {'BAD' if bad else outcome}", bad=bad, about=f"{name} {code} {said[:300]}"
        )
    found.add("objects: nothing was run", bad=(folder / "owned").exists())
    config.unlink()
    for name, make in (
        ("a pipe", os.mkfifo),
        ("a folder", os.mkdir),
        ("endless", lambda path: os.symlink("/dev/zero", path)),
        ("a loop", lambda path: os.symlink(path, path)),
    ):
        path = folder / f"{name}.yaml"
        make(path)
        tried(found, "files", name, lambda path=path: read_config(path))
        tried(found, "files", name, lambda path=path: read_class_map(path))
    for _ in range(mutations):
        path = folder / "mutated.yaml"
        path.write_bytes(mutated(good).encode("utf-8", "surrogateescape"))
        tried(found, "mutations", path.read_text()[:300], lambda path=path: read_config(path))
    path = folder / "classes.json"
    for name, text in classes().items():
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        tried(found, "class maps", name, lambda: read_class_map(path))
    instances = folder / "coco" / "instances.json"
    (folder / "coco" / "images").mkdir(parents=True)
    for name, text in tables().items():
        instances.write_text(text)

        def read() -> None:
            data = read_coco(folder / "coco")
            for key in data.keys:
                list(data.files(key))

        tried(found, "instances", name, read)
    print(f"slowest: {found.slowest[1]}, {found.slowest[0]:.1f} s")
    return found.close("configs and tables")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        sys.exit(main(Path(place), int([*sys.argv[1:], "5000"][0])))
