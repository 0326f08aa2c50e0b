"""What a browser sends is checked value by value, and what comes back is exact."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner
from viewers import LIMITS, png

from seewhy import explain_photos
from seewhy.app import jobs
from seewhy.app.code import as_command, as_python, spelled
from seewhy.app.limits import Limits
from seewhy.app.query import (
    NOTHING,
    PREDICTED,
    Network,
    Photo,
    Query,
    Result,
    file_name,
    measured,
    query_of,
    region_of,
)
from seewhy.app.store import Store
from seewhy.app.view import about, class_names, levels_of, photo_shown, record_of, shrunk, view_of
from seewhy.data.images import ImageError
from seewhy.data.scenes import CATEGORIES
from seewhy.models import LoadedModel


class Here(jobs.Jobs):
    """Jobs in this very process."""

    def run(self, work, network, texts):
        return work(network.model)


def explain(query: Query) -> Result:
    return jobs.explain(Here({}, LIMITS.seconds), query, lambda what, done, total: None)


@pytest.fixture
def resnet(networks) -> Network:
    return networks["scenes:resnet"]


@pytest.fixture
def result(resnet, scene):
    targets = (PREDICTED, CATEGORIES.index("umbrella"))
    query = query_of(resnet, scene, ["grad_cam", "tsgb"], [], targets, LIMITS)
    return explain(query)


def test_a_question_is_what_was_chosen(resnet, scene):
    query = query_of(
        resnet, scene, ["grad_cam", "hires_cam+gradual"], ["gradual"], (PREDICTED, NOTHING), LIMITS
    )
    assert query.methods == ("grad_cam+gradual", "hires_cam+gradual")
    assert query.targets == (None,)
    assert query_of(resnet, scene, ["cam", "cam"], None, (3, 3), LIMITS).targets == (3,)


@pytest.mark.parametrize(
    ("methods", "refinements", "targets", "words"),
    [
        ([], [], (0,), "no method is chosen"),
        (["grad_cam"], [], (NOTHING, NOTHING), "no class is asked for"),
        (["grad_camm"], [], (0,), "did you mean 'grad_cam'"),
        (["__import__('os').system('true')"], [], (0,), "cannot read"),
        (["grad_cam"], ["tsgb"], (0,), "a method"),
        (["grad_cam"], [], (18,), "class 18 does not exist"),
        (["grad_cam"], [], (-3,), "class -3 does not exist"),
        (["grad_cam"], [], ("os",), "not in the list"),
        (["grad_cam"], [], (True,), "not in the list"),
        (["grad_cam"], [], ({"path": "/etc/passwd"},), "not in the list"),
        ("grad_cam", [], (0,), "give a list"),
        ([1], [], (0,), "give a list"),
        (["cam", "xgrad_cam", "hires_cam", "layer_cam"], [], (0, 1), "at most 6"),
        (["grad_cam+multiscale(scales=(1, 8))"], [], (0,), "scales may be at most 4"),
        (["rise(masks=50000)"], [], (0,), "masks may be at most"),
        (["finer_cam(base='rise(masks=50000)')"], [], (0,), "masks may be at most"),
        (["grad_cam+multiscale+multiscale"], [], (0,), "once"),
        ([f"grad_cam(eps={'1' * 300})"], [], (0,), "characters"),
    ],
)
def test_what_cannot_be_asked(resnet, scene, methods, refinements, targets, words):
    with pytest.raises(ValueError, match=words):
        query_of(resnet, scene, methods, refinements, targets, LIMITS)


def test_maps_of_a_large_photo_are_bounded(resnet):
    large = Photo(png(Image.new("RGB", (8000, 3000))), "large.png", (8000, 3000))
    with pytest.raises(ValueError, match="too many to keep; ask for 2"):
        query_of(resnet, large, ["cam", "tsgb", "grad_cam"], [], (0,), Limits())


def test_a_photo_from_bytes(scene):
    data = png(scene.image)
    photo = Photo(data, file_name("C:\\photos\\..\\my cat.png"), measured(data, LIMITS))
    assert photo.name == "my cat.png"
    assert photo.image.tobytes() == scene.image.tobytes()


def npy(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def test_an_array_is_a_photo(scene):
    data = npy(np.asarray(scene.image))
    photo = Photo(data, "clock.npy", measured(data, LIMITS))
    assert photo.image.tobytes() == scene.image.tobytes()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"P5 60000 60000 255\n", "at most 500,000 are read, make it smaller first$"),
        (npy(np.full((4, 4), 7.0)), "values from 7 to 7; give 0 to 1$"),
        (npy(np.zeros((40_000, 1), np.uint8)), "40,000 pixels long"),
        (npy(np.zeros((900, 900), np.uint8)), "900x900 pixels"),
        (npy(np.zeros((9, 9), np.uint8))[:100], "no readable .npy file"),
        (b"GIF89a and nothing more", "cannot be used"),
        (b"x" * 1_000_001, "at most 1 MB"),
        (png(Image.new("RGB", (1000, 1000))), "1000x1000 pixels"),
    ],
)
def test_what_is_no_photo_is_refused_without_its_name(data, words):
    with pytest.raises(ImageError, match=words) as caught:
        measured(data, LIMITS)
    assert "secret" not in str(caught.value)
    assert "bytes:" not in str(caught.value)


def test_file_names_are_only_names():
    assert file_name("/etc/passwd") == "passwd"
    assert file_name("a/../..") == "photo.png"
    assert file_name("--model\n.png") == "model.png"
    assert len(file_name("x" * 500 + ".png")) == 100


def test_a_result_is_what_explain_photos_says(result, resnet, scene):
    (answer,) = explain_photos(
        resnet.model, [scene.image], ["grad_cam", "tsgb"], [None, "umbrella"]
    )
    for index, expected in enumerate(answer.explanations):
        chosen = result.chosen(index)
        assert torch.equal(chosen.saliency, expected.saliency)
        method, target = result.pairs[index]
        assert method == expected.method
        assert (target is None) == (index < 2)
    for wrong in (4, -1, "0", None):
        with pytest.raises(ValueError, match="does not exist"):
            result.chosen(wrong)


def test_values_for_the_page_are_those_of_the_map(result):
    for chosen in result.answer.explanations:
        facts = about(chosen)
        levels = np.frombuffer(gzip.decompress(levels_of(chosen.saliency)), "<u2").reshape(120, 160)
        values = facts["low"] + levels / 65535 * (facts["high"] - facts["low"])
        assert np.allclose(values, chosen.saliency, atol=(facts["high"] - facts["low"]) / 65535)
        assert facts["signed"] == bool((chosen.saliency < 0).any())


def test_a_large_photo_is_shown_smaller(networks):
    photo = Photo(png(Image.new("RGB", (2560, 1000))), "wide.png", (2560, 1000))
    query = query_of(networks["thousand"], photo, ["grad_cam"], [], (5,), Limits())
    (chosen,) = explain(query).answer.explanations
    assert shrunk(photo.size) == (1280, 500)
    assert Image.open(io.BytesIO(photo_shown(photo))).size == (1280, 500)
    assert len(gzip.decompress(levels_of(chosen.saliency))) == 2 * 1280 * 500
    left, top, right, bottom = about(chosen)["seen"]  # the crop: 32 of 40 in height
    assert (top, bottom) == pytest.approx((50, 450), abs=1)
    assert (left + right, right - left) == pytest.approx((1280, 400), abs=2)


def test_the_record_names_all_that_made_the_map(result):
    record = record_of(result, 3)
    assert (record["method"], record["target"], record["model"]) == (
        "tsgb",
        "umbrella",
        "scenes:resnet",
    )
    assert torch.__version__.startswith(record["versions"]["torch"].split("+")[0])


def test_the_printed_python_makes_the_same_pictures(result, scene, tmp_path):
    scene.image.save(tmp_path / scene.name)
    code = as_python(result.query)
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    for index, expected in enumerate(result.answer.explanations):
        with Image.open(tmp_path / f"map-{index}.png") as picture:
            assert picture.tobytes() == expected.overlay().tobytes()


def test_the_printed_command_makes_the_same_pictures(result, scene, tmp_path, monkeypatch):
    import shlex

    from seewhy.cli import app

    monkeypatch.chdir(tmp_path)
    scene.image.save(scene.name)
    command = shlex.split(as_command(result.query))
    assert command[0] == "seewhy"
    ran = CliRunner().invoke(app, command[1:])
    assert ran.exit_code == 0, ran.output
    expected = result.chosen(3)
    with Image.open(tmp_path / "maps" / "clock.umbrella.tsgb.png") as picture:
        assert picture.tobytes() == expected.overlay().tobytes()
    assert len(list((tmp_path / "maps").glob("clock.*.*.png"))) == 4


def test_code_with_weights_and_ambiguous_names(networks, scene):
    query = query_of(networks["thousand"], scene, ["rise(masks=8)"], [], (7, 70), LIMITS)
    assert "load_model('test:thousand', weights='a.safetensors')" in as_python(query)
    assert "--weights a.safetensors --method 'rise(masks=8)'" in as_command(query)
    cranes = LoadedModel(torch.nn.Identity(), classes=("crane", "dog", "crane"))
    assert [spelled(index, cranes) for index in range(3)] == [0, "dog", 2]


def test_classes_are_listed_by_their_index(networks):
    assert class_names(networks["thousand"])[281] == "thing number 281"
    unnamed = LoadedModel(networks["thousand"].model.module)
    assert class_names(Network(unnamed))[7] == "class 7"


def test_a_method_that_fails_costs_no_other(networks, scene):
    from seewhy.naming import METHODS, method

    @method("a test", "0")
    def always_fails(probe):
        """Fail."""
        raise ValueError("out of luck")

    try:
        methods = ["grad_cam", "always_fails", "layer_cam"]
        query = query_of(networks["scenes:resnet"], scene, methods, [], (-1, 5), LIMITS)
        found = explain(query)
        wanted = [(name, target) for target in (None, 5) for name in ("grad_cam", "layer_cam")]
        assert found.pairs == wanted
        assert [one.method for one in found.answer.explanations] == [name for name, _ in wanted]
        assert [one.method for one in found.answer.failures] == ["always_fails"] * 2
        view = view_of(found, "token", "photo")
        assert [one["row"] for one in view["maps"]] == [0, 0, 1, 1]
        assert all("out of luck" in text for text in view["failures"])
        alone = query_of(networks["scenes:resnet"], scene, ["always_fails"], [], (-1,), LIMITS)
        with pytest.raises(ValueError, match="out of luck"):
            explain(alone)
    finally:
        del METHODS["always_fails"]


def test_a_brushed_region_at_the_photos_size(scene):
    mask = Image.new("L", (80, 60))
    mask.paste(255, (0, 0, 40, 60))
    region = region_of(png(mask), scene)
    assert region.shape == (120, 160)
    assert region[:, :78].all()
    assert not region[:, 82:].any()
    with pytest.raises(ImageError, match="pixels"):
        region_of(png(Image.new("L", (2000, 2000))), scene)


def test_a_store_keeps_what_was_used_last():
    store: Store[str] = Store("photo", 2)
    first, second = store.add("first"), store.add("second")
    assert first != second
    assert store[first] == "first"
    third = store.add("third")
    assert store[first] == "first"
    assert store[third] == "third"
    for token in (second, "", None, ["a"]):
        with pytest.raises(ValueError, match="no longer here"):
            store[token]


def test_limits_are_above_zero():
    with pytest.raises(ValueError, match=r"megabytes=0 \(--max-megabytes\)"):
        Limits(megabytes=0)
