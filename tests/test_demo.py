"""The demonstration on the bundled network: files, grades, and what they mean."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from seewhy.data.scenes import SAMPLES, Scenes
from seewhy.demo import BRIEF, demo, explain_scene, grade, mean, proportion, sample_scenes
from seewhy.models import load_model
from seewhy.naming import parse


@pytest.fixture(scope="module")
def model():
    return load_model("scenes:resnet")


def test_demo_writes_a_gallery_and_a_page_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr("seewhy.demo.SAMPLES", SAMPLES[:1])
    cheap = ["grad_cam", "tsgb", "rise"]
    monkeypatch.setattr("seewhy.demo.list_methods", lambda: cheap)
    steps = []
    grades = demo(tmp_path, advance=steps.append)
    assert {one.method for one in grades} == {"grad_cam", "tsgb", BRIEF["rise"]}
    assert [one.count for one in grades] == [2, 2, 2]
    assert steps == [1]
    assert Image.open(tmp_path / "gallery.png").width > 1000
    page = (tmp_path / "index.html").read_text()
    assert "://" not in page  # nothing is fetched from elsewhere
    assert page.count("<figcaption>grad_cam</figcaption>") == 2


def test_brief_settings_are_of_methods_that_exist():
    assert all(str(parse(spelled)) == spelled for spelled in BRIEF.values())


def test_samples_hold_two_different_objects():
    assert all(len(set(scene.labels)) >= 2 for scene in sample_scenes(64))


def test_grades_tell_a_good_method_from_a_bad_one(model):
    scenes = Scenes(12, seed=2)[:]
    explained = [explain_scene(model, scene, ["grad_cam", "eigen_cam"]) for scene in scenes]
    grades = {one.method: one for one in grade(scenes, explained)}
    assert grades["grad_cam"].count == sum(min(2, len(set(scene.labels))) for scene in scenes)
    # Eigen-CAM does not know the target, so it cannot point at each of several objects.
    assert grades["grad_cam"].pointing[0] > grades["eigen_cam"].pointing[0]
    assert grades["grad_cam"].energy[0] > grades["eigen_cam"].energy[0]


def test_intervals():
    """Against published values: Wilson's interval of 8 out of 10, and a mean of known deviation."""
    value, low, high = proportion(torch.tensor([1.0] * 8 + [0.0] * 2))
    assert (value, round(low, 3), round(high, 3)) == (pytest.approx(0.8), 0.490, 0.943)
    value, low, high = mean(torch.tensor([0.0, 2.0] * 8))
    assert value == pytest.approx(1)
    assert high - value == pytest.approx(1.96 * (16 / 15) ** 0.5 / 4)
    assert value - low == pytest.approx(high - value)
