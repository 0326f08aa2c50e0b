"""Every file that Seewhy reads, in the place of which is something else.

    python scripts/attacks/files.py

Pipes, devices, folders, sockets, loops of links, names that no file has, files without an end,
arrays that claim to be larger than any memory. Each must end within 30 seconds and 1 GB, in an
answer or refused in words. Each case has a process of its own.
"""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import socket
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from victim import Outcomes

import seewhy
from seewhy.bench.config import read_config
from seewhy.bench.fingerprints import of_files
from seewhy.bench.store import Run
from seewhy.data.arrays import load_array
from seewhy.data.class_map import read_class_map
from seewhy.data.load import load_dataset
from seewhy.models.metadata import read_classes

PATIENCE = 30  # seconds
MEMORY = 1e9  # bytes, beyond what was there before
HUGE = 20_000_000_000  # bytes of a file that has next to none on the disk


def npy(shape: str, kind: str = "'<f4'", data: bytes = b"\0" * 64) -> bytes:
    """A .npy file with such a header."""
    header = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}}}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def objects() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], object), allow_pickle=True)
    return stream.getvalue()


def tensors(header: object, size: int | None = None) -> bytes:
    """A safetensors file with such a header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text


CONTENTS: dict[str, bytes] = {
    "nothing": b"",
    "one null": b"\0",
    "no UTF-8": b"\xff\xfe\xfd" * 100,
    "deep": b"[" * 200_000,
    "long line": b"x" * 3_000_000,
    "many lines": b"x\n" * 1_000_000,
    "many numbers": b'{"a": [' + b"1," * 2_000_000 + b"1]}",
    "a long number": b'{"0": ' + b"9" * 100_000 + b"}",
    "a billion numbers": npy("(1000000000, 1000000000)"),
    "numbers beyond 64 bits": npy("(" + "9" * 400 + ", 3)"),
    "a negative shape": npy("(-1, 5)"),
    "no shape": npy("None"),
    "a shape of floats": npy("(1e9, 2.5)"),
    "64 sides": npy("(" + "1," * 64 + ")"),
    "objects": objects(),
    "a type of code": npy("(2, 2)", "'|O'"),
    "a type of types": npy("(2, 2)", "[('a', [('b', '<f4')])]"),
    "text as numbers": npy("(2, 2)", "'<U4'"),
    "complex numbers": npy("(2, 2)", "'<c8'"),
    "dates": npy("(2, 2)", "'<M8[s]'"),
    "a deep header": npy("(" * 5000 + ")" * 5000),
    "a long header": npy("(" + "1" * 60_000 + ")"),
    "no pixels": npy("(0, 5)"),
    "infinite numbers": npy("(4, 4)", data=np.full(16, np.inf, "<f4").tobytes()),
    "a header beyond the file": tensors(b"{}", 2**62),
    "a header of nothing": tensors(b""),
    "a tensor beyond the file": tensors(
        {"a": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 4 * 10**18]}}
    ),
    "a tensor of a negative side": tensors(
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}
    ),
    "a tensor of no type": tensors({"a": {"dtype": "X", "shape": [], "data_offsets": [0, 0]}}),
    "a deep safetensors header": tensors(b'{"a":' * 100_000),
    "metadata of another kind": tensors({"__metadata__": {"classes": "[" * 9000}}),
}
SPECIAL = ["pipe", "folder", "null", "zero", "full", "tty", "loop", "socket", "dangling", "sparse",
           "long name", "long path", "nul", "half a character"]  # fmt: skip


def place(folder: Path, kind: str, suffix: str) -> Path:
    """A file of some kind, or a name of none."""
    path = folder / f"thing{suffix}"
    if kind in CONTENTS:
        path.write_bytes(CONTENTS[kind])
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind in ("null", "zero", "full", "tty"):
        path.symlink_to(f"/dev/{kind}")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    elif kind == "dangling":
        path.symlink_to(folder / "nowhere")
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(HUGE)
    elif kind == "long name":
        path = folder / ("x" * 300 + suffix)
    elif kind == "long path":
        path = folder / ("x/" * 5000 + suffix)
    elif kind == "nul":
        path = folder / f"a\0b{suffix}"
    else:
        path = folder / f"\ud800{suffix}"
    return path


def png(path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(path)


def a_folder(folder: Path, part: str, path: Path) -> None:
    """A dataset in a folder, one part of which is the thing, and all its samples."""
    (folder / "set").mkdir()
    png(folder / "set" / "a.png")
    target = folder / "set" / part
    target.parent.mkdir(exist_ok=True, parents=True)
    target.unlink(missing_ok=True)
    path.rename(target)
    data = load_dataset(f"folder:{folder / 'set'}")
    for key in data.keys:
        data[key]


def voc(folder: Path, part: str, path: Path) -> None:
    """A dataset of PASCAL VOC, one part of which is the thing."""
    for name in ("JPEGImages", "Annotations", "ImageSets/Main", "SegmentationObject"):
        (folder / "voc" / name).mkdir(parents=True)
    png(folder / "voc" / "JPEGImages" / "a.jpg")
    (folder / "voc" / "ImageSets" / "Main" / "val.txt").write_text("a\n")
    (folder / "voc" / "Annotations" / "a.xml").write_text(
        "<annotation><size><width>8</width><height>8</height></size></annotation>"
    )
    target = folder / "voc" / part
    target.unlink(missing_ok=True)
    path.rename(target)
    data = load_dataset(f"voc:{folder / 'voc'}")
    for key in data.keys:
        data[key]


def a_run(folder: Path, part: str, path: Path) -> None:
    """A run of a benchmark, one part of which is the thing."""
    run = Run.create(folder / "run", {"config": {}, "shards": 1})
    target = run.folder / part
    target.parent.mkdir(exist_ok=True)
    target.unlink(missing_ok=True)
    path.rename(target)
    Run.open(run.folder).table()


READERS: dict[str, tuple[str, Callable[[Path, Path], Any]]] = {
    "a photo": (".png", lambda _, path: seewhy.load_image(path)),
    "a photo, JPEG": (".jpg", lambda _, path: seewhy.load_image(path)),
    "a photo as an array": (".npy", lambda _, path: seewhy.load_image(path)),
    "photos to explain": (
        ".png",
        lambda _, path: seewhy.explain_photos("scenes:resnet", [path], ["grad_cam"]).failures,
    ),
    "an array": (".npy", lambda _, path: load_array(path, 4)),
    "an array, TIFF": (".tif", lambda _, path: load_array(path, 4)),
    "weights": (".pt", lambda _, path: seewhy.load_model("scenes:resnet", weights=path)),
    "weights, safetensors": (
        ".safetensors",
        lambda _, path: seewhy.load_model("scenes:resnet", weights=path),
    ),
    "class names": (".txt", lambda _, path: read_classes(path)),
    "class names, JSON": (".json", lambda _, path: read_classes(path)),
    "a class map": (".json", lambda _, path: read_class_map(path)),
    "a config": (".yaml", lambda _, path: read_config(path)),
    "a fingerprint": (".png", lambda _, path: of_files([path])),
    "COCO's table": (".json", lambda _, path: load_dataset(f"coco:{path}")),
    "a folder's labels": (".csv", lambda folder, path: a_folder(folder, "labels.csv", path)),
    "a folder's photo": (".png", lambda folder, path: a_folder(folder, "a.png", path)),
    "VOC's list": (".txt", lambda folder, path: voc(folder, "ImageSets/Main/val.txt", path)),
    "VOC's objects": (".xml", lambda folder, path: voc(folder, "Annotations/a.xml", path)),
    "VOC's outlines": (".png", lambda folder, path: voc(folder, "SegmentationObject/a.png", path)),
    "a run": ("", lambda _, path: Run.open(path)),
    "a run's manifest": (".json", lambda folder, path: a_run(folder, "manifest.json", path)),
    "a run's checksums": (".txt", lambda folder, path: a_run(folder, "checksums.txt", path)),
    "a run's shard": (
        ".parquet",
        lambda folder, path: a_run(folder, "rows/shard-00000.parquet", path),
    ),
    "a run's pictures": (".parquet", lambda folder, path: a_run(folder, "pictures.parquet", path)),
}


def outcome(reader: str, kind: str) -> tuple[str, str]:
    """What came of one case, and the words, in a process of its own."""
    came, said = os.pipe()
    if not (pid := os.fork()):
        signal.alarm(PATIENCE)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        suffix, read = READERS[reader]
        with tempfile.TemporaryDirectory() as name:
            path = place(Path(name), kind, suffix)
            try:
                read(Path(name), path)
                text = "an answer"
            except (ValueError, TypeError, OSError) as error:
                words = str(error).replace(str(path), "")
                text = f"refused in words {words}" if len(words) < 2000 else "too many words"
            except BaseException as error:
                text = f"a traceback: {type(error).__name__} {error}"
        more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        text = f"{more / 1e6:.0f} MB" if more > MEMORY else text
        os.write(said, text.encode(errors="replace")[:3000])
        os._exit(0)
    os.close(said)
    with os.fdopen(came, "rb") as pipe:
        text = pipe.read().decode(errors="replace")
    os.waitpid(pid, 0)
    for known in ("an answer", "refused in words", "a traceback", "too many words"):
        if text.startswith(known):
            return known, text
    return (text or f"ended after {PATIENCE} s"), text


def main() -> int:
    """Every kind in the place of every file."""
    torch.set_num_threads(1)
    found = Outcomes()
    for reader in READERS:
        for kind in [*SPECIAL, *CONTENTS]:
            if (reader, kind) == ("a fingerprint", "sparse"):
                continue  # it is of all that is in the file, and takes its time
            came, text = outcome(reader, kind)
            bad = came not in ("an answer", "refused in words")
            found.add(came, bad=bad, about=f"{kind} as {reader}: {text[:150]}")
    return found.close("files that are none")


if __name__ == "__main__":
    sys.exit(main())
