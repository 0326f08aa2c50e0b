"""Ctrl-C while the command line is starting: imported before everything else."""

import os
import signal
import sys


def started_as_command() -> bool:
    """Whether this process was started as `seewhy …` or `python -m seewhy …`."""
    started = sys.argv[0] if sys.argv else ""
    if started == "-m":  # so it is until Python has found the module
        started = sys.orig_argv[sys.orig_argv.index("-m") + 1] if "-m" in sys.orig_argv else ""
    return os.path.basename(started).partition(".")[0] == "seewhy"


AS_COMMAND = started_as_command()  # later the name of `python -m seewhy` is that of a file


# Importing torch takes seconds. A KeyboardInterrupt there would be a long traceback, a crash in
# C++, or nothing at all, as some modules catch it. `seewhy.cli` brings Python's own handler back.
if AS_COMMAND and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
