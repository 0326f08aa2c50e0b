"""A benchmark on grids: each network has its own, and a run goes on where it was cut off."""

from __future__ import annotations

import pytest
import yaml
from bench_setup import bench

from seewhy.bench.config import read_config
from seewhy.bench.plan import make_plan
from seewhy.bench.store import Run
from seewhy.bench.work import Worker, opening, shard_answers
from seewhy.data.grids import photos_of
from seewhy.data.scenes import export
from seewhy.evaluating import evaluate


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    pytest.importorskip("pycocotools")
    root = tmp_path_factory.mktemp("grids")
    export(root / "scenes", 40, "voc")
    content = {
        "name": "grids",
        "networks": [{"model": "scenes:resnet"}, {"model": "scenes:vgg"}],
        "datasets": [{"dataset": "grids:voc:scenes", "name": "grids"}],
        "methods": ["grad_cam", "random"],
        "metrics": ["grid_pointing"],
        "shard": 1,
        "pictures": 1,
    }
    path = root / "grids.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_rows_are_those_of_evaluate_and_a_run_goes_on(config):
    folder = config.parent / "run"
    bench(config, "--out", str(folder), "--workers", "1")
    run = Run.open(folder)
    assert run.complete
    assert not run.failures()
    for (network, _), found in run.evaluations().items():
        again = evaluate(
            network, f"grids:voc:{config.parent / 'scenes'}", ["grad_cam", "random"],
            ["grid_pointing"],
        )  # fmt: skip
        assert len(found.rows) == 8 * found.images > 0
        assert [(one.image, one.target) for one in found.rows] == [
            (one.image, one.target) for one in again.rows
        ]
        for ours, theirs in zip(found.rows, again.rows, strict=True):
            assert ours.value == pytest.approx(theirs.value, abs=1e-5)
        assert all(len(photos_of(one.image)) == 4 for one in found.rows)
    plan = make_plan(read_config(config))
    chosen = {shard.network: shard.keys for shard in plan.shards}
    assert chosen.keys() == {"scenes:resnet", "scenes:vgg"}
    files = sorted(folder.glob("rows/*.parquet"))
    files[0].unlink()
    before = [file.stat().st_mtime_ns for file in files[1:]]
    bench(config, "--out", str(folder), "--workers", "1")
    assert files[0].is_file()
    assert [file.stat().st_mtime_ns for file in files[1:]] == before


def test_photos_that_changed_are_noticed(config):
    folder = config.parent / "changed"
    bench(config, "--out", str(folder), "--workers", "1")
    plan = make_plan(read_config(config))
    (photo, *_) = photos_of(plan.shards[0].keys[0])
    (path,) = config.parent.glob(f"scenes/**/{photo}.jpg")
    path.write_bytes(path.read_bytes() + b" ")
    assert "other photos or annotations" in bench(config, "--out", str(folder), code=2)


def test_a_network_is_asked_for_the_size_of_grids_while_it_is_opened(config, monkeypatch):
    """Not in the images' time, which the config may limit."""
    plan = make_plan(read_config(config))
    shard, worker = plan.shards[0], Worker(plan)
    assert not list(opening(shard.network, shard.dataset, worker))
    monkeypatch.setattr("seewhy.evaluation.grids.outputs_of", None)  # calling it would fail
    answers = list(shard_answers(shard, {}, worker))
    assert [answer.image for answer in answers] == list(shard.keys)
