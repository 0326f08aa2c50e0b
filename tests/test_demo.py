"""The demonstration: its photos and page, and what its grades mean."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from seewhy import demo as demonstration
from seewhy.data.imagenet import imagenet_classes
from seewhy.data.samples import grid_of, sample_photos
from seewhy.data.scenes import SAMPLES
from seewhy.demo import demo, sample_scenes
from seewhy.evaluation.statistics import Summary
from seewhy.models import DEFAULT_MODEL, load_model


def test_sample_photos_are_small_named_and_free():
    for name, photo in sample_photos().items():
        assert photo.name == name
        assert 200 <= max(photo.image.size) <= 480
        assert photo.licence == "CC0-1.0" or photo.licence.startswith("Public domain")
        assert photo.by
        assert photo.source
        assert set(photo.classes) <= set(imagenet_classes().values())


def test_the_default_network_sees_what_the_samples_show():
    network = load_model(DEFAULT_MODEL)
    for photo in sample_photos().values():
        with torch.no_grad():
            logits = network.module(network.preprocess(photo.image)[None])
        likeliest = [name for _, name, _ in network.top(logits[0], 5)]
        assert photo.classes[0] in likeliest, photo.name


def test_a_grid_has_each_photo_in_its_place():
    colours = ["red", "green", "blue", "white"]
    grid = grid_of([Image.new("RGB", (30, 20 + n), colour) for n, colour in enumerate(colours)], 8)
    assert grid.size == (16, 16)
    places = [(1, 1), (14, 1), (1, 14), (14, 14)]
    assert [grid.getpixel(place) for place in places] == [
        Image.new("RGB", (1, 1), colour).getpixel((0, 0)) for colour in colours
    ]


def test_the_page_is_short_and_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("seewhy.demo.SAMPLES", SAMPLES[:1])
    monkeypatch.setattr("seewhy.demo.OPENING", "grad_cam")
    monkeypatch.setattr(
        "seewhy.demo.METHODS", {"grad_cam": "Where.", "tsgb": "Which pixels, and <what>."}
    )
    steps = []
    grades = demo(tmp_path, advance=steps.append)
    assert set(grades.values.methods) == {"grad_cam", "tsgb"}
    assert grades.images == 1
    assert sum(steps) == demonstration.steps()
    assert Image.open(tmp_path / "gallery.jpg").width > 1000
    page = (tmp_path / "index.html").read_text()
    assert "://" not in page  # nothing is fetched from elsewhere
    assert len(page) < 600_000
    assert page.count("<figure>") == 5 + 2 * 3 + 3
    assert (
        page.index("Where is the espresso?")
        < page.index("Two objects")
        < page.index("correct answer")
    )
    for photo in ("Rachel Michetti", "Lav Varshney", "SpaceX", "CC0-1.0"):
        assert photo in page
    assert "&lt;what&gt;" in page
    assert "brighter is more" in page, "a legend"


def test_each_question_of_the_grid_is_answered_in_its_photo():
    photos = sample_photos()
    found = demonstration.explain_grid([photos[name] for name in demonstration.GRID])
    assert [one.target for one in found] == [photos[name].classes[0] for name in demonstration.GRID]
    for place, one in enumerate(found):
        said = demonstration.asked_of_grid(one, place)
        assert said.startswith(f"Where is the {one.target}?")
        shares = [
            float(demonstration.asked_of_grid(one, cell).split("\n")[1].split("\u00a0")[0])
            for cell in range(4)
        ]
        assert sum(shares) == pytest.approx(100, abs=2)
        assert max(range(4), key=shares.__getitem__) == place


def test_methods_are_few_and_explained():
    assert 3 <= len(demonstration.METHODS) <= 6
    assert all(sentence.endswith(".") for sentence in demonstration.METHODS.values())


def test_samples_hold_two_different_objects():
    assert all(len(set(scene.labels)) >= 2 for scene in sample_scenes(64))


def test_grades_tell_a_good_method_from_a_bad_one(monkeypatch):
    # Eigen-CAM does not know the target, so it cannot point at each of several objects.
    monkeypatch.setattr("seewhy.demo.METHODS", {"grad_cam": "", "eigen_cam": ""})
    images = []
    found = demonstration.graded(load_model("scenes:resnet"), images.append)
    assert sum(images) == len(SAMPLES)
    for metric in demonstration.METRICS:
        best, worse = (one for one in found.summary() if one.metric == metric)
        assert (best.method, worse.method) == ("grad_cam", "eigen_cam")
        assert best.values == sum(len(set(scene.labels)) for scene in sample_scenes(64))
        assert best.mean > worse.mean


def test_a_share_is_shown_with_its_interval():
    one = Summary("iou", "grad_cam", 9, 8, 0.926, 0.894, 0.961, 0.9, 1.0)
    assert demonstration.shown(one) == "93 % (89-96)"
