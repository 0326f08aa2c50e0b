"""The command line: what it writes, what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from networks import Cnn, seeded
from seewhy.cli import app
from seewhy.cli.common import parse_size
from seewhy.cli.explain import unique_names

FACTORY = """
from networks import Cnn, seeded
from seewhy.data.preprocess import Preprocess
def net():
    model = seeded(Cnn)
    model.preprocess = Preprocess(resize=40, crop=32)
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
    pictures = sorted(path.name for path in Path("out").glob("*.png"))
    expected = [
        f"{stem}{part}.png"
        for stem in ("one", "two")
        for part in (
            "",
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
    assert "2 of 3 photos explained" in result.output
    assert "bad.png" in result.output
    assert "missing.png" in result.output
    assert Path("out/two.png").is_file()


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
        (["one.png", *NET, "--layer", "conv9"], "did you mean conv"),
        (["one.png", *NET, "--size", "big"], "--size big"),
        (["one.png", *NET, "--mean", "a"], "--mean a"),
        (["one.png", *NET, "--device", "cuda:7"], "--device cuda:7"),
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
    assert rows[0]["layer"] == "bn1"  # the ReLU goes by one name for both of its calls
    assert rows[1] == {"layer": "relu", "kind": "ReLU", "shape": [8, 8, 8], "role": "default"}
    every = json.loads(run("layers", "--model", "cli_nets:net", "--json", "--all").stdout)
    assert {"conv1", "bn1", "conv2", "bn2", "relu"} == {row["layer"] for row in every}


def test_names_of_pictures_do_not_collide():
    names = unique_names([Path("a/x.png"), Path("b/x.jpg"), Path("x-2.png")])
    assert len(set(names.values())) == 3


def test_sizes():
    assert parse_size("256") == {"resize": 256, "crop": 256}
    assert parse_size("256x320") == {"resize": (256, 320), "crop": None}


@pytest.mark.parametrize(
    ("weights", "options", "least"),
    [("mobilenet_v2", ("--size", "256", "--mean", "0.5", "--std", "0.5"), 8),
     ("squeezenet1_0", ("--size", "256"), 5)],
)  # fmt: skip
def test_real_photos_and_real_weights(shared, tmp_path, weights, options, least):
    """Ten photos: most are recognised, and the pictures are there."""
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
    assert all((tmp_path / f"{photo.stem}.png").is_file() for photo in photos)
