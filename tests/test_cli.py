"""The command line: what it writes, what it prints, and its exit codes."""

from __future__ import annotations

import inspect
import io
import json
import os
import signal
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from networks import Cnn, seeded
from seewhy.cli import app, common
from seewhy.cli.explain import save_marked
from seewhy.cli.options import parse_size, parted
from seewhy.cli.output import unused
from seewhy.models.weights import SUFFIXES
from seewhy.naming import METHODS, parse

FACTORY = """
from networks import Cnn, seeded
from seewhy.data.preprocess import Preprocess
def net():
    model = seeded(Cnn)
    model.preprocess = Preprocess(resize=40, crop=32)
    return model
def silent():
    class Silent(Cnn):
        def forward(self, x): return super().forward(x).detach()
    model = seeded(Silent)
    model.preprocess = Preprocess(resize=(32, 32))
    return model
def raising(): raise RuntimeError("out of luck")
def plain(): return seeded(Cnn)
def binary():
    model = seeded(Cnn, classes=1)
    model.preprocess = Preprocess(resize=(32, 32))
    return model
def broken():
    class Broken(Cnn):
        def forward(self, x):
            if x.mean((1, 2, 3)).max() > 1: raise RuntimeError("too bright")
            return super().forward(x)
    model = seeded(Broken)
    model.preprocess = Preprocess(resize=(32, 32))
    return model
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the command line in a folder that holds a network, its class names and two photos."""
    monkeypatch.chdir(tmp_path)
    Path("cli_nets.py").write_text(FACTORY)
    Path("names.txt").write_text("\n".join(["ant", "bee", "cat", "tabby cat", "dog"]))
    pixels = np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("one.png")
    Image.fromarray(pixels[:, ::-1]).save("two.jpg")

    def call(*arguments: str, code: int = 0):
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == code, result.output + str(result.exception)
        return result

    return call


NET = ("--model", "cli_nets:net", "--classes", "names.txt")


def test_pictures_for_each_photo_target_and_method(run):
    shown = run(
        *("explain", "one.png", "two.jpg", *NET, "--out", "out", "--maps", "npz"),
        *("--method", "grad_cam", "--method", "layer_cam"),
        *("--target", "tabby cat", "--target", "0"),
    ).output
    assert "2 of 2 photos explained" in shown
    pictures = sorted(path.name for path in Path("out").iterdir() if path.suffix != ".npz")
    expected = [f"{stem}.gallery.png" for stem in ("one", "two")]
    expected += [
        f"{stem}{part}{suffix}"  # photos that were compressed with loss are not made PNGs
        for stem, suffix in (("one", ".png"), ("two", ".jpg"))
        for part in (
            ".ant.grad_cam",
            ".ant.layer_cam",
            ".tabby-cat.grad_cam",
            ".tabby-cat.layer_cam",
        )
    ]
    assert pictures == sorted(expected)
    assert Image.open("out/one.ant.grad_cam.png").size == (70, 50)
    with np.load("out/one.ant.grad_cam.npz") as archive:
        assert [archive[key].shape for key in archive] == [(50, 70)]


def test_json_is_one_record_per_photo(run):
    printed = run(
        *("explain", "one.png", "two.jpg", *NET, "--json", "--target", "top2"),
        *("--method", "grad_cam", "--out", "out", "--style", "contour"),
    ).stdout
    records = [json.loads(line) for line in printed.splitlines()]
    assert [record["photo"] for record in records] == ["one.png", "two.jpg"]
    for record in records:
        assert len(record["top"]) == 5
        asked = [explanation["target"] for explanation in record["explanations"]]
        assert asked == [top["name"] for top in record["top"][:2]]
        assert all(Path(file).is_file() for file in record["files"])
        assert record["explanations"][0]["probability"] == record["top"][0]["probability"]


def test_maps_equal_those_of_the_library(run):
    from seewhy import explain
    from seewhy.data.images import load_image
    from seewhy.data.preprocess import Preprocess

    run("explain", "one.png", *NET, "--method", "grad_cam", "--target", "4", "--out", "out",
        "--maps", "npy", "--size", "32x32")  # fmt: skip
    found = torch.from_numpy(np.load("out/one.dog.grad_cam.npy"))
    preprocess = Preprocess(resize=(32, 32))
    photo = load_image("one.png")
    maps = explain(seeded(Cnn), preprocess(photo)[None], "grad_cam", 4, size="layer")
    expected, seen = preprocess.geometry(photo).input_to_original(maps[0])
    assert seen.all()
    assert torch.allclose(found, expected)


