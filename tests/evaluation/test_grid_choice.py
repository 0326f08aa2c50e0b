"""Grids of photos: which the network chooses, what it sees of them, and how maps are graded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

import seewhy
from seewhy.data.dataset import DatasetError
from seewhy.data.grids import photos_of
from seewhy.data.load import load_dataset
from seewhy.data.preprocess import Preprocess
from seewhy.evaluation.grids import gridded, grids_of
from seewhy.evaluation.task import Task
from seewhy.metrics import metric
from seewhy.models import LoadedModel
from seewhy.naming import METHODS, Entry, parse
from seewhy.notes import Note

COLOURS = {
    "red": (1, 0, 0),
    "green": (0, 1, 0),
    "blue": (0, 0, 1),
    "yellow": (1, 1, 0),
    "white": (1, 1, 1),
}


class Painter(nn.Module):
    """Says of which colour a picture is, the surer the more of it is."""

    def __init__(self, side: int | None = None) -> None:
        super().__init__()
        self.side = side
        self.conv = nn.Conv2d(3, len(COLOURS), 1)
        colours = 2 * torch.tensor(list(COLOURS.values())).float() - 1
        with torch.no_grad():
            self.conv.weight.copy_(colours[:, :, None, None])
            self.conv.bias.fill_(-2.5)

    def forward(self, x):
        if self.side and x.shape[2] != self.side:
            raise RuntimeError(f"this network takes {self.side} pixels")
        return 30 * F.relu(self.conv(2 * x - 1)).mean((2, 3))


def painter(side=None):
    return LoadedModel(Painter(side), Preprocess(8, 8, 0.0, 1.0), tuple(COLOURS), "painter")


def paint(folder, name, colour, share=1.0):
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[: round(16 * share)] = 255 * np.array(COLOURS[colour])
    path = folder / colour / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path):
    """Three photos of three colours, two of blue, one of white; the later the fainter."""
    for colour in ("red", "green", "yellow"):
        for number in range(3):
            paint(tmp_path, number, colour, 1 - number / 8)
    for number in range(2):
        paint(tmp_path, number, "blue", 1 - number / 8)
    paint(tmp_path, 0, "white", 0.1)  # of which the network is not sure
    return tmp_path


def task(folder, model=None, spec="grids:{}"):
    dataset = load_dataset(spec.format(folder))
    return Task(model or painter(), dataset, (parse("grad_cam"),), (metric("grid_pointing"),))


def test_the_network_chooses_by_its_confidence(folder):
    grids = [photos_of(key) for key in grids_of(task(folder))]
    colours = [[key.partition("/")[0] for key in grid] for grid in grids]
    # Two of blue make two grids; a third lacks a fourth colour.
    assert [sorted(own) for own in colours] == [["blue", "green", "red", "yellow"]] * 2
    assert all(key.endswith("/0.png") for key in grids[0])
    assert all(key.endswith("/1.png") for key in grids[1])
    assert grids_of(task(folder)) == tuple(" | ".join(grid) for grid in grids)


@pytest.mark.parametrize(
    "spec", ["grids:{}", "grids:2x2:{}", "grids:folder:{}", "grids:2x2:folder:{}"]
)
def test_each_photo_is_seen_as_large_as_alone(folder, spec):
    asked = task(folder, spec=spec)
    dataset = gridded(asked).dataset
    key = grids_of(asked)[0]
    sample = dataset.read(key)
    assert sample.image.size == (16, 16)
    for place, (one, annotation) in enumerate(zip(photos_of(key), sample.annotations, strict=True)):
        x, y = 8 * (place % 2), 8 * (place // 2)
        assert annotation.boxes.tolist() == [[x, y, x + 8, y + 8]]
        assert annotation.label == one.partition("/")[0]
        alone = asked.model.preprocess(asked.dataset.read(one).image)
        seen = gridded(asked).model.preprocess(sample.image)[:, y : y + 8, x : x + 8]
        torch.testing.assert_close(seen, alone, atol=1e-6, rtol=0)


def test_a_network_of_one_size_sees_the_grid_in_it(folder):
    asked = task(folder, painter(side=8))
    with pytest.warns(Note, match="photos are shrunk to fit a grid of 8x8"):
        sample = gridded(asked).dataset.read(grids_of(asked)[0])
    assert sample.image.size == (8, 8)
    assert sample.annotations[3].boxes.tolist() == [[4, 4, 8, 8]]


def values(folder, method, function, monkeypatch):
    if function is not None:
        monkeypatch.setitem(METHODS, method, Entry(method, function, "", ""))
    found = seewhy.evaluate(painter(), f"grids:{folder}", [method], ["grid_pointing"])
    assert not found.omissions
    assert {row.target for row in found.rows} == {"red", "green", "blue", "yellow"}
    return [row.value for row in found.rows]


def test_values_in_closed_form(folder, monkeypatch):
    """A constant map says nothing of the place: 0.25. This network's own evidence is all inside."""

    def constant(probe):
        return torch.ones(len(probe.inputs), *probe.size)

    def left(probe):
        map_ = -torch.ones(len(probe.inputs), 16, 16)
        map_[:, :, :8] = 1
        return map_

    def empty(probe):
        return -constant(probe)

    assert values(folder, "constant", constant, monkeypatch) == [0.25] * 8
    assert sorted(values(folder, "left", left, monkeypatch)) == [0.0] * 4 + [0.5] * 4
    assert values(folder, "empty", empty, monkeypatch) == [0.0] * 8
    # The layer is the convolution, whose maps upsample to themselves.
    assert values(folder, "grad_cam", None, monkeypatch) == pytest.approx([1.0] * 8)


def test_what_is_no_grid_says_so(folder):
    found = seewhy.evaluate(painter(), f"folder:{folder}", ["grad_cam"], ["grid_pointing"])
    assert not found.rows
    assert not found.failures
    (reason,) = found.left_out
    assert "no grid of photos; write the dataset as grids:FOLDER" in reason


def test_too_few_photos_say_what_was_found(folder):
    with pytest.raises(DatasetError, match=r"of 12 photos painter recognises 11 .* of 4 classes; a "
                       "grid needs 9"):  # fmt: skip
        seewhy.evaluate(painter(), f"grids:3x3:{folder}", ["grad_cam"], ["grid_pointing"])


def test_a_broken_photo_costs_no_other(folder):
    (folder / "red" / "broken.png").write_bytes(b"nothing")
    with pytest.warns(Note, match="1 photos left out of grids, such as red/broken.png"):
        assert len(grids_of(task(folder))) == 2


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("grids:", "names no folder"),
        ("grids:1x1:{}", "from 2x2 to 8x8"),
        ("grids:2x3:{}", "as many rows as columns"),
        ("grids:grids:{}", "made of photos, not of grids"),
        ("grids:{}/nowhere", "no such folder"),
        ("grid:{}", "did you mean 'grids'"),
    ],
)
def test_wrong_specifications_say_what_would_do(folder, spec, message):
    with pytest.raises(DatasetError, match=message):
        load_dataset(spec.format(folder))
