"""What a run's folder holds is what this run has written, as it says; else that is reported."""

from __future__ import annotations

import errno
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from hashlib import sha256

import numpy as np
import pytest
from bench_setup import bench, write_bench
from PIL import Image
from report_setup import make_run
from torch import nn
from typer.testing import CliRunner

from registries import forgotten
from seewhy.bench import fingerprints
from seewhy.bench.store import Run, append_line, locked
from seewhy.cli import app
from seewhy.data.preprocess import Preprocess
from seewhy.models import LoadedModel
from seewhy.plugins import load_plugins


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    config = write_bench(tmp_path_factory.mktemp("damage"))
    bench(config)
    return config


@pytest.fixture
def victim(finished, tmp_path):
    """A copy of a finished run, with its config and photos, to do anything to."""
    shutil.copytree(finished.parent, tmp_path, dirs_exist_ok=True)
    return tmp_path / finished.name


def said_by(config, code=0):
    return " ".join(bench(config, code=code).split())


def shard_of(config, number):
    return config.with_name("run") / "rows" / f"{number:05}.parquet"


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 8
    path.write_bytes(data)


@pytest.mark.parametrize("place", [4, 500, -5, -200])
def test_a_flipped_bit_is_noticed_and_its_shard_made_again(victim, place):
    whole = Run.open(victim.with_name("run")).table()
    flip(shard_of(victim, 1), place)
    with pytest.raises(ValueError, match=r"00001\.parquet: broken \(it is not what was written"):
        Run.open(victim.with_name("run"))
    with pytest.raises(ValueError, match="broken"):
        Run.at(victim.with_name("run")).table()
    said = said_by(victim)
    assert "damaged " in said
    assert "00001.parquet: broken (it is not what was written there); made again" in said
    assert "2 of 3 shards done already" in said
    assert Run.open(victim.with_name("run")).table().equals(whole)
    assert shard_of(victim, 1).with_name("00001.parquet.damaged").exists()


def test_files_of_others_are_not_taken(victim, tmp_path):
    """Of another run of the same photos, of the same run under another number, and stray ones."""
    whole = Run.open(victim.with_name("run")).table()
    (tmp_path / "other").mkdir()
    other = write_bench(tmp_path / "other", seed=1)
    bench(other)
    shutil.copy(other.with_name("run") / "rows/00000.parquet", shard_of(victim, 0))
    shutil.copy(shard_of(victim, 2), shard_of(victim, 1))
    for stray in ("00003.parquet", "copy.parquet", "²1.parquet"):
        shutil.copy(shard_of(victim, 2), shard_of(victim, 2).with_name(stray))
    os.mkfifo(shard_of(victim, 7))
    sys.modules.pop("bench_nets", None)
    said = said_by(victim)
    for name in ("00000", "00001", "00003", "copy", "²1", "00007"):
        assert f"{name}.parquet: broken (" in said
    assert Run.open(victim.with_name("run")).table().equals(whole)
    assert sorted(path.name for path in shard_of(victim, 0).parent.glob("*.parquet")) == [
        "00000.parquet", "00001.parquet", "00002.parquet"
    ]  # fmt: skip


def test_a_changed_manifest_is_refused(victim):
    path = victim.with_name("run") / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["calibration"]["bench_nets:small"]["forward"] *= 2
    path.write_text(json.dumps(manifest, indent=2))
    with pytest.raises(ValueError, match=r"manifest\.json: damaged \(checksums\.txt says other"):
        Run.open(victim.with_name("run"))
    assert "manifest.json: damaged" in said_by(victim, code=2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("[]", "missing or of the wrong kind: all of it"),
        ("{}", "wrong kind: config, config_text, config_hash, seed, versions, …"),
        ('{"seed": 0, "seed": 1}', "the key 'seed' is there twice"),
        ("\ud800", "not UTF-8"),
    ],
)
def test_manifests_that_are_none(victim, text, message):
    path = victim.with_name("run") / "manifest.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ValueError, match=r"manifest\.json: no manifest of a run") as error:
        Run.open(path.parent)
    assert message in str(error.value)
    assert message in said_by(victim, code=2)


