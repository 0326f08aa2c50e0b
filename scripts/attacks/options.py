"""Hostile values of every option, hostile weights, inputs, targets, names and files.

    python scripts/attacks/options.py [CASES, 10000] [SEED, 0] [MINUTES, 120]

Each case must end within 30 seconds: refused in words by a ValueError or TypeError (OSError for
files) that names the option, or with finite maps; or it obeys a deadline of 3 seconds, such as the
viewer has, within 5 more. What makes no sense, by the type of the option's default, must not be
accepted. A process does the work; another one watches it.
"""

from __future__ import annotations

import inspect
import multiprocessing
import os
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from victim import Outcomes

import seewhy
from seewhy import Method, Refinement, progress
from seewhy.naming import METHODS, REFINEMENTS

PATIENCE, DEADLINE, SLACK = 30.0, 3.0, 5.0  # seconds
NAN, INF = float("nan"), float("inf")
CAMS = ["grad_cam", "layer_cam", "gradient", "input_x_gradient"]

NUMBERS: list[Any] = [
    NAN, INF, -INF, -1, 0, 0.0, -0.0, 1, 2, 3, 0.5, -0.5, 1.5, 1e38, -1e38, 1e308, 5e-324, 1e-45,
    2**31, 2**63, 2**64, -(2**63), 10**30, 10**400, 10**5000, -(10**30), 100_000, 10**9,
    True, False,
]  # fmt: skip
OTHERS: list[Any] = [
    None, "", "x", "nan", "1", "x" * 100_000, "black", "\x00", b"x", (), [], {}, {"a": 1}, {1}, 1j,
    (1,), (1, 2), (1.5, -1), (0,), (NAN,), (INF, 1), ("x",), ((1,),), (1,) * 1000,
    tuple(range(100_000)), [1, None], object(), len, range(5), np.float32("nan"), np.int64(-1),
    np.zeros(3), np.float64(1e308), torch.tensor(NAN), torch.zeros(0), torch.zeros(3),
    torch.full((1, 3, 32, 32), INF), torch.zeros(2, 3, 32, 32), torch.tensor(5),
]  # fmt: skip


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5),
    )  # fmt: skip


def images() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def nonsense(default: Any, name: str, value: Any) -> bool:
    """Whether a value makes no sense, by the default whose place it takes.

    It shares nothing with the checks that are attacked.
    """
    if name == "baseline" or name == "batch_size":
        return isinstance(value, str) and value not in ("black", "darkest", "blurred", "random")
    if name == "scales" and value is not None:  # whose default, None, stands for numbers
        default = ()
    if isinstance(value, np.generic):
        value = value.item()
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(default, bool):
        return not isinstance(value, bool)
    if isinstance(default, int) or default is None:
        whole = number and isinstance(value, int)
        return not (whole or (default is None and value is None)) or (number and value < 0)
    if isinstance(default, float):
        return not number or value != value or value in (INF, -INF)
    if isinstance(default, str):
        return not isinstance(value, str)
    return not isinstance(value, tuple | list) or any(
        not isinstance(one, int | float) or one != one or one <= 0 for one in value
    )


@dataclass
class Case:
    about: str
    run: Callable[[], Any]
    names: tuple[str, ...] = ()  # one of which an error should name
    nonsense: bool = False
    finite: bool = True  # whether the maps should be


def of_options(draw: random.Random) -> Case:
    """One to three hostile values for a method or a refinement of one."""
    refined = draw.random() < 0.4
    entries = REFINEMENTS if refined else METHODS
    name = draw.choice([name for name, entry in entries.items() if entry.options])
    defaults = entries[name].options
    chosen = draw.sample(sorted(defaults), min(len(defaults), draw.choice([1, 1, 2, 3])))
    options = {one: draw.choice(NUMBERS if draw.random() < 0.6 else OTHERS) for one in chosen}
    base = draw.choice(CAMS)

    def build() -> Method:
        if refined:
            return Method(base) + Refinement(name, **options)
        return Method(name, **options)

    def spelled() -> Any:
        text = f"{name}({', '.join(f'{one}={value!r}' for one, value in options.items())})"
        return f"{base}+{text}" if refined else text

    digits = any(type(value) is int and value == 10**5000 for value in options.values())
    as_text = draw.random() < 0.5 and not digits  # Python itself does not spell these
    return Case(
        f"{base}+{name} {_short(options)}" if refined else f"{name} {_short(options)}",
        lambda: seewhy.explain(network(), images(), spelled() if as_text else build(), 1),
        (*chosen, "cannot read"),
        any(nonsense(defaults[one], one, value) for one, value in options.items()),
    )


