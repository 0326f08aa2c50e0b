"""A run's folder, its failures, what it says of itself, and where else its numbers may go."""

from __future__ import annotations

import io
import json
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from bench_setup import bench, write_bench
from rich.console import Console

from seewhy.bench import loggers
from seewhy.bench.progress import State, duration, shown, speed
from seewhy.bench.store import Run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    config = write_bench(tmp_path_factory.mktemp("run"))
    said = bench(config)
    return config, said


def test_a_run_says_what_it_did(finished):
    config, said = finished
    assert "6 of 6 images" in said
    assert f"seewhy report {config.with_name('run')}" in said.replace("\n", "")
    run = Run.open(config.with_name("run"))
    manifest = run.manifest
    assert manifest["config_text"] == config.read_text()
    assert manifest["config"]["methods"] == ["grad_cam", "gradient", "random"]
    assert manifest["shards"] == 3
    assert (manifest["seed"], manifest["device"], manifest["engine"]) == (0, "cpu", "local")
    assert {"seewhy", "python", "torch", "numpy"} <= set(manifest["versions"])
    assert set(manifest["weights"]) == {"bench_nets:small"}
    cost = manifest["calibration"]["bench_nets:small"]
    assert set(cost["methods"]) == {"grad_cam", "gradient", "random"}
    assert all(value > 0 for value in (cost["forward"], cost["image"], *cost["methods"].values()))


def test_the_git_revision_is_written_down(tmp_path, monkeypatch):
    import subprocess

    from seewhy.bench.run import _revision

    monkeypatch.chdir(tmp_path)
    assert _revision() is None
    own = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*own, "init", "-q"], check=True)
    subprocess.run([*own, "commit", "-q", "--allow-empty", "-m", "one"], check=True)
    clean = _revision()
    head = subprocess.run([*own, "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    assert clean == {"revision": head.strip(), "dirty": False}
    Path("new").touch()
    assert _revision() == {**clean, "dirty": True}


def test_rows_and_evaluations_say_the_same(finished):
    run = Run.open(finished[0].with_name("run"))
    ((cell, evaluation),) = run.evaluations().items()
    assert cell == ("bench_nets:small", "folder:photos")
    assert evaluation.images == 6
    assert not evaluation.omissions
    rows = run.table().to_pylist()
    names = ("image", "target", "class_index", "probability", "method", "metric", "value")
    assert [[row[name] for name in names] for row in rows] == [
        [getattr(row, name) for name in names] for row in evaluation.rows
    ]
    assert [row["image"] for row in rows[::12]] == sorted({row["image"] for row in rows})
    areas = [row for row in evaluation.rows if row.metric == "deletion"]
    for row in areas:
        steps = zip(row.curve, row.curve[1:], strict=False)
        assert row.value == pytest.approx(sum((a + b) / 2 for a, b in steps) / 4, abs=1e-6)


def test_queries_of_the_documentation(finished):
    duckdb = pytest.importorskip("duckdb")
    polars = pytest.importorskip("polars")
    folder = finished[0].with_name("run")
    query = f"select method, avg(value) from '{folder}/rows/*.parquet' where metric = 'gini' "
    means = dict(duckdb.sql(query + "group by method").fetchall())
    ours = Run.open(folder).evaluations()["bench_nets:small", "folder:photos"].summary()
    expected = {one.method: one.mean for one in ours if one.metric == "gini"}
    assert means == pytest.approx(expected)
    frame = polars.scan_parquet(folder / "rows/*.parquet").filter(polars.col("metric") == "gini")
    found = dict(frame.group_by("method").agg(polars.col("value").mean()).collect().iter_rows())
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"methods": ["grad_cam"]}, "config.methods"),
        ({"steps": 5, "seed": 1}, "config.seed, config.steps, seed, weights.bench_nets:small"),
        ({"datasets": [{"dataset": "folder:photos", "limit": 3}]}, "images.folder:photos"),
    ],
)
def test_a_folder_of_another_run_is_refused(finished, changes, named):
    config, _ = finished
    before = config.read_text()
    try:
        write_bench(config.parent, **changes)
        said = " ".join(bench(config, code=2).split())
    finally:
        config.write_text(before)
    assert "holds a run with other settings (" in said
    for name in named.split(", "):
        assert name in said
    assert "name a new folder with folder= (--out)" in said