def test_checksums_are_those_of_sha256sum(victim):
    folder = victim.with_name("run")
    lines = [line.split("  ") for line in (folder / "checksums.txt").read_text().splitlines()]
    assert [name for _, name in lines] == [
        "manifest.json",
        *(f"rows/0000{number}.parquet" for number in range(3)),
        "pictures.parquet",
    ]
    for digest, name in lines:
        assert sha256((folder / name).read_bytes()).hexdigest() == digest


def test_a_line_that_was_cut_off_costs_only_itself(tmp_path):
    path = tmp_path / "sums"
    append_line(path, "one")
    path.write_bytes(path.read_bytes() + b"tw")
    append_line(path, "three")
    assert path.read_text() == "one\ntw\nthree\n"


def test_one_process_at_a_time(victim):
    """Also where the other run's config is another; a lock of a process that was killed is none."""
    folder = victim.with_name("run")
    hold = (
        "import sys, time; from pathlib import Path; from seewhy.bench.store import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    call = [sys.executable, "-c", hold, str(folder)]
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        assert "another process is at work there" in said_by(victim, code=2)
        other.send_signal(signal.SIGKILL)
    assert "3 of 3 shards done already" in said_by(victim)
    with locked(folder):  # and as soon as it has ended
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks_is_named(victim, monkeypatch, number):
    """As network file systems may be: the same command would never go on there."""
    fcntl = pytest.importorskip("fcntl")

    def flock(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    said = said_by(victim, code=2)
    assert f"{victim.with_name('run') / '.lock'}: cannot be locked" in said
    assert os.strerror(number) in said
    assert "name a folder on another file system with folder= (--out)" in said


def test_two_runs_with_one_folder_at_once(tmp_path):
    """The one that comes second ends at once, and takes nothing away."""
    config = write_bench(tmp_path, networks=[{"model": "bench_nets:slow"}], metrics=["gini"])
    code = "import sys; from seewhy.cli import app; app(sys.argv[1:])"
    call = [sys.executable, "-c", code, "bench", str(config), "--out", str(tmp_path / "run")]
    first = subprocess.Popen([*call, "--workers", "1"], stderr=subprocess.DEVNULL)
    ends = time.monotonic() + 60
    while not (tmp_path / "run" / "rows").exists() and time.monotonic() < ends:
        assert first.poll() is None
        time.sleep(0.01)
    other = tmp_path / "other.yaml"  # the photos stay as they are: the first run reads them
    other.write_text(config.read_text().replace("gini", "entropy"))
    assert "is at work there" in said_by(other, code=2)
    assert first.wait(60) == 0
    rows = Run.open(tmp_path / "run").table().to_pylist()
    assert {row["metric"] for row in rows} == {"gini"}
    assert len(rows) == 18


def test_a_folder_that_is_no_run_is_left_as_it_is(victim):
    folder = victim.with_name("mine")
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    said = " ".join(bench(victim, "--out", str(folder), code=2).split())
    assert "is no run and not empty" in said
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def inverted(config):
    path = config.parent / "photos/ant/1.png"
    pixels = 255 - np.asarray(Image.open(path))
    times = path.stat()
    Image.fromarray(pixels).save(path, compress_level=1)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def masked(config):
    (config.parent / "photos/masks/ant").mkdir(parents=True)
    Image.new("L", (40, 30), 255).save(config.parent / "photos/masks/ant/1.png")


@pytest.mark.parametrize("change", [inverted, masked])
def test_photos_that_have_changed_are_named(victim, change):
    change(victim)
    said = said_by(victim, code=2)
    assert "holds a run of other photos or annotations (folder:photos ant/1.png)" in said
    assert Run.open(victim.with_name("run")).complete


def test_a_photo_that_changes_while_it_is_graded(tmp_path):
    (tmp_path / "changing.py").write_text(
        "from pathlib import Path\nimport bench_nets\n"
        "loads, photos = [], Path(__file__).with_name('photos')\n"
        "def build():\n"
        "    loads.append(0)\n"
        "    if len(loads) == 3:  # after the plan and the calibration: whoever grades\n"
        "        other = (photos / 'ant' / '1.png').read_bytes()\n"
        "        (photos / 'bee' / '0.png').write_bytes(other)\n"
        "    return bench_nets.small()\n"
    )
    few = {"methods": ["grad_cam"], "metrics": ["gini"], "pictures": 0}
    config = write_bench(tmp_path, networks=[{"model": "changing:build"}], **few)
    printed = bench(config, code=1)
    assert "bee/0.png: its files changed while it was graded" in printed
    rows = Run.open(tmp_path / "run").table().to_pylist()
    assert {row["image"] for row in rows if row["failed"]} == {"bee/0.png"}
    assert len({row["image"] for row in rows if not row["failed"]}) == 5
    bench(config)
    assert not Run.open(tmp_path / "run").failures()


def test_a_class_map_that_has_changed(tmp_path):
    classes = tmp_path / "map.json"
    classes.write_text('{"ant": [0], "bee": [1]}')
    config = write_bench(
        tmp_path, datasets=[{"dataset": "folder:photos", "class_map": "map.json", "name": "it"}]
    )
    bench(config)
    classes.write_text('{"bee": [1],\n "ant": [0]}')  # the same map
    assert "3 of 3 shards done already" in said_by(config)
    classes.write_text('{"ant": [0], "bee": [2]}')
    assert "other settings (class_maps.it)" in said_by(config, code=2)


def test_a_network_that_has_changed(tmp_path):
    """Its names of classes; its code, with the same weights."""
    names = tmp_path / "names.txt"
    names.write_text("ant\nbee\ncat\n")
    asked = [{"model": "bench_nets:small", "classes": "names.txt", "name": "it"}]
    config = write_bench(tmp_path, networks=asked)
    bench(config)
    names.write_text("bee\nant\ncat\n")
    assert "other settings (networks.it)" in said_by(config, code=2)
    names.write_text("ant\nbee\ncat\n")
    assert "3 of 3 shards done already" in said_by(config)
    source = tmp_path / "bench_nets.py"
    source.write_text(source.read_text().replace("mean((2, 3))", "amax((2, 3))"))
    sys.modules.pop("bench_nets")
    assert "other settings (networks.it)" in said_by(config, code=2)


def test_the_code_of_all_parts_of_a_network_counts(tmp_path, monkeypatch):
    """But not a script that is run itself, which changes for other reasons."""
    monkeypatch.syspath_prepend(tmp_path)
    source = tmp_path / "parts_of_a_network.py"
    source.write_text("from torch import nn\nclass Body(nn.Flatten): pass\n")
    module = importlib.import_module(source.stem)
    model = LoadedModel(nn.Sequential(module.Body()), Preprocess(), ("ant", "bee"))
    before = fingerprints.of_network(model, "nets:build")
    source.write_text(f"{source.read_text()}1\n")
    assert fingerprints.of_network(model, "nets:build") != before
    module.Body.__module__ = "__main__"
    monkeypatch.setitem(sys.modules, "__main__", module)
    before = fingerprints.of_network(model, "nets:build")
    source.write_text(f"{source.read_text()}2\n")
    assert fingerprints.of_network(model, "nets:build") == before


@pytest.mark.parametrize("named", ["pack_of_maps", "pack_of_maps.cams"])
def test_every_file_of_a_plugin_counts(tmp_path, monkeypatch, named):
    for module in [one for one in sys.modules if one.startswith("pack_of_maps")]:
        monkeypatch.delitem(sys.modules, module)
    (tmp_path / "pack_of_maps").mkdir()
    for name in ("__init__", "cams", "helpers"):
        (tmp_path / f"pack_of_maps/{name}.py").write_text("")
    with forgotten():
        load_plugins([named], tmp_path)
        before = fingerprints.of_plugins()
        (tmp_path / "pack_of_maps/helpers.py").write_text("1")
        after = fingerprints.of_plugins()
    assert {name for name in after if before[name] != after[name]} == {named}


def test_a_plugin_that_is_missing_is_named_when_a_run_goes_on(tmp_path, monkeypatch):
    versions = {"seewhy": "0.1.0", "python": "3.11", "others-maps": "2"}
    make_run(tmp_path / "runs/small", {("n", "d"): []}, plugins={"mycam": "1"}, versions=versions)
    monkeypatch.chdir(tmp_path)
    config = write_bench(tmp_path, name="small", methods=["others_cam"])
    missing = "runs/small is a run with plugins that are not loaded: give mycam with --plugin, or "
    missing += "install others-maps"
    found = CliRunner().invoke(app, ["bench", str(config)])
    assert (found.exit_code, found.stderr.count(missing)) == (2, 1)
    asked = ["evaluate", "scenes:2", "--method", "others_cam", "--out", "runs/small"]
    found = CliRunner().invoke(app, asked)
    assert (found.exit_code, found.stderr.count(missing)) == (2, 1)


def test_values_that_are_no_numbers_are_failures(tmp_path):
    """A network whose answers are none; a metric that cannot be asked is left out with a reason."""
    config = write_bench(
        tmp_path,
        networks=[{"model": "bench_nets:blind"}, {"model": "bench_nets:small"}],
        methods=["random"],
        metrics=["gini", "average_drop", "iou"],
    )
    bench(config, code=1)
    found = Run.open(tmp_path / "run").evaluations()
    blind, small = (
        found["bench_nets:blind", "folder:photos"],
        found["bench_nets:small", "folder:photos"],
    )
    assert len(blind.rows) + len(blind.omissions) == len(small.rows) + len(small.omissions) == 18
    assert [row.metric for row in small.rows] == ["gini", "average_drop"] * 6
    (reason,) = small.left_out
    assert reason.startswith("iou: the dataset has no outline of it")
    assert small.left_out[reason] == 6
    assert {row.metric for row in blind.rows} == {"gini"}
    (reason,) = {one.reason for one in blind.failures}
    assert reason == "average_drop: nan is no finite number, as what the network answers is none"
    assert len(blind.failures) == 6


def test_photos_whatever_they_are_called(tmp_path):
    """All that can be read is done; what cannot is named, so that a terminal can show it."""
    config = write_bench(tmp_path)
    photo = (tmp_path / "photos/ant/0.png").read_bytes()
    folder = os.fsencode(tmp_path / "photos/bee")
    for name, content in ((b"caf\xe9.png", photo), (b"\x1b[2J.png", photo), (b"\xff.png", b"none")):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(content)
    said = bench(config, code=1)
    assert said.isprintable() or all(one.isprintable() for one in said.splitlines())
    rows = Run.open(tmp_path / "run").table().to_pylist()
    assert {row["image"] for row in rows if row["failed"]} == {"bee/\\xff.png"}
    assert {"bee/caf\\xe9.png", "bee/\\x1b[2J.png"} < {row["image"] for row in rows}
    assert "failed bench_nets:small folder:photos bee/\\xff.png: " in said


def test_a_listed_photo_with_a_name_that_no_file_can_have(tmp_path):
    config = write_bench(tmp_path, datasets=[{"dataset": "folder:photos"}])
    (tmp_path / "photos/images").mkdir()
    shutil.copy(tmp_path / "photos/ant/0.png", tmp_path / "photos/images/ok.png")
    (tmp_path / "photos/labels.csv").write_text(f"file,label\nok.png,ant\n{'x' * 300}.png,ant\n")
    said = " ".join(bench(config, code=1).split())
    assert f"{'x' * 300}.png" in said
    assert "File name too long" in said
    assert len(Run.open(tmp_path / "run").table().to_pylist()) == 1 * 3 * 4 + 1