def test_failures_are_named_and_the_rest_is_done(run):
    Path("bad.png").write_bytes(b"not a picture")
    result = run("explain", "one.png", "bad.png", "missing.png", "two.jpg", *NET,
                 "--method", "grad_cam", "--out", "out", code=1)  # fmt: skip
    assert "2 of 4 photos explained" in result.output
    assert "bad.png" in result.output
    assert "missing.png" in result.output
    assert Path("out/two.gallery.png").is_file()


def test_a_photo_on_which_the_network_fails_does_not_stop_its_batch(run):
    Image.new("RGB", (40, 40), "white").save("bright.png")
    result = run("explain", "one.png", "bright.png", "two.jpg", "--model", "cli_nets:broken",
                 "--method", "grad_cam", "--out", "out", code=1)  # fmt: skip
    assert "2 of 3 photos explained" in result.output
    assert "too bright" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.png", *NET], "missing.png"),
        ([*NET], "name at least one photo"),
        (["one.png", *NET, "--method", "grad_camm"], "did you mean 'grad_cam'"),
        (["one.png", *NET, "--target", "zebra"], "no class 'zebra'"),
        (["one.png", *NET, "--target", "9"], "class 9"),
        (["one.png", *NET, "--target", "top0"], "ranks count from 1"),
        (["one.png", *NET, "--target", "top"], "give top1, top3"),
        (["one.png", *NET, "--target", "ant,bee"], "for several classes repeat --target"),
        (["one.png", *NET, "--target", "tabby dog"], "did you mean 'tabby cat'"),
        (["one.png", *NET, "--method", "grad_cam,layer_cam,"], "cannot read the method ''"),
        (["one.png", *NET, "--activation", "relu"], "'relu' is not one of"),
        (["one.png", *NET, "--window", "5", "5"], "window"),
        (["one.png", "--model", "cli_nets:raising"], "RuntimeError: out of luck"),
        (["one.png", "--model", "cli_nets:net", "--target", "7"], "tells 5 classes apart"),
        (["one.png", *NET, "--layer", "conv9"], "did you mean conv"),
        (["one.png", *NET, "--layer", "backbone"], "its parts are conv"),
        (["one.png", *NET, "--size", "big"], "--size big"),
        (["one.png", *NET, "--mean", "a"], "--mean a"),
        (["one.png", *NET, "--device", "cuda:7"], "device='cuda:7' (--device)"),
        (["one.png", "--model", "cli_nets:nothing"], "nothing"),
        (["one.png", "--model", "resnet50"], "names no zoo"),
        (["one.png", *NET, "--weights", "missing.safetensors"], "missing.safetensors"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(run, arguments, message):
    if "--layer" not in arguments and "--method" not in arguments:
        arguments = [*arguments, "--method", "grad_cam"]
    result = run("explain", *arguments, "--out", "out", code=2)
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_listings(run):
    names = [row["name"] for row in json.loads(run("methods", "--json").stdout)]
    assert {"grad_cam", "global_guidance"} <= set(names)
    assert "grad_cam" in run("methods").output
    assert json.loads(run("refinements", "--json").stdout) is not None
    assert "scenes" in run("models").output
    assert "scenes:resnet" in run("models", "scenes").output
    rows = json.loads(run("layers", "--model", "cli_nets:net", "--json").stdout)
    assert [row["role"] for row in rows] == ["stage", "default"]
    assert rows[0]["layer"] == "relu#1"  # the ReLU is a layer in each of its calls
    assert rows[1] == {"layer": "relu#2", "kind": "ReLU", "shape": [8, 8, 8], "role": "default",
                       "read": "channels_first"}  # fmt: skip
    every = json.loads(run("layers", "--model", "cli_nets:net", "--json", "--all").stdout)
    assert {"conv1", "bn1", "relu#1", "conv2", "bn2", "relu#2"} == {row["layer"] for row in every}


def test_layers_named_like_markup_are_printed(run):
    Path("cli_marked.py").write_text(
        "from torch import nn\n\n\ndef net():\n    found = nn.Sequential()\n"
        "    found.add_module('conv[/b]', nn.Conv2d(3, 4, 3))\n"
        "    found.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)])\n"
        "    return found\n"
    )
    assert "conv[/b]" in run("layers", "--model", "cli_marked:net").output


def test_a_narrow_terminal_cuts_off_no_name(run, monkeypatch):
    monkeypatch.setattr(common.out, "width", 40)
    assert "…" not in run("models").output
    shown = run("layers", "--model", "photos:efficientnet_lite0").output
    assert "…" not in shown
    assert "Batch" in shown


def test_what_is_named_is_shown_with_all_its_documentation(run):
    for name, entry in METHODS.items():
        shown = run("methods", name).output
        words = (inspect.getdoc(entry.function) or "").split()
        assert " ".join(words) in " ".join(shown.split())
        assert shown.count(entry.source.split()[0]) >= 1
    assert "tsgb" not in run("methods", "rise").output
    assert "the rising numbers of pixels" in " ".join(run("metrics", "insertion").output.split())
    assert "tiles: if the network" in run("refinements", "multiscale").output
    asked = ("methods", "rise", "auto", "--json")
    assert [row["name"] for row in json.loads(run(*asked).stdout)] == ["auto", "rise"]
    for kind, name, near in (
        ("methods", "gradcam", "grad_cam"),
        ("metrics", "inserton", "insertion"),
        ("refinements", "multi_scale", "multiscale"),
    ):
        assert f"did you mean '{near}'?" in run(kind, name, code=2).output


def test_version(run):
    assert run("--version").output == f"seewhy {version('seewhy')}\n"
    called = subprocess.run([sys.executable, "-m", "seewhy", "--version"], capture_output=True)
    assert called.stdout.decode() == run("--version").output


def test_the_default_network_explains_a_photo_and_says_which_it_is(run):
    result = run("explain", "one.png", "--method", "grad_cam", "--json", "--out", "out")
    assert "explaining with photos:efficientnet_lite0" in result.stderr
    (record,) = map(json.loads, result.stdout.splitlines())
    (one,) = record["explanations"]
    assert one["model"] == "photos:efficientnet_lite0"
    assert one["preprocess"]["crop"] == 224
    assert len(one["layer"]) == 1
    assert (one["target"], one["class_index"]) == (
        record["top"][0]["name"],
        record["top"][0]["class"],
    )
    shown = run("layers").output
    assert "1280" in shown
    assert "photos:efficientnet_lite0" in run("models", "photos").output


def test_pictures_of_either_kind_are_known_as_ours(run):
    from seewhy.cli.output import ours

    run("explain", "one.png", "two.jpg", *NET, "--out", "out", "--maps", "png", "--target", "0",
        "--method", "grad_cam")  # fmt: skip
    made = sorted(path.name for path in Path("out").iterdir())
    assert len(made) == 2 * 3
    assert all(ours(Path("out", name)) for name in made), made
    assert not ours(Path("one.png"))
    assert not ours(Path("two.jpg"))
    again = run("explain", "out", *NET, "--out", "again", code=2)
    assert "holds no images but those written by seewhy" in " ".join(again.output.split())


def test_methods_with_commas_and_ranks_beyond_the_classes(run):
    run("explain", "one.png", *NET, "--out", "out", "--target", "top99",
        "--method", "layer_cam,grad_cam+smooth(samples=2, noise=0.1),hires_cam")  # fmt: skip
    pictures = [path.name for path in Path("out").glob("one.*.png")]
    assert len(pictures) == 1 + 3 * 5


def test_a_binary_network_and_a_regression(run):
    def said(*options):
        printed = run("explain", "one.png", "--model", "cli_nets:binary", "--method", "grad_cam",
                      "--json", "--out", "out", "--overwrite", *options).stdout  # fmt: skip
        return json.loads(printed)

    Path("one_name.txt").write_text("crack")
    record = said("--classes", "one_name.txt", "--target", "crack", "--target", "0")
    assert {top["name"] for top in record["top"]} == {"crack", "not crack"}
    assert sum(top["probability"] for top in record["top"]) == pytest.approx(1)
    assert record["top"][1]["probability"] > 0.0
    assert [one["target"] for one in record["explanations"]] == ["crack", "not crack"]
    record = said("--activation", "none", "--classes", "one_name.txt")
    assert list(record["top"][0]) == ["class", "name", "value"]
    assert record["top"][0]["name"] == "crack"
    assert record["explanations"][0]["probability"] is None


def test_what_was_assumed_is_a_line_and_no_warning(run):
    result = run("explain", "one.png", "--model", "cli_nets:plain", "--method", "grad_cam",
                 "--out", "out")  # fmt: skip
    assert result.stderr.startswith("note cli_nets:plain does not define its preprocessing")
    assert "Warning" not in result.output
    result = run("explain", "one.png", "--model", "cli_nets:plain", "--method", "grad_cam",
                 "--size", "32", "--mean", "127", "--std", "128", "--out", "out2")  # fmt: skip
    assert "note" not in result.output


def test_xrays(run):
    Image.fromarray((np.arange(2500).reshape(50, 50) + 300).astype(np.uint16)).save("xray.png")
    result = run("explain", "xray.png", *NET, "--method", "grad_cam", "--out", "out")
    assert "note xray.png: its values are 300 (shown black) to 2799 (white)" in result.stderr
    result = run("explain", "xray.png", *NET, "--method", "grad_cam", "--out", "out2",
                 "--window", "0", "4095")  # fmt: skip
    assert "note" not in result.output


# --- nothing of the user's is overwritten -------------------------------------------------------


def content(folder: str = ".") -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in Path(folder).rglob("*") if p.suffix in (".png", ".jpg")}


