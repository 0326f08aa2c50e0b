"""The same rows from every engine, also where workers die."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from bench_setup import bench, write_bench, write_bench_without

import seewhy
from registries import forgotten
from seewhy.aside import Gone, Late
from seewhy.bench.config import read_config
from seewhy.bench.engines import Crew, InProcess, _Actor, processes
from seewhy.bench.plan import make_plan
from seewhy.bench.store import Run
from seewhy.bench.work import opening
from seewhy.evaluation.rows import Answers


def table(config, name, *options, code=0):
    bench(config, "--out", str(config.with_name(name)), *options, code=code)
    return Run.open(config.with_name(name)).table()


METHODS = ["grad_cam", "gradient+smooth(samples=2)", "level(of=0.5)"]
METRICS = ["pointing_game", "average_drop", "insertion", "height(plus=1)"]
PLUGIN = '''
import torch

from seewhy.metrics import register_metric
from seewhy.naming import method


@method("a test", "0")
def level(probe, *, of):
    """The same everywhere."""
    return torch.full((len(probe.inputs), *probe.size), of)


@register_metric("a test", higher_is_better=True, range=(0, 9))
def height(saliency, *, plus=0):
    """The maximum."""
    return saliency.flatten(1).amax(1) + plus
'''


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A config with a plugin, two networks and two datasets, and its table without workers."""
    folder = tmp_path_factory.mktemp("engines")
    (folder / "bench_plugin.py").write_text(PLUGIN)
    config = write_bench(
        folder,
        plugins=["bench_plugin"],
        networks=[{"model": "scenes:resnet", "size": 64}, {"model": "bench_nets:small"}],
        datasets=[{"dataset": "scenes:3"}, {"dataset": "folder:photos", "limit": 4}],
        methods=METHODS,
        metrics=METRICS,
        steps=2,
    )
    with forgotten():
        yield config, table(config, "alone")


def test_the_table_is_that_of_evaluate(whole):
    """Each value is what `seewhy.evaluate` finds, with its curve; so are the omissions."""
    config, found = whole
    plan = make_plan(read_config(config))
    for network in ("scenes:resnet", "bench_nets:small"):
        for dataset in ("scenes:3", "folder:photos"):
            alone = seewhy.evaluate(
                plan.model(network), plan.data(dataset), METHODS, METRICS, steps=2, batch_size=2
            )
            mine = [
                row
                for row in found.to_pylist()
                if (row["network"], row["dataset"]) == (network, dataset)
            ]
            rows = {(r["image"], r["target"], r["method"], r["metric"]): r for r in mine}
            assert len(rows) == len(mine) == len(alone.rows) + len(alone.omissions) > 0
            for other in alone.rows:
                row = rows[other.image, other.target, other.method, other.metric]
                assert row["value"] == pytest.approx(other.value, abs=1e-4)
                assert row["curve"] == pytest.approx(list(other.curve), abs=1e-4)
                assert len(row["curve"]) == (3 if row["metric"] == "insertion" else 0)
                assert (row["reason"], row["failed"]) == (None, False)
            for omission in alone.omissions:
                row = rows[omission.image, omission.target, None, None]
                assert (row["value"], row["reason"]) == (None, omission.reason)


def test_processes_give_the_same_bits(whole):
    config, alone = whole
    assert table(config, "two", "--workers", "2").equals(alone)


def test_ray_gives_the_same_bits(whole):
    ray = pytest.importorskip("ray")
    config, alone = whole
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        # The one connected to; two actors of one thread each.
        found = table(config, "ray", "--engine", "ray", "--workers", "2")
        assert found.equals(alone)
        manifest = Run.open(config.with_name("ray")).manifest
        assert (manifest["engine"], manifest["workers"]) == ("ray", 2)
        assert_replaced_when_it_dies_or_is_late(ray)
    finally:
        ray.shutdown()


