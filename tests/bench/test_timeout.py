"""An image that takes for ever costs its own rows and no other's."""

from __future__ import annotations

import time

import pytest
from bench_setup import bench, write_bench, write_bench_without

from seewhy.bench import engines
from seewhy.bench.config import read_config
from seewhy.bench.engines import Crew, InProcess, processes, under_way
from seewhy.bench.plan import make_plan
from seewhy.bench.store import Run
from seewhy.cli.bench import engine_of

REASON = "took longer than 1 s, the config's timeout"


def rows_of(folder, network):
    found = [row for row in Run.open(folder).table().to_pylist() if row["network"] == network]
    return [row for row in found if not row["failed"]], [row for row in found if row["failed"]]


def test_an_image_that_takes_for_ever_fails_alone(tmp_path):
    """In a loop of Python, in C with Python's lock and all signals ignored, and stopped."""
    names = ("looping", "deaf", "stopped")
    config = write_bench(
        tmp_path,
        networks=[{"model": f"bench_nets:{name}", "name": name} for name in names],
        timeout=1,
        shard=3,
        pictures=0,
    )
    begun = time.monotonic()
    said = " ".join(bench(config, "--workers", "2", code=1).split())
    assert time.monotonic() - begun < 90
    (tmp_path / "photos/bee/1.png").write_bytes(b"")  # as if it could not be read
    config = write_bench_without(tmp_path)
    bench(config, "--out", str(tmp_path / "clean"), code=1)
    expected, _ = rows_of(tmp_path / "clean", "it")
    for name in names:
        assert f"failed {name} folder:photos bee/1.png: {REASON}" in said
        values, failed = rows_of(tmp_path / "run", name)
        assert [(row["image"], row["reason"]) for row in failed] == [("bee/1.png", REASON)]
        assert [{**row, "network": "it"} for row in values] == expected


def test_another_timeout_goes_on_with_what_took_too_long(tmp_path):
    """A second for that image is more than it may take at first, and less than it may then."""
    asked = {"networks": [{"model": "bench_nets:slow"}], "methods": ["gradient"]}
    asked |= {"metrics": ["gini"], "pictures": 0}
    config = write_bench(tmp_path, timeout=0.4, **asked)
    bench(config, code=1)
    before = Run.open(tmp_path / "run")
    assert {one["image"] for one in before.failures()} == {"bee/1.png"}
    config = write_bench(tmp_path, timeout=60, **asked)
    said = bench(config)
    assert "1 shard with failures: tried again" in said
    assert not Run.open(tmp_path / "run").failures()
    assert Run.open(tmp_path / "run").table().num_rows == 6


def test_a_timeout_beyond_what_systems_can_wait_is_no_limit(tmp_path):
    """A week for each of the images of a batch: waiting for it raised OverflowError."""
    bench(write_bench(tmp_path, timeout=604_800 * 100))
    assert Run.open(tmp_path / "run").complete


def test_a_timeout_is_a_number_of_seconds(tmp_path):
    for wrong in (0, -1, "long", float("inf")):
        said = " ".join(bench(write_bench(tmp_path, timeout=wrong), code=2).split())
        assert "timeout is" in said


def test_the_batch_under_way_is_searched_first():
    assert under_way("abcdefg", 0, 3) == under_way("abcdefg", 2, 3) == "abc"
    assert under_way("abcdefg", 3, 3) == "def"
    assert under_way("abcdefg", 6, 3) == "g"


def test_a_network_that_is_never_open_ends_the_run(tmp_path, monkeypatch):
    """One whose import hangs in workers; with a timeout and without, in the first call or later."""
    (tmp_path / "sleepy.py").write_text(
        "import multiprocessing, time, bench_nets\n"
        "if multiprocessing.parent_process() is not None:\n    time.sleep(1000)\n"
        "small = bench_nets.small\n"
    )
    monkeypatch.setattr(engines, "OPENING", 4.0)
    plan = make_plan(read_config(write_bench(tmp_path, networks=[{"model": "sleepy:small"}])))
    engine = processes(plan, 1)
    message = r"sleepy:small on folder:photos: a worker had not opened them after 4 s"
    with pytest.raises(ValueError, match=message):
        engine.call(str, "sleepy:small", "folder:photos", 1)
    with pytest.raises(ValueError, match=message):
        list(engine.finish(plan.shards, lambda images: None))


@pytest.mark.parametrize("timeout", [None, 5])
def test_only_another_process_can_be_ended(tmp_path, timeout):
    plan = make_plan(read_config(write_bench(tmp_path, timeout=timeout)))
    engine = engine_of(plan, "local", 1, None)
    assert isinstance(engine, InProcess if timeout is None else Crew)
    assert engine.workers == 1