def test_photos_and_other_files_are_left_as_they_are(run):
    before = content()
    run("explain", "one.png", *NET, "--method", "grad_cam", "--target", "ant", "--out", ".")
    first = content()
    assert first.keys() - before.keys() == {"one.gallery.png", "one.ant.grad_cam.png"}
    assert all(first[name] == before[name] for name in before)
    Path("two.gallery.png").write_bytes(b"mine")
    Path("two.bee.grad_cam.jpg").symlink_to("one.png")
    result = run(
        "explain", "one.png", "two.jpg", *NET, "--method", "grad_cam", "--out", ".", code=1
    )
    assert "0 of 2 photos explained" in result.output
    assert "one.gallery.png is there already; give another --out, or --overwrite" in " ".join(
        result.output.split()
    )
    assert content() == {
        **first,
        "two.gallery.png": b"mine",
        "two.bee.grad_cam.jpg": first["one.png"],
    }
    Path("two.gallery.png").unlink()
    result = run("explain", "two.jpg", *NET, "--target", "bee", "--target", "ant",
                 "--method", "grad_cam", "--out", ".", code=1)  # fmt: skip
    assert "two.bee.grad_cam.jpg is there already" in " ".join(result.output.split())
    assert Path("two.ant.grad_cam.jpg").is_file(), "the rest is written"
    assert content()["one.png"] == before["one.png"]


