"""A process beside this one: what it says comes over, and nothing of it can hold this one up."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

import seewhy
from seewhy.aside import Aside, Gone, Late


def state():
    return []


def counted(to, kept):
    for _ in range(to):
        kept.append(0)
        yield len(kept)


def after_one(act, kept):
    yield 1
    act()
    yield 2


def loop():
    while True:
        pass


def hang_in_c():
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)
    ctypes.PyDLL(None).sleep(1000)


def stop():
    os.kill(os.getpid(), signal.SIGSTOP)


def fall(error):
    raise error


class Odd(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


@pytest.fixture(scope="module")
def aside():
    made = Aside(state)
    yield made
    made.close()


def test_it_keeps_its_state_and_is_closed(aside):
    aside.close()
    assert list(aside.stream(partial(counted, 3))) == [1, 2, 3]
    assert list(aside.stream(partial(counted, 2))) == [4, 5]
    process = aside._process
    aside.close()
    assert process.exitcode == -signal.SIGKILL
    assert list(aside.stream(partial(counted, 1))) == [1]


TELLING = """
import signal

def tell():
    print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""
FORKING = """
import multiprocessing
from telling import tell
from seewhy.aside import Aside

if __name__ == "__main__":
    Aside(dict).start()
    own = multiprocessing.get_context("forkserver").Process(target=tell)
    own.start()
    own.join()
    tell()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are of another kind here")
@pytest.mark.parametrize(
    ("command", "blocked"),
    [(["bin/seewhy"], True), (["-m", "seewhy"], True), (["bin/mine"], False)],
)
def test_ctrl_c_does_not_reach_what_starts_for_the_command_line_alone(tmp_path, command, blocked):
    """Processes of another program, which are forked from the same one, are to be interrupted."""
    for name in ("bin/seewhy", "bin/mine", "seewhy/__main__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(FORKING)
    (tmp_path / "telling.py").write_text(TELLING)
    (tmp_path / "torch.py").write_text("")  # whose import takes seconds
    there = list(seewhy.__path__)
    (tmp_path / "seewhy/__init__.py").write_text(f"__path__ += {there}\nimport seewhy.interrupting")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    ended = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ended.stdout.split() == [str(blocked), "False"]


@pytest.mark.parametrize("act", [loop, hang_in_c, stop])
def test_what_takes_too_long_is_killed(aside, act):
    patience = iter([60, 0.5])
    stream = aside.stream(partial(after_one, act), lambda: next(patience))
    assert next(stream) == 1
    process = aside._process
    begun = time.monotonic()
    with pytest.raises(Late):
        next(stream)
    assert time.monotonic() - begun < 30
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("act", "epitaph"),
    [
        (partial(os._exit, 3), "exit code 3"),
        (partial(signal.raise_signal, signal.SIGKILL), "killed by SIGKILL"),
    ],
)
def test_what_dies_is_told_and_replaced(aside, act, epitaph):
    with pytest.raises(Gone, match=epitaph):
        list(aside.stream(partial(after_one, act)))
    assert list(aside.stream(partial(counted, 1))) == [1]


@pytest.mark.parametrize("error", [ValueError("wrong"), OSError(5, "no disk"), EOFError("end")])
def test_errors_come_over_and_cost_nothing(aside, error):
    list(aside.stream(partial(counted, 0)))
    before = aside._process.pid
    with pytest.raises(type(error)) as caught:
        list(aside.stream(partial(after_one, partial(fall, error))))
    assert caught.value.args == error.args
    list(aside.stream(partial(counted, 1)))
    assert aside._process.pid == before


def fall_oddly():
    raise Odd("one", "two")


def test_an_error_that_cannot_travel_is_told(aside):
    with pytest.raises(RuntimeError, match="Odd: one and two"):
        list(aside.stream(partial(after_one, fall_oddly)))


def test_a_stream_that_is_left_is_not_mixed_with_the_next(aside):
    stream = aside.stream(partial(counted, 5))
    next(stream)
    stream.close()
    assert list(aside.stream(partial(counted, 2))) == [1, 2]


def around(kept):
    yield os.getppid(), dict(os.environ)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each imports torch by itself")
def test_all_are_forked_from_one_process_and_know_this_ones_environment(aside, monkeypatch):
    aside.close()
    ((first, _),) = aside.stream(around)
    monkeypatch.setenv("SEEWHY_TEST", "later")
    monkeypatch.delenv("HOME", raising=False)
    aside.close()
    ((second, environment),) = aside.stream(around)
    assert first == second != os.getpid()
    assert environment == dict(os.environ)


PARENT = """
import os, sys, time
from functools import partial
sys.path.insert(0, sys.argv[1])
from test_aside import after_one, loop, state
from seewhy.aside import Aside

if __name__ == "__main__":
    aside = Aside(state)
    stream = aside.stream(partial(after_one, partial(time.sleep, 100)))
    next(stream)
    print(aside._process.pid, flush=True)
    if sys.argv[2] == "killed":
        time.sleep(100)
"""


@pytest.mark.parametrize("how", ["killed", "ended"])
def test_it_does_not_outlive_the_process_that_started_it(tmp_path, how):
    """Whether that is killed, or ends without a word while the other is at work."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    call = [sys.executable, str(script), os.path.dirname(__file__), how]
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        if how == "killed":
            parent.kill()
        assert parent.wait(20) == (-signal.SIGKILL if how == "killed" else 0)
    ends = time.monotonic() + 20
    while time.monotonic() < ends:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        with open(f"/proc/{pid}/stat") as file:
            if file.read().rsplit(")", 1)[1].split()[0] == "Z":
                return
        time.sleep(0.05)
    pytest.fail("it is still there")