def of_weights(draw: random.Random) -> Case:
    """One weight, or one pixel, that is no number or far too large."""
    name = draw.choice(sorted(METHODS))
    value, seed = draw.choice([NAN, INF, -INF, 1e38, -1e38, 3e38, 1e-45]), draw.randrange(1000)
    refinement = draw.choice(["", "", *[f"+{one}" for one in REFINEMENTS]])
    pixel = draw.random() < 0.3

    def run() -> Any:
        model, x = network(), images()
        tensors = [x[:1]] if pixel else [*model.parameters(), *model.buffers()]
        chosen = random.Random(seed).choice([t for t in tensors if t.is_floating_point()])
        with torch.no_grad():
            chosen.view(-1)[seed % chosen.numel()] = value
        cheap = {"rise": "(masks=50)"}.get(name, "")
        return seewhy.explain(model, x, name + cheap + refinement, draw.choice([None, 1]))

    return Case(
        f"{name}{refinement}, a {'pixel' if pixel else 'weight'} of {value}", run, finite=False
    )


def of_arguments(draw: random.Random) -> Case:
    """Hostile targets, layers, sizes, explained inputs, methods and inputs."""
    argument = draw.choice(["target", "layer", "size", "explained", "method", "inputs"])
    value = draw.choice(NUMBERS + OTHERS)
    if argument == "inputs" and isinstance(value, Tensor):
        value = value.expand(2, 3, 0, 5) if value.ndim == 0 else value
    given: dict[str, Any] = {"inputs": images(), "method": "grad_cam", "target": 1}
    given[argument] = value
    about = f"{argument}={_short(value)}"
    return Case(about, lambda: seewhy.explain(network(), **given), finite=argument != "inputs")


def of_names(draw: random.Random) -> Case:
    """Names of methods that are no names."""
    pieces = [
        "grad_cam", "+", "smooth", "(", ")", "steps=", "1", "nan", "-", "[", "*", "\n", "'", "{",
        "gradual", ",", "=", "rise", "masks=", "999" * 2000, "\x00", "é", "lambda: 0", "()", "#",
    ]  # fmt: skip
    if draw.random() < 0.2:
        text = draw.choice(["-", "(", "[", "+smooth", "not ", "{1:"]) * draw.choice(
            [50, 5000, 100_000]
        )
        text = draw.choice(["", "grad_cam", "xgrad_cam(eps="]) + text
    else:
        text = "".join(draw.choice(pieces) for _ in range(draw.randrange(1, 12)))
    return Case(f"name {_short(text)}", lambda: seewhy.explain(network(), images(), text, 1))


def of_files(draw: random.Random) -> Case:
    """State dicts that hold themselves, checkpoints that are no weights, photos that never end."""
    kind = draw.choice(["self dict", "self list", "deep", "wide", "fifo", "folder", "null", "zero",
                        "loop", "socket", "fifo in a folder", "bytes"])  # fmt: skip
    seed = draw.randrange(10**6)

    def run() -> Any:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            path = folder / "thing.pt"
            if kind in ("self dict", "self list", "deep", "wide"):
                held: Any = {"fc.weight": torch.zeros(1)}
                if kind == "self dict":
                    held["state_dict"] = held["model"] = held
                elif kind == "self list":
                    held["state_dict"] = [held]
                    held["state_dict"].append(held["state_dict"])
                elif kind == "deep":
                    for _ in range(random.Random(seed).choice([50, 300])):
                        held = {"model": held}
                else:
                    held = {f"model.{i}": i for i in range(20_000)}
                torch.save(held, path)
                return seewhy.load_model("scenes:resnet", weights=path)
            if kind == "bytes":
                path = folder / random.Random(seed).choice(["a.pt", "a.pth", "a.safetensors"])
                path.write_bytes(random.Random(seed).randbytes(200))
                return seewhy.load_model("scenes:resnet", weights=path)
            path = folder / "photo.png"
            if kind == "fifo":
                os.mkfifo(path)
            elif kind == "folder":
                path.mkdir()
            elif kind == "loop":
                path.symlink_to(path)
            elif kind == "socket":
                import socket

                socket.socket(socket.AF_UNIX).bind(str(path))
            elif kind == "fifo in a folder":
                os.mkfifo(path)
                path = folder
            else:
                path.symlink_to(f"/dev/{kind}")
            if seed % 2 and kind != "fifo in a folder":
                return seewhy.load_image(path)
            answer = seewhy.explain_photos("scenes:resnet", [path], ["grad_cam"])
            raise ValueError("; ".join(map(str, answer.failures)))

    return Case(f"file: {kind}", run, finite=False, nonsense=True)