def test_the_demonstration_replaces_no_page_of_the_users(run):
    Path("demo").mkdir()
    Path("demo/index.html").write_text("mine")
    result = run("demo", code=2)
    assert "index.html is there already; give another --out, or --overwrite" in " ".join(
        result.output.split()
    )
    assert [path.name for path in Path("demo").iterdir()] == ["index.html"]
    for command in (("demo",), ("explain", "one.png", *NET), ("explain",)):
        result = run(*command, "--out", "one.png", code=2)
        assert "--out one.png is a file; give a folder" in result.output


def test_a_full_disk_leaves_no_half_of_a_scene(run, monkeypatch):
    def half(image, path, *given, **options):
        Path(path).write_bytes(b"\x89PNG")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", half)
    assert "No space left on device" in run("explain", "--out", "out", code=2).output
    assert [path for path in Path("out").rglob("*") if path.is_file()] == []


def test_what_ctrl_c_cut_off_is_completed_by_the_same_command(run, monkeypatch):
    asked = ("explain", "one.png", *NET, "--method", "grad_cam", "--target", "ant",
             "--target", "bee", "--out", "out")  # fmt: skip
    calls = iter((save_marked, None))

    def cut_off(picture, path):
        if (save := next(calls)) is None:
            raise KeyboardInterrupt
        save(picture, path)

    with monkeypatch.context() as patched:
        patched.setattr("seewhy.cli.explain.save_marked", cut_off)
        run(*asked, code=130)
    result = run(*asked, code=1)
    assert "one.ant.grad_cam.png is there already" in " ".join(result.output.split())
    names = ["one.ant.grad_cam.png", "one.bee.grad_cam.png", "one.gallery.png"]
    assert sorted(path.name for path in Path("out").iterdir()) == names


