"""Damaged, copied and foreign files in the folder of a run; damaged and forged manifests.

    python scripts/attacks/bench_damage.py [SHARDS] [MANIFESTS]

Each damaged shard is first read, then given to `seewhy bench`, which must name it and end in the
table of the run that nobody touched. Each damaged manifest is given to `seewhy report` and
`seewhy bench`, which must answer in words; half of them come with a checksum that fits.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from copy import deepcopy
from hashlib import sha256
from pathlib import Path
from typing import Any

from victim import Outcomes, seewhy, write_bench

from seewhy.bench.store import Run

draw = random.Random(0)


def flipped(data: bytes) -> bytes:
    place, bit = draw.randrange(len(data)), draw.randrange(8)
    return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


def blotted(data: bytes) -> bytes:
    start = draw.randrange(len(data))
    return data[:start] + bytes(min(64, len(data) - start)) + data[start + 64 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a bit flipped": flipped,
    "three bits flipped": lambda data: flipped(flipped(flipped(data))),
    "cut short": lambda data: data[: draw.randrange(len(data))],
    "grown": lambda data: data + draw.randbytes(draw.randrange(1, 100)),
    "64 bytes zero": blotted,
    "noise": lambda data: draw.randbytes(len(data)),
    "twice": lambda data: data + data,
}


def shards(config: Path, count: int) -> int:
    """Damage one shard's file, `count` times over."""
    found = Outcomes()
    for name in ("run", "other"):
        seewhy("bench", config, "--out", config.with_name(name), "--workers", 1)
    # The same settings and photos, other values: a run of the same layout with another seed.
    other = config.with_name("seeded.yaml")
    other.write_text(config.read_text() + "seed: 1\n")
    seewhy("bench", other, "--out", config.with_name("foreign"), "--workers", 1)
    whole = Run.open(config.with_name("run"))
    table = whole.table()
    kinds = [*DAMAGES, "another shard's", "another run's", "another seed's", "swapped", "extra"]
    for number in range(count):
        kind = kinds[number % len(kinds)]
        folder = config.with_name("victim")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole.folder, folder)
        files = sorted((folder / "rows").glob("*.parquet"))
        target, second = draw.sample(files, 2)
        before = target.read_bytes()
        if kind in DAMAGES:
            target.write_bytes(DAMAGES[kind](before))
        elif kind == "swapped":
            content = second.read_bytes()
            second.write_bytes(before)
            target.write_bytes(content)
        elif kind == "extra":
            target = target.with_name(draw.choice(["00003.parquet", "copy.parquet", "²1.parquet"]))
            target.write_bytes(before)
        else:
            source = {"another shard's": second, "another run's": config.with_name("other")}
            source.setdefault(kind, config.with_name("foreign"))
            path = source[kind]
            target.write_bytes(
                (path / "rows" / target.name if path.is_dir() else path).read_bytes()
            )
        if kind != "extra" and target.read_bytes() == before:
            found.add(f"{kind}: the same bytes")
            continue
        try:
            same = Run.open(folder).table().equals(table)
        except ValueError as error:
            read = "refused" if target.name in str(error) or kind == "swapped" else "no name"
        else:
            read = "harmless" if same else "WRONG VALUES"
        found.add(f"{kind}: reading is {read}", bad=read not in ("refused", "harmless"), about=kind)
        code, said, traceback = seewhy("bench", config, "--out", folder, "--workers", 1)
        again = not traceback and code == 0 and Run.open(folder).table().equals(table)
        named = target.name in said
        outcome = "named, and the table is whole" if again and named else "NOT MENDED"
        found.add(f"{kind}: {outcome}", bad=not (again and named), about=f"{code} {said}")
    return found.close("damaged shards (each is read, and gone on with)")


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Each part of a JSON value."""
    yield place
    if isinstance(value, dict):
        for key, below in value.items():
            yield from places(below, (*place, key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from places(below, (*place, index))


def changed(content: Any, place: tuple[Any, ...], value: Any, remove: bool) -> Any:
    if not place:
        return value
    whole = deepcopy(content)
    at = whole
    for key in place[:-1]:
        at = at[key]
    if remove:
        del at[place[-1]]
    else:
        at[place[-1]] = value
    return whole


OTHERS = (None, 0, -1, 1e308, "", "x", [], {}, [[]], {"a": 1}, True, "\x1b[2J", 10**30)


def manifests(config: Path, count: int) -> int:
    """Damage the manifest, `count` times over."""
    found = Outcomes()
    whole = Run.open(config.with_name("run"))
    table, raw = whole.table(), (whole.folder / "manifest.json").read_bytes()
    everywhere = list(places(whole.manifest))
    for number in range(count):
        kind = ("bytes", "parts", "parts", "depth")[number % 4]
        forged = number % 2 == 1
        folder = config.with_name("victim")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole.folder, folder)
        if kind == "bytes":
            data = draw.choice(list(DAMAGES.values()))(raw)
        elif kind == "depth":
            deep = draw.choice([b"[", b'{"a":'])
            data = deep * draw.choice([10, 900, 100_000])
        else:
            place = draw.choice(everywhere)
            remove = bool(place) and draw.random() < 0.3
            new = changed(whole.manifest, place, draw.choice(OTHERS), remove)
            data = json.dumps(new, indent=2).encode()
        (folder / "manifest.json").write_bytes(data)
        if forged:
            with (folder / "checksums.txt").open("a") as file:
                file.write(f"{sha256(data).hexdigest()}  manifest.json\n")
        for command in (["report", folder], ["bench", config, "--out", folder, "--workers", 1]):
            code, said, traceback = seewhy(*command)
            lines = [line for line in said.splitlines() if line.startswith("error ")]
            name = f"{command[0]}, {'a checksum that fits' if forged else 'damaged'}"
            if traceback:
                found.add(f"{name}: TRACEBACK", bad=True, about=f"{kind} {said[-300:]}")
            elif code == 2 and lines:
                found.add(f"{name}: refused in words")
            elif code == 0 and command[0] == "bench":
                same = Run.at(folder).table().equals(table)
                found.add(f"{name}: gone on with, the same table", bad=not same, about=kind)
            elif code == 0:
                found.add(f"{name}: a page", bad=not forged and data != raw, about=kind)
            else:
                found.add(f"{name}: exit code {code}", bad=True, about=said[-300:])
    return found.close("manifests (each is reported on, and gone on with)")


if __name__ == "__main__":
    some, more = map(int, [*sys.argv[1:], *("500", "400")[len(sys.argv) - 1 :]])
    with tempfile.TemporaryDirectory() as place:
        config = write_bench(Path(place))
        sys.exit(shards(config, some) | manifests(config, more))
