"""A worker process that may hang or crash without harm: it is replaced."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from seewhy.interrupting import AS_COMMAND
from seewhy.notes import unheard
from seewhy.plugins import NAMED, Plugin, load

if TYPE_CHECKING:  # Windows has no fork
    from multiprocessing.context import ForkServerContext, SpawnContext

State = TypeVar("State")
Item = TypeVar("Item")
Work = Callable[[State], Iterator[Item]]
Patience = Callable[[], float | None]


class Gone(Exception):
    """The process died at its work; says of what."""


class Late(Exception):
    """The process had not given its next item in time, and was killed."""


def for_ever() -> None:
    """The patience without an end."""


class Aside(Generic[State]):
    """A process that keeps a state and runs one task after another with it.

    make: creates the state in that process for the first task. It and all tasks are pickled, so
        they are functions of a module, or partial ones.

    The process starts with its first task and lives until `close`, until it crashes, or until this
    process ends in any way. It inherits no locks and no files, and loads the plugins that this
    process has when it starts.
    """

    def __init__(self, make: Callable[[], State]) -> None:
        self._make = make
        self._process: Any = None
        self._pipe: Connection | None = None
        self._end: Callable[[], object] = for_ever
        self._busy = False
        self._lock = threading.Lock()  # whoever closes it while it starts closes what has started

    def stream(self, work: Work[State, Item], patience: Patience = for_ever) -> Iterator[Item]:
        """The items that the task yields, as they come.

        patience: called before each item; returns how many seconds it may take, None for no limit.

        Errors of the task are raised here. Raises Gone if the process crashes and Late if an item
        takes too long. The next task then gets a new process, also if a stream is not read to its
        end.
        """
        if self._busy:
            self.close()
        self._busy, ended, pipe = True, False, None
        try:
            with self._lock:
                pipe = self._pipe = self._pipe or self._start()
                process = self._process
            pipe.send_bytes(pickle.dumps(work))
            while not ended:
                if not pipe.poll(patience()):
                    raise Late
                kind, item = pickle.loads(pipe.recv_bytes())
                ended = kind != "item"
                if kind == "error":
                    raise item
                if not ended:
                    yield item
        except (EOFError, OSError):
            if ended:
                raise  # the work's own
            raise Gone(_epitaph(process)) from None
        finally:
            if self._pipe is pipe:  # else another stream has taken its place
                self._busy = False
                if not ended:
                    self.close()

    def start(self) -> None:
        """Begin at once, so that the first work does not wait for that."""
        with self._lock:
            self._pipe = self._pipe or self._start()

    def close(self) -> None:
        """End the process, whatever it is doing."""
        with self._lock:
            self._end()  # before its pipe, at whose end it would leave by itself
            self._pipe, self._busy = None, False

    def _start(self) -> Connection:
        context = _context()
        ours, theirs = context.Pipe()
        given = pickle.dumps(self._make), theirs, [*NAMED], dict(os.environ)
        process = context.Process(target=_serve, args=given)
        with _ctrl_c_blocked():
            process.start()
            theirs.close()  # so that the pipe ends with the process
            self._process = process
            # Called once: by `close`, with this object, or before multiprocessing waits for its
            # children at the end of all.
            self._end = Finalize(self, _end, (process,), exitpriority=10)
        return ours


def _context() -> SpawnContext | ForkServerContext:
    """How processes begin, none of them with anything of this one.

    On Linux they are forked from one that has imported torch alone, which takes longer than all
    else that they do before their work; it ends with this process.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch"])  # of no effect once that process is there
    return context


@contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    """Processes that start inside do not get the signal: it would end the import of torch there.

    Only of the command line: the process from which all are forked keeps the signal blocked, and
    another program may have it fork processes of its own.
    """
    if sys.platform == "win32" or not AS_COMMAND:
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # where it is started, the signal is no longer blocked
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _epitaph(process: Any) -> str:
    process.join(5)
    code = process.exitcode
    if code is None:
        return "it no longer listens"
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _end(process: Any) -> None:
    process.kill()
    process.join()


_pipe: Connection | None = None  # of this process to the one that started it, if it is an aside


def tell(item: object) -> None:
    """Send an item from inside a task immediately, in addition to those that the task yields."""
    if _pipe is not None:
        _pipe.send_bytes(pickle.dumps(("item", item)))


def give_back() -> None:
    """Return free memory to the system, which the C library would otherwise keep."""
    if sys.platform == "linux":
        try:
            ctypes.CDLL(None).malloc_trim(0)
        except AttributeError:  # another C library than GNU's
            pass


def _serve(
    make: bytes, pipe: Connection, plugins: list[Plugin], environment: dict[str, str]
) -> None:
    """What the process does: one work after another, until the pipe is closed."""
    global _pipe
    _pipe = pipe
    os.environ.clear()
    os.environ.update(environment)
    # Ctrl-C reaches every process; the one that started this one decides. See `_ctrl_c_blocked`.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    @cache  # for all works, once it could be made
    def state() -> Any:
        with unheard():
            load(plugins)  # what there is to say of them was said where they were named
        return pickle.loads(make)()

    try:
        while True:
            pipe.send_bytes(pickle.dumps(_work(state, pipe)))
            give_back()
    except (EOFError, ConnectionError):
        return


def _work(state: Callable[[], Any], pipe: Connection) -> tuple[str, Any]:
    """Do one work; the message that ends it."""
    work = pickle.loads(pipe.recv_bytes())
    try:
        for item in work(state()):
            tell(item)
            del item  # it may be large, and the next one as well
    except BrokenPipeError:
        raise
    except Exception as error:
        error.add_note("There:\n" + "".join(traceback.format_tb(error.__traceback__)))
        return "error", _fit_to_travel(error)
    return "end", None


def _fit_to_travel(error: Exception) -> Exception:
    """The error itself where it can be pickled, else its text."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