def test_overwrite_replaces_results_but_no_photo(run):
    asked = ("explain", "one.png", *NET, "--method", "grad_cam", "--target", "ant", "--out", ".")
    run(*asked)
    old = content()
    Path("one.gallery.png").write_bytes(b"old")
    run(*asked, "--overwrite")
    assert content() == old
    Image.new("RGB", (40, 40)).save("one.gallery.png")
    photo = Path("one.gallery.png").read_bytes()
    result = run("explain", "one.png", "one.gallery.png", *NET, "--method", "grad_cam",
                 "--out", ".", "--overwrite", code=1)  # fmt: skip
    assert "one.gallery.png is one of the photos" in " ".join(result.output.split())
    assert Path("one.gallery.png").read_bytes() == photo
    assert not list(Path().glob(".*.png")), "nothing half-written is left"


def test_results_within_the_photos_folder_are_not_read_back(run):
    asked = ("explain", ".", *NET, "--method", "grad_cam", "--maps", "png", "--overwrite")
    for folder in ("results", ".", "results/deeper"):
        for _ in range(2):
            result = run(*asked, "--out", folder)
            assert "2 of 2 photos explained" in result.output
        for path in Path().rglob("*.map.png"):
            path.unlink()
    Image.new("RGB", (40, 40)).save("results/unmarked.png")
    assert "2 of 2 photos explained" in run(*asked, "--out", "results").output
    assert "3 of 3 photos explained" in run(*asked, "--out", "elsewhere").output
    Path("results/unmarked.png").unlink()
    result = run("explain", "results", *NET, "--out", "elsewhere", code=2)
    assert "holds no images but those written by seewhy" in result.output
    named = run("explain", "results/one.gallery.png", *NET, "--method", "grad_cam", "--out", "more")
    assert "1 of 1" in named.output


def test_a_folder_that_is_called_like_a_glob_is_a_folder(run):
    Path("photos [2024]").mkdir()
    Path("one.png").rename("photos [2024]/one.png")
    asked = ("explain", "photos [2024]", *NET, "--method", "grad_cam", "--overwrite")
    for _ in range(2):
        assert "1 of 1 photo explained" in run(*asked, "--out", "photos [2024]").output


def test_a_photo_named_in_several_ways_is_explained_once(run):
    os.symlink("one.png", "again.png")
    here = str(Path().absolute())
    result = run("explain", "one.png", "./one.png", ".", here, "again.png", *NET, "--out", "out")
    assert "2 of 2 photos explained" in result.output


def test_classes_with_one_file_name_get_two_files(run):
    Path("names.txt").write_text("\n".join(["a/b", "a b", "A-B", "same", "same"]))
    targets = [part for index in range(5) for part in ("--target", str(index))]
    printed = run("explain", "one.png", *NET, "--method", "grad_cam", "--json", "--out", "out",
                  *targets).stdout  # fmt: skip
    files = json.loads(printed)["files"]
    assert len(files) == len({file.casefold() for file in files}) == 6
    assert all(Path(file).is_file() for file in files)


def test_long_and_odd_names(run):
    long = "語" * 80
    Image.new("RGB", (40, 40), "red").save(f"{long}.png")
    Path("names.txt").write_text("\n".join(["象" * 100, "..", "/", "\t", "x"]))
    run("explain", f"{long}.png", *NET, "--method", "grad_cam", "--out", "out", "--maps", "png",
        *(part for index in range(4) for part in ("--target", str(index))))  # fmt: skip
    assert len(list(Path("out").iterdir())) == 9


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_named_as_a_photo_is_not_waited_for(run):
    os.mkfifo("pipe.png")
    result = run("explain", "one.png", "pipe.png", *NET, "--method", "grad_cam", "--out", "out",
                 code=1)  # fmt: skip
    assert "pipe.png: a pipe or a device" in result.output
    assert "1 of 2" in result.output