def cases(count: int, seed: int) -> Iterator[Case]:
    draw = random.Random(seed)
    kinds = [of_options] * 13 + [of_weights] * 3 + [of_arguments] * 2 + [of_names] + [of_files]
    for _ in range(count):
        yield draw.choice(kinds)(draw)


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:
        text = "<a number of 5000 digits>"
    return text[:100].replace("\n", " ")


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds

    def watcher(*_: object) -> None:
        if time.monotonic() > end:
            raise progress.Stopped

    with progress.watching(watcher):
        yield


def outcome(case: Case) -> tuple[str, bool]:
    """What came of it, and whether that is bad."""
    try:
        with deadline(DEADLINE):
            found = case.run()
    except progress.Stopped:
        return "obeyed the deadline", case.nonsense
    except (ValueError, TypeError, OSError) as error:
        frames = inspect.trace()
        ours = "seewhy" in frames[-1].filename
        text = str(error)
        if len(text) > 2000:
            return "refused in too many words", True
        if case.names and any(f"{name}=" in text or name in text for name in case.names):
            return "refused, the option named", False
        return (
            ("refused in words", False)
            if ours
            else (f"a traceback: {type(error).__name__} {text[:90]}", True)
        )
    except (MemoryError, Exception) as error:
        return f"a traceback: {type(error).__name__} {str(error)[:90]}", True
    if case.nonsense:
        return "nonsense was accepted", True
    if isinstance(found, Tensor) and not found.isfinite().all():
        return "a map that is not finite", case.finite
    return "an answer", False


def work(count: int, seed: int, first: int, pipe: Connection) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - until the process ends
    for number, case in enumerate(cases(count, seed)):
        if number >= first:
            pipe.send((number, case.about))
            pipe.send(outcome(case))
    pipe.send(None)


def main(count: int, seed: int, minutes: int) -> int:
    outcomes, first, slowest = Outcomes(), 0, (0.0, "")
    context = multiprocessing.get_context("fork")
    until = time.monotonic() + 60 * minutes
    while first < count and time.monotonic() < until:
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(count, seed, first, there))
        process.start()
        there.close()
        about = ""
        try:
            while (said := here.recv()) is not None:
                first, about = said
                if time.monotonic() > until:
                    process.kill()
                    break
                began = time.monotonic()
                if not here.poll(PATIENCE):
                    outcomes.add("HANG of over 30 s", bad=True, about=about)
                    process.kill()
                    break
                text, bad = here.recv()
                seconds = time.monotonic() - began
                slowest = max(slowest, (seconds, about))
                if seconds > DEADLINE + SLACK:
                    text, bad, about = "ignored the deadline", True, f"{seconds:.0f} s, {about}"
                outcomes.add(text, bad=bad, about=about)
            else:
                first = count
                continue
        except EOFError:
            outcomes.add("the process died", bad=True, about=about)
        process.join()
        first += 1
    print(f"slowest: {slowest[0]:.1f} s, {slowest[1]}")
    return outcomes.close("hostile options, weights, arguments, names and files")


if __name__ == "__main__":
    given = [int(one) for one in sys.argv[1:]] + [10_000, 0, 120][len(sys.argv) - 1 :]
    sys.exit(main(*given))