def test_a_run_of_another_version_is_refused(finished, tmp_path):
    import shutil

    config, _ = finished
    folder = tmp_path / "old"
    shutil.copytree(config.with_name("run"), folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["versions"]["seewhy"] = "0.0.1"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    said = " ".join(bench(config, "--out", str(folder), code=2).split())
    assert "holds a run with other settings (versions.seewhy)" in said
    (folder / "manifest.json").unlink()
    said = " ".join(bench(config, "--out", str(folder), code=2).split())
    assert "is no run and not empty; name a new folder with folder= (--out)" in said


def test_broken_files_are_named(finished, tmp_path):
    import shutil

    folder = tmp_path / "broken"
    with pytest.raises(ValueError, match=r"broken: holds no run of `seewhy bench`"):
        Run.open(folder)
    shutil.copytree(finished[0].with_name("run"), folder)
    shard = folder / "rows" / "00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"00001\.parquet: broken \(.*; remove it"):
        Run.open(folder)
    shard.unlink()
    assert not Run.open(folder).complete
    (folder / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match=r"manifest\.json: no manifest"):
        Run.open(folder)


def test_a_poisoned_image_fails_alone_and_is_tried_again(tmp_path):
    """One that cannot be read, one on which the network raises."""
    config = write_bench(tmp_path, networks=[{"model": "bench_nets:fussy"}])
    broken = tmp_path / "photos/ant/2.png"
    photo = broken.read_bytes()
    broken.write_bytes(photo[:100])
    said = " ".join(bench(config, code=1).split())
    assert "failed bench_nets:fussy folder:photos bee/1.png: too bright" in said
    assert "failed bench_nets:fussy folder:photos ant/2.png: " in said
    run = Run.open(tmp_path / "run")
    assert run.complete
    assert {one["image"] for one in run.failures()} == {"ant/2.png", "bee/1.png"}
    rows = run.table().to_pylist()
    assert {row["image"] for row in rows if not row["failed"]} == {
        "ant/0.png", "ant/1.png", "bee/0.png", "bee/2.png"
    }  # fmt: skip
    assert all(row["value"] is None and row["reason"] for row in rows if row["failed"])

    broken.write_bytes(photo)
    said = " ".join(bench(config, code=1).split())
    assert "3 of 3 shards done already" in said
    assert "2 shards with failures: tried again" in said
    assert {one["image"] for one in Run.open(tmp_path / "run").failures()} == {"bee/1.png"}
    bench(config, "--out", str(tmp_path / "whole"), code=1)
    assert Run.open(tmp_path / "run").table().equals(Run.open(tmp_path / "whole").table())


def test_a_dry_run_computes_nothing(tmp_path):
    config = write_bench(
        tmp_path, methods=["tsgb", "grad_cam+multiscale", "rise(masks=8)"], metrics=["road"]
    )
    said = bench(config, "--dry-run")
    assert not (tmp_path / "run").exists()
    words = " ".join(said.split())
    assert "bench_nets:small folder:photos 6 3" in words
    assert "F + rule pass" in words
    assert "road 2SF" in words
    assert "Time on 1 worker of 1 thread (local): about" in words


def test_the_estimate_is_a_sum_over_cells(tmp_path):
    from seewhy.bench.calibrate import estimate
    from seewhy.bench.config import read_config
    from seewhy.bench.plan import make_plan

    plan = make_plan(read_config(write_bench(tmp_path)))
    assert estimate(plan, {"bench_nets:small": {"image": 0.5}}, 2) == 6 * 0.5 / 2
    assert estimate(plan, {"bench_nets:small": {"image": None}}, 2) is None
    assert estimate(plan, {}, 2) is None


def test_a_network_is_timed_on_a_dataset_that_has_classes_of_it(tmp_path):
    """Of the first one it knows no class, so nothing can be asked there."""
    from seewhy.bench.calibrate import calibrate
    from seewhy.bench.config import read_config
    from seewhy.bench.engines import InProcess
    from seewhy.bench.plan import make_plan

    asked = [{"dataset": "folder:photos", "name": "others"}, {"dataset": "folder:photos"}]
    asked[0]["class_map"] = "none.json"
    (tmp_path / "none.json").write_text('{"dog": [0]}')
    plan = make_plan(read_config(write_bench(tmp_path, datasets=asked, methods=["random"])))
    found = calibrate(plan, InProcess(plan))["bench_nets:small"]
    assert found["forward"] > 0
    assert found["methods"]["random"] > 0


def test_methods_of_many_passes_are_not_run_to_their_end(tmp_path, monkeypatch):
    """Stopped after a few, and counted as if all were done."""
    from seewhy.bench import calibrate
    from seewhy.bench.config import read_config
    from seewhy.bench.engines import InProcess
    from seewhy.bench.plan import make_plan
    from seewhy.progress import tracked

    steps = []

    def slow(model, inputs, method, *, layer):
        for step in tracked("slow", range(1000), 1000):
            steps.append(step)

    monkeypatch.setattr(calibrate, "explain", slow)
    monkeypatch.setattr(calibrate, "_ENOUGH", 0.0)
    plan = make_plan(read_config(write_bench(tmp_path, methods=["rise"])))
    found = calibrate.calibrate(plan, InProcess(plan))["bench_nets:small"]["methods"]["rise"]
    assert steps == [0]
    assert found > 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.6, "1 min 0 s"), (3725, "1 h 2 min"), (90061, "1 d 1 h")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_speeds():
    assert speed(2.25) == "2.2 images/s"
    assert speed(0.25) == "15.0 images/min"


def test_a_run_that_was_finished_before_has_no_speed():
    assert str(State(total=100, done=100)) == "0 failures"


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_on_a_terminal_and_elsewhere(terminal, monkeypatch):
    """The rate counts this go alone."""
    from seewhy.bench import progress

    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    state = State(total=100, done=40)
    with shown(state, console) as tell:
        now[0] += 5
        state.done = 50
        tell()
        now[0] += 30
        state.done, state.failures = 75, 1
        tell()
    text = console.file.getvalue()
    assert "1.0 images/s, 25 s left, 1 failure" in text
    if terminal:
        assert "75/100" in text
    else:
        assert text.splitlines() == ["75 of 100 images, 1.0 images/s, 25 s left, 1 failure"] * 2


def test_a_logger_is_told_of_every_shard(tmp_path, monkeypatch):
    calls = []

    @contextmanager
    def fake(folder, config):
        calls.append(("start", config["name"]))
        yield lambda step, values: calls.append((step, dict(values)))
        calls.append(("close",))

    monkeypatch.setitem(loggers.LOGGERS, "fake", fake)
    bench(write_bench(tmp_path), "--log", "fake")
    first, *steps, last = calls
    assert (first, last) == (("start", "tiny"), ("close",))
    assert [step for step, _ in steps] == [2, 4, 6]
    means = {
        f"{network}/{data}/{one.metric}/{one.method}": one.mean
        for (network, data), found in Run.open(tmp_path / "run").evaluations().items()
        for one in found.summary()
    }
    final = steps[-1][1]
    assert final.pop("failures") == 0
    assert final.pop("images/s") > 0
    assert final == pytest.approx(means)


def test_tensorboard_for_real(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    bench(write_bench(tmp_path), "--log", "tensorboard")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("failures")] == [2, 4, 6]
    (mean,) = (
        one.mean
        for found in Run.open(tmp_path / "run").evaluations().values()
        for one in found.summary()
        if (one.metric, one.method) == ("gini", "grad_cam")
    )
    last = events.Scalars("bench_nets:small/folder:photos/gini/grad_cam")[-1]
    assert last.value == pytest.approx(mean)


def test_a_missing_package_and_an_unknown_log(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    config = write_bench(tmp_path)
    said = " ".join(bench(config, "--log", "tensorboard", code=2).split())
    assert "--log tensorboard needs the package tensorboard; install it" in said
    said = " ".join(bench(config, "--log", "paper", code=2).split())
    assert "there is no log 'paper'; there are tensorboard" in said
    assert not (tmp_path / "run" / "rows").exists()