def assert_replaced_when_it_dies_or_is_late(ray):
    """What an actor does is what `Aside` does in tests/test_aside.py, so crews treat them alike."""

    @ray.remote
    class Light:  # a worker without torch begins at once
        def stream(self, work):
            for item in work(self):  # noqa: UP028 - see seewhy.bench.work.Worker
                yield item

    def dies(worker):
        yield os._exit(3)

    def raises(worker):
        yield 1
        raise KeyError("mine")

    def sleeps(worker):
        yield 1
        time.sleep(60)

    hand = _Actor(Light.remote)

    def run(work, came):
        for item in hand.stream(work, lambda: 1 if came else None):  # it may begin slowly
            came.append(item)

    for work, error in ((dies, Gone), (raises, KeyError), (sleeps, Late)):
        came = []
        with pytest.raises(error):
            run(work, came)
        assert came == ([] if work is dies else [1])
        run(lambda worker: iter((1, 2)), came := [])
        assert came == [1, 2]
    hand.close()


def assert_only_the_white_one_failed(table, reason):
    rows = table.to_pylist()
    assert {(row["image"], row["reason"]) for row in rows if row["failed"]} == {
        ("bee/1.png", reason)
    }
    assert len([row for row in rows if not row["failed"]]) == 5 * 3 * 4


def test_an_image_that_kills_workers_fails_alone(tmp_path):
    config = write_bench(tmp_path, networks=[{"model": "bench_nets:deadly", "name": "it"}], shard=3)
    found = table(config, "died", "--workers", "2", code=1)
    assert_only_the_white_one_failed(found, "the worker process died on this image each time")
    # The others' rows are those of a run in which that picture cannot be read.
    (tmp_path / "photos/bee/1.png").write_bytes(b"")
    config = write_bench_without(tmp_path)
    clean = table(config, "clean", code=1)
    values = [[row for row in one.to_pylist() if not row["failed"]] for one in (found, clean)]
    assert values[0] == values[1]


def test_a_worker_that_dies_once_is_replaced(tmp_path):
    config = write_bench(tmp_path, networks=[{"model": "bench_nets:deadly_once"}])
    died = table(config, "died", "--workers", "2")
    assert (tmp_path / "died").exists()
    assert died.equals(table(config, "not"))
    assert not any(died["failed"].to_pylist())


def test_a_worker_with_other_weights_stops_the_run(tmp_path):
    plan = make_plan(read_config(write_bench(tmp_path)))
    plan.weights["bench_nets:small"] = "others"
    for engine in (InProcess(plan), processes(plan, 2)):
        with pytest.raises(ValueError, match="bench_nets:small has other weights on this worker"):
            list(engine.finish(plan.shards, lambda images: None))


def test_images_are_counted_once_and_all(tmp_path):
    plan = make_plan(read_config(write_bench(tmp_path)))
    for engine in (InProcess(plan), processes(plan, 2)):
        counts = []
        found = [shard.number for shard, _ in engine.finish(plan.shards, counts.append)]
        assert sorted(found) == [0, 1, 2]
        assert sum(counts) == 6


class Blocked:
    """A worker with an endless second shard, during whose end somebody presses Ctrl-C."""

    def __init__(self):
        self.closed, self.waited = threading.Event(), []

    def stream(self, work, patience):
        if work.func is opening:
            return
        shard = work.args[0]
        if shard.number:
            self.waited.append(self.closed.wait(2))
            raise Gone
        yield from (Answers.lost(key, "no reason") for key in shard.keys)

    def close(self):
        if not self.closed.is_set():
            os.kill(os.getpid(), signal.SIGINT)
        self.closed.set()


@pytest.mark.skipif(os.name != "posix", reason="signals are of another kind here")
def test_ctrl_c_twice_ends_the_shards_under_way(tmp_path):
    plan = make_plan(read_config(write_bench(tmp_path)))
    hands = [Blocked(), Blocked()]
    found = Crew(plan, "blocked", 2, iter(hands).__next__).finish(plan.shards[:2], lambda images: 0)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        next(found)
        with pytest.raises(KeyboardInterrupt):
            found.throw(KeyboardInterrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    assert hands[1].closed.wait(2)
    assert False not in hands[1].waited


def test_an_address_needs_ray(tmp_path):
    shown = bench(write_bench(tmp_path), "--address", "auto", code=2)
    assert "--address is of a Ray cluster; add --engine ray" in shown