def test_json_tells_of_failures_too(run):
    Path("bad.png").write_bytes(b"not a picture")
    printed = run("explain", "bad.png", "one.png", "gone.png", *NET, "--json", "--out", "out",
                  "--method", "grad_cam", code=1).stdout  # fmt: skip
    records = {one["photo"]: one for one in map(json.loads, printed.splitlines())}
    assert set(records) == {"bad.png", "one.png", "gone.png"}
    assert "not an image" in records["bad.png"]["failures"][0]
    assert records["gone.png"]["explanations"] == []
    assert records["one.png"]["failures"] == []


def test_a_method_that_fails_costs_no_other(run):
    result = run("explain", "one.png", "two.jpg", "--model", "cli_nets:silent", "--out", "out",
                 "--method", "grad_cam,random", code=1)  # fmt: skip
    assert "2 of 2 photos explained" in result.output
    assert result.output.count("grad_cam of the predicted class") == 2
    assert len(list(Path("out").glob("*.random.*"))) == 2


def test_names_of_pictures_do_not_collide():
    given = set()
    assert [unused(stem, given) for stem in ("x", "X", "x-2")] == ["x", "X-2", "x-2-2"]


def test_sizes():
    assert parse_size("256") == {"resize": 256, "crop": 256}
    assert parse_size("256x320") == {"resize": (256, 320), "crop": None}


@pytest.mark.parametrize(
    "name",
    [
        "rise(masks=8, seed=1)",
        "grad_cam+multiscale(scales=[1, 2], combine='ratio')",
        "gig_cam(steps=20)+sharpen(thresholds=(0.1, 0.2), price=0.2)+smooth(samples=3)",
        "integrated_gradients(steps=8, baseline=(0.1, 0.2, 0.3))",  # values behind another option
        "integrated_gradients(steps=8, baseline=(0.1, 0.2, 0.3), seed=1)+smooth",
    ],
)
def test_commas_part_methods_but_not_their_options(name):
    assert parted([f"{name},tsgb,{name}", name]) == [name, "tsgb", name, name]
    assert parted([str(parse(name))]) == [str(parse(name))]


