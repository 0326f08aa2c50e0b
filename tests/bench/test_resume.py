"""Whatever cuts a run off, going on ends in the table of an uninterrupted run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from bench_setup import bench, write_bench

import seewhy
from seewhy.bench.store import Run

# A process that kills itself, or can write no more, at one of its renames.
AT_A_RENAME = """
import os, signal, sys
from seewhy.cli import app

config, folder, moment, count, what = sys.argv[1:]
rename, renames = os.replace, 0

def replace(source, target):
    global renames
    renames += 1
    if renames < int(count):
        return rename(source, target)
    if moment == "after":
        rename(source, target)
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    raise OSError(28, "No space left on device")

os.replace = replace
app(["bench", config, "--out", folder, "--workers", "1"])
"""

# A process whose files may not grow beyond 4 kB: a manifest fits, a shard does not.
SMALL_FILES = """
import resource, signal, sys
from seewhy.cli import app

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
app(["bench", sys.argv[1], "--out", sys.argv[2], "--workers", "1"])
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = write_bench(tmp_path_factory.mktemp("resume"))
    bench(path, "--out", str(path.with_name("whole")))
    return path


@pytest.fixture(scope="module")
def whole(config):
    run = Run.open(config.with_name("whole"))
    assert run.complete
    assert run.table().num_rows == 6 * 3 * 4
    return run.table()


def script(code, *arguments):
    call = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(call, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("moment", "count", "shards"),
    [("before", 1, None), ("before", 2, 0), ("after", 3, 2)],
)
def test_kill_9_around_a_write(config, whole, moment, count, shards):
    """The first rename is the manifest's, the others are the three shards'."""
    folder = config.with_name(f"{moment}-{count}")
    died = script(AT_A_RENAME, config, folder, moment, count, "die")
    assert died.returncode == -signal.SIGKILL, died.stderr
    if shards is None:
        with pytest.raises(ValueError, match=r"holds no run.*manifest\.json is missing"):
            Run.open(folder)
    else:
        cut = Run.open(folder)
        assert len(cut.files) == shards
        assert not cut.complete
        assert cut.table().equals(whole[: shards * 2 * 3 * 4])
    said = bench(config, "--out", str(folder))
    assert (f"{shards} of 3 shards done already" in said) == bool(shards)
    run = Run.open(folder)
    assert run.table().equals(whole)
    assert run.complete
    assert not list(folder.rglob("*.tmp"))


def test_kill_9_of_a_run_with_workers(tmp_path):
    """No worker outlives it, and going on ends in the same table."""
    config = write_bench(
        tmp_path,
        datasets=[{"dataset": "scenes:16"}],
        networks=[{"model": "scenes:resnet", "size": 32}],
        metrics=["average_drop", "insertion"],
    )
    bench(config, "--out", str(tmp_path / "whole"))
    folder = tmp_path / "cut"
    call = [sys.executable, "-m", "seewhy", "bench", str(config), "--out", str(folder)]
    process = subprocess.Popen([*call, "--workers", "2"], stderr=subprocess.DEVNULL)
    wait_for(lambda: len(list(folder.glob("rows/*.parquet"))) >= 3, process)
    workers = children(process.pid)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    wait_for(lambda: not any(map(alive, workers)))
    bench(config, "--out", str(folder))
    assert Run.open(folder).table().equals(Run.open(tmp_path / "whole").table())


def wait_for(condition, process=None):
    ends = time.monotonic() + 60
    while not condition():
        assert process is None or process.poll() is None, "the run ended before it was killed"
        assert time.monotonic() < ends
        time.sleep(0.01)


def children(pid):
    listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout
    return [int(line) for line in listed.split()]


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0] != "Z"


def test_a_full_disk(config, whole):
    """The file that cannot be written is named; nothing of it is in its place."""
    folder = config.with_name("full")
    full = script(AT_A_RENAME, config, folder, "before", 3, "fill")
    assert full.returncode == 1
    file = folder / "rows" / "00001.parquet"
    said = " ".join(full.stderr.split())
    assert f"{file}: cannot be written (No space left on device)" in said
    assert "the same command goes on from there" in said
    assert not file.exists()
    bench(config, "--out", str(folder))
    assert Run.open(folder).table().equals(whole)


def test_a_file_that_may_not_grow(config, whole):
    folder = config.with_name("small")
    full = script(SMALL_FILES, config, folder)
    assert full.returncode == 1
    assert f"{folder / 'rows/00000.parquet'}: cannot be written (File too large)" in full.stderr
    assert Run.open(folder).files == {}
    bench(config, "--out", str(folder))
    assert Run.open(folder).table().equals(whole)


def test_a_folder_that_is_renamed_meanwhile_ends_the_run(tmp_path):
    """What is finished would not be among the rows of a new one."""
    folder, images = tmp_path / "run", seewhy.load_dataset("scenes:2")

    def rename(count):
        if count:
            folder.rename(tmp_path / "moved")

    given = {"folder": folder, "batch_size": 1, "advance": rename}
    with pytest.raises(OSError, match=r"run.checksums.txt: cannot be written \(No such file"):
        seewhy.evaluate("scenes:resnet", images, "random", "gini", **given)
    assert not folder.exists()


def test_a_write_that_fails_leaves_the_old_file(config, monkeypatch):
    from seewhy.writing import write_whole

    path = config.with_name("kept.txt")
    write_whole(path, b"old")

    def fail(descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=r"kept\.txt: cannot be written \(Input/output error\)"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert not path.with_name("kept.txt.tmp").exists(), "it would take the place that is missing"


def test_a_finished_run_is_not_done_again(config, whole):
    folder = config.with_name("whole")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")}
    assert "3 of 3 shards done already" in bench(config, "--out", str(folder))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")} == before
