"""Plant small faults in the sources, one at a time, and see whether the tests of a clone notice.

    python scripts/mutations.py                        # some 150 faults, a few minutes each 30
    python scripts/mutations.py --only refine/ --sample 20
    python scripts/mutations.py --named                # those that once went unnoticed

Faults are what a slip of the hand might do: a maximum for a minimum, a sign, a condition, an index,
a ReLU or a check that is gone. Each is planted in a temporary copy of the checkout, beside which
there is no folder of reference numbers and photos, and only the tests of that part are run. What
survives is listed: either a test is missing, or the code does more than it has to.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
SOURCES = [
    "methods/*.py", "refine/*.py", "metrics/*.py",
    "core/*.py", "maps.py", "fills.py", "noise.py", "naming.py", "photos.py",
    "draw/words.py", "models/loaded.py", "data/coco.py", "data/pascal.py",
]  # fmt: skip

# Faults that nothing noticed once: file, what stands there, what is to stand there.
NAMED = [
    ("refine/sharpen.py", ".clamp_min(tiny).log2()", ".clamp_min(tiny)"),
    ("refine/detail.py", "probe.size).relu()", "probe.size)"),
    ("core/layers.py", "best = min(fitting", "best = max(fitting"),
    ("core/layers.py", "guessed=not features_last", "guessed=features_last"),
    ("core/replay.py", "!= call.read[key]:", "== 'never':"),
    ("core/rules.py", "            if following is not None and following not in known:\n"
     "                known.add(following)\n"
     "                found.append(following)",
     "            if following is not None:\n"
     "                found.append(following)"),
    ("core/replay.py", "len(varying) == 1", "len(varying) <= 2"),
    ("core/probe.py", "if replay is None or found is None or not _alike(found, expected):",
     "if replay is None or found is None:"),
    ("core/choice.py", "reads_output = of_classes or", "reads_output = not of_classes or"),
    ("core/probe.py", "(used or with_maps)[-1]", "(used or with_maps)[0]"),
    ("core/layers.py", "if shape[-1] == shape[-2] in self._rows:", "if False:"),
]  # fmt: skip

MEMORY = 8_000_000_000  # bytes: a fault may let something grow for ever

# Tests beside those of the same name.
MORE = {
    "methods": ["test_contract.py"],
    "refine": ["test_contract.py"],
    "methods/guidance": ["methods/test_cam.py"],
    "methods/auto": ["refine/test_sharpen.py"],
    "metrics": ["test_signals_and_volumes.py"],
    "metrics/_maps": ["metrics/test_quality.py", "metrics/test_localization.py"],
    "core/layers": ["core/test_same_question.py"],
    "core/choice": ["core/test_probe.py", "core/test_same_question.py"],
    "core/probe": ["core/test_replay.py", "core/test_same_question.py"],
    "core/rules": ["core/test_replay.py", "methods/test_gradients.py"],
    "core/replay": ["methods/test_ablation_cam.py"],
    "core/targets": ["core/test_probe.py"],
    "core/recording": ["core/test_probe.py", "core/test_observing.py", "core/test_replay.py"],
    "core/inputs": ["core/test_probe.py", "core/test_observing.py"],
    "core/attention": ["methods/test_attention.py"],
    "core/walk": ["methods/test_tsgb.py"],
    "naming": ["test_cli.py", "test_options.py"],
    "draw/words": ["draw/test_gallery.py", "draw/test_overlay.py", "draw/test_page.py"],
    "models/loaded": ["models/test_load.py", "models/test_answers.py"],
    "data": ["data/test_datasets.py"],
    "fills": ["methods/test_paths.py", "metrics/test_faithfulness.py"],
    "noise": ["refine/test_smooth.py", "methods/test_cam_extended.py"],
    "maps": ["test_signals_and_volumes.py", "test_contract.py"],
}
# What takes as long as all the others together: networks of zoos, all methods once more.
SLOW = (
    "architectures", "test_choice", "test_transformers", "low_precision", "contexts", "breaks",
    "odd_sizes", "no_tensor", "left_as_it_was", "declared", "threads",
)  # fmt: skip
WITHOUT = " and ".join(f"not {name}" for name in SLOW)

SWAPS = {
    "min": "max", "amin": "amax", "argmin": "argmax", "minimum": "maximum",
    "clamp_min": "clamp_max", "any": "all", "floor": "ceil",
}  # fmt: skip
SWAPS |= {new: old for old, new in SWAPS.items()}
DROPPED = ("relu", "abs", "log2", "log", "sqrt", "exp", "sign", "square", "detach", "clamp_min")
OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """A place in a file and what is to stand there instead."""

    file: str
    start: int
    old: str
    new: str

    def planted(self, text: str) -> str:
        """The file with the fault."""
        return text[: self.start] + self.new + text[self.start + len(self.old) :]

    def shown(self, text: str) -> str:
        """Where it is and what it does, on one line."""
        line = text.count("\n", 0, self.start) + 1
        return f"{self.file}:{line}  {' '.join(self.old.split())}  ->  {' '.join(self.new.split())}"


def variants(node: ast.AST, parent: ast.AST | None) -> Iterator[ast.AST | str]:
    """What a slip of the hand might make of an expression or a condition."""
    other = copy.deepcopy(node)
    match node:
        case ast.Call(func=ast.Attribute(value=value, attr=name)) if name in DROPPED:
            if not (isinstance(value, ast.Name) and value.id in ("torch", "math", "np", "F")):
                yield value
    match node:
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)) if name in SWAPS:
            function = other.func  # type: ignore[attr-defined]
            setattr(function, "attr" if isinstance(function, ast.Attribute) else "id", SWAPS[name])
            yield other
        case ast.BinOp(op=op) if type(op) in OPERATORS and not isinstance(
            node.left, ast.Constant | ast.JoinedStr
        ):
            other.op = OPERATORS[type(op)]()  # type: ignore[attr-defined]
            yield other
        case ast.Compare(ops=[op]) if type(op) in COMPARISONS:
            other.ops = [COMPARISONS[type(op)]()]  # type: ignore[attr-defined]
            yield other
        case ast.UnaryOp(op=ast.USub() | ast.Not(), operand=operand):
            yield operand
        case ast.BoolOp(op=op):
            other.op = ast.Or() if isinstance(op, ast.And) else ast.And()  # type: ignore[attr-defined]
            yield other
        case ast.Constant(value=bool(value)):
            yield str(not value)
        case ast.Constant(value=int(value)) if isinstance(
            parent, ast.Slice | ast.Subscript | ast.Call | ast.BinOp
        ):
            yield str(value + 1)
    if isinstance(parent, ast.If) and node is parent.test:
        raises = any(isinstance(step, ast.Raise) for step in parent.body)
        yield "False" if raises else f"not ({ast.unparse(node)})"


def faults_of(file: str, text: str) -> list[Fault]:
    """All that could be planted in a file."""
    starts = [0]
    for line in text.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    raw, found = text.encode(), []
    annotations = set()
    tree = ast.parse(text)
    for node in ast.walk(tree):
        for name in ("annotation", "returns"):
            if (noted := getattr(node, name, None)) is not None:
                annotations |= {id(part) for part in ast.walk(noted)}
        if isinstance(node, ast.JoinedStr | ast.Raise):  # words of errors
            annotations |= {id(part) for part in ast.walk(node)}
        if isinstance(node, ast.FunctionDef) and node.decorator_list:
            annotations |= {id(p) for one in node.decorator_list for p in ast.walk(one)}
    for parent in ast.walk(tree):
        for node in ast.iter_child_nodes(parent):
            if id(node) in annotations or not isinstance(node, ast.expr):
                continue
            start = starts[node.lineno - 1] + node.col_offset
            end = starts[(node.end_lineno or 1) - 1] + (node.end_col_offset or 0)
            old = raw[start:end].decode()
            for new in variants(node, parent):
                code = new if isinstance(new, str) else f"({ast.unparse(new)})"
                found.append(Fault(file, len(raw[:start].decode()), old, code))
    return found


def chosen(only: str, sample: int, seed: int, named: bool) -> list[Fault]:
    """The faults to plant: those by name, and as many others, spread over the files."""
    root = CHECKOUT / "src" / "seewhy"
    faults = []
    for file, old, new in NAMED:
        text = (root / file).read_text()
        if old not in text:
            raise SystemExit(f"{file} has no {old!r} any more: mend the table of named faults")
        if only in file:
            faults.append(Fault(file, text.index(old), old, new))
    if named:
        return faults
    draw = random.Random(seed)
    files = sorted(
        path.relative_to(root).as_posix() for pattern in SOURCES for path in root.glob(pattern)
    )
    pools = [faults_of(file, (root / file).read_text()) for file in files if only in file]
    pools = [draw.sample(pool, len(pool)) for pool in pools if pool]
    # Long files have more of them, but not by as much as they are longer.
    order = sorted(
        (place / len(pool) ** 0.5, number, fault)
        for number, pool in enumerate(pools)
        for place, fault in enumerate(pool)
        for fault in [(fault.file, fault.start, fault.old, fault.new)]
    )
    return faults + [Fault(*fault) for _, _, fault in order[: max(0, sample - len(faults))]]


def tests_of(file: str) -> list[str]:
    """The tests of a part of the sources."""
    name = file.removesuffix(".py")
    folder, _, stem = name.rpartition("/")
    own = [f"{folder}/test_{stem}.py" if folder else f"test_{stem}.py"]
    own = [test for test in own if (CHECKOUT / "tests" / test).exists()]
    more = [*MORE.get(name, []), *MORE.get(folder, [])]
    return list(dict.fromkeys([*own, *more]))


def passes(clone: Path, tests: list[str], seconds: float) -> bool | None:
    """Whether the tests pass in a process of their own; None where they take too long.

    The process is forked from this one, which has imported torch, but nothing of the checkout.
    """
    child = os.fork()
    if child == 0:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        os.chdir(clone)
        sys.path[:0] = [str(clone / "src"), str(clone / "tests")]
        import pytest

        options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", WITHOUT]
        os._exit(int(pytest.main([*options, *(f"tests/{test}" for test in tests)])))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def main() -> None:
    """Plant, test, list."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--only", default="", metavar="TEXT", help="files whose path holds this")
    parser.add_argument("--sample", type=int, default=150, help="how many faults")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other faults")
    parser.add_argument("--named", action="store_true", help="only those of the table")
    parser.add_argument("--seconds", type=float, default=120, help="for the tests of one fault")
    parser.add_argument("--minutes", type=float, default=60, help="stop after that")
    args = parser.parse_args()

    os.environ["OMP_NUM_THREADS"] = "1"
    sys.dont_write_bytecode = True
    import numpy  # noqa: F401
    import pytest  # noqa: F401
    import scipy.ndimage  # noqa: F401
    import torch

    torch.set_num_threads(1)
    faults = chosen(args.only, args.sample, args.seed, args.named)
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        for part in ("src", "tests", "docs", "pyproject.toml"):
            copied = shutil.copytree if (CHECKOUT / part).is_dir() else shutil.copy
            clone.mkdir(exist_ok=True)
            copied(CHECKOUT / part, clone / part)
        survivors, planted, begun = [], 0, time.monotonic()
        sound: dict[str, bool] = {}
        for fault in faults:
            if time.monotonic() - begun > 60 * args.minutes:
                print(f"stopped after {args.minutes:g} minutes")
                break
            for test in tests_of(fault.file):
                if test not in sound:
                    sound[test] = bool(passes(clone, [test], 3 * args.seconds))
                    if not sound[test]:
                        print(f"{test} does not pass without any fault: left out", flush=True)
            tests = [test for test in tests_of(fault.file) if sound[test]]
            path = clone / "src" / "seewhy" / fault.file
            text = path.read_text()
            try:
                path.write_text(fault.planted(text))
                unnoticed = passes(clone, tests, args.seconds)
            finally:
                path.write_text(text)
            planted += 1
            if unnoticed:
                survivors.append(fault)
                print("survives", fault.shown(text), flush=True)
    minutes = (time.monotonic() - begun) / 60
    print(f"{planted} planted, {len(survivors)} survived, {minutes:.1f} minutes")


if __name__ == "__main__":
    main()