@pytest.mark.parametrize(
    ("weights", "options", "least"),
    [("mobilenet_v2", ("--size", "256", "--mean", "0.5", "--std", "0.5"), 8),
     ("squeezenet1_0", ("--size", "256"), 5)],
)  # fmt: skip
def test_real_photos_and_real_weights(shared, tmp_path, weights, options, least):
    """Ten photos: most are recognised, and the pictures are there."""
    if find_spec("torchvision") is None:  # whose import needs what `load_model` does before it
        pytest.skip("torchvision is not installed")
    photos = sorted((shared / "real/imagenet").glob("*.JPEG"))
    photos = photos[:: len(photos) // 10][:10]
    file = shared / f"real/weights/{weights}_imagenet.safetensors"
    result = CliRunner().invoke(
        app,
        ["explain", *map(str, photos), "--model", f"torchvision:{weights}", "--weights", str(file),
         *options, "--method", "grad_cam", "--json", "--out", str(tmp_path)],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(records) == 10
    right = sum(
        record["top"][0]["name"].split(",")[0].replace(" ", "_").lower()
        in Path(record["photo"]).stem.lower()
        for record in records
    )
    assert right >= least
    assert all((tmp_path / f"{photo.stem}.gallery.png").is_file() for photo in photos)


def test_the_help_names_each_kind_of_weights_that_is_read():
    shown = "".join(CliRunner().invoke(app, ["layers", "--help"], env={"COLUMNS": "200"}).output)
    assert ", ".join(SUFFIXES) in shown


def test_what_failed_for_one_reason_is_told_ten_times(capsys):
    common.tell_all_failed([*((f"photo {n}", "no layer") for n in range(25)), ("one", "is broken")])
    told = capsys.readouterr().err.splitlines()
    assert [line for line in told if "no layer" in line] == [
        f"failed photo {n}: no layer" for n in range(10)
    ]
    assert told[10:] == ["failed 15 more for the same reason", "failed one: is broken"]


def test_a_folder_that_cannot_be_made_is_named_without_a_number_of_the_system(run):
    Path("file").write_text("")
    result = run("scenes", "export", "file/below", "--count", "1", code=2)
    assert "Not a directory" in result.output
    assert "Errno" not in result.output


def heeding() -> None:
    """Ctrl-C ends the process that begins, also where these tests run in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.skipif(os.name != "posix", reason="signals are of another kind here")
@pytest.mark.parametrize("command", [["-m", "seewhy"], ["bin/seewhy"]])
def test_ctrl_c_while_torch_is_imported_ends_the_process_quietly(command, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/seewhy").write_text("import sys\nfrom seewhy.cli import app\nsys.exit(app())")
    (tmp_path / "torch.py").write_text(
        "import os, signal\n"
        "try: os.kill(os.getpid(), signal.SIGINT)\n"
        "except BaseException: pass\n"  # as some of what torch imports does
        "raise RuntimeError('it went on')\n"
    )
    found = os.pathsep.join([str(tmp_path), str(Path(common.__file__).parents[2])])
    ended = subprocess.run(
        [sys.executable, *command, "methods"],
        preexec_fn=heeding,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": found},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.skipif(os.name != "posix", reason="signals are of another kind here")
def test_ctrl_c_in_other_programs_is_theirs(tmp_path):
    """Of `python -m mine`, too, whose package imports Seewhy before Python knows its name."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/__init__.py").write_text("import seewhy")
    (tmp_path / "torch.py").write_text(
        "import os, signal\n"
        "try: os.kill(os.getpid(), signal.SIGINT)\n"
        "except KeyboardInterrupt: raise SystemExit(3)\n"
    )
    found = os.pathsep.join([str(tmp_path), str(Path(common.__file__).parents[2])])
    environment = os.environ | {"PYTHONPATH": found}
    ended = subprocess.run(
        [sys.executable, "-m", "mine.run"], preexec_fn=heeding, cwd=tmp_path, env=environment
    )
    assert ended.returncode == 3


def test_ctrl_c_in_a_command_is_python_s_own_again():
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit):
            app(["--version"])
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def full(*given, **options):
    raise OSError(28, "No space left on device", "evaluation/rows/00000.parquet")


def interrupted(*given, **options):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("evaluate", "code", "words"),
    [(full, 1, "When that is mended, the same"), (interrupted, 130, "what is finished is kept")],
)
def test_what_ends_an_evaluation_says_how_to_go_on(run, evaluate, code, words, monkeypatch):
    pytest.importorskip("pyarrow", reason="without it nothing is kept")
    monkeypatch.setattr("seewhy.evaluating.evaluate", evaluate)
    said = run("evaluate", "scenes:1", code=code).output
    assert words in said
    assert "command goes on from there" in said


def pipe_without_reader() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def test_help_has_a_short_name_in_commands_of_commands_too() -> None:
    for command in ([], ["explain"], ["scenes", "export"]):
        assert CliRunner().invoke(app, [*command, "-h"]).output == (
            CliRunner().invoke(app, [*command, "--help"]).output
        )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("arguments", [["methods"], ["methods", "--json"], ["--help"]])
@pytest.mark.parametrize(
    ("opened", "code", "words"),
    [(pipe_without_reader, 141, ""), (lambda: os.open("/dev/full", os.O_WRONLY), 1, "No space")],
)
def test_output_that_cannot_be_written_ends_the_process_in_words(
    arguments, opened, code, words, monkeypatch, capsys
):
    with open(opened(), "w") as stream, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stream)
        with pytest.raises(SystemExit) as ended:
            app(arguments)
        with common.out.capture():
            pass  # drops what could not be written
    assert ended.value.code == code
    told = capsys.readouterr().err
    assert words in told
    assert bool(told) == bool(words)


def test_letters_that_the_terminal_lacks_are_spelled_out(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    with pytest.raises(SystemExit) as ended:
        app(["methods", "grad_cam"])
    assert not ended.value.code
    assert rb"\u03a3" in written.getvalue()


def test_brackets_in_the_name_of_a_folder_are_no_markup(run):
    pictures = run("explain", "one.png", *NET, "--method", "gradient", "--out", "a[/b]")
    scenes = run("scenes", "export", "c[/d]", "--count", "1", "--size", "32")
    assert "a[/b]" in pictures.output
    assert "c[/d]" in scenes.output
