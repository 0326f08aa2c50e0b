"""Sharpening, and the composition that uses it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import seewhy
from networks import Cnn, images, seeded
from seewhy import Method, Probe
from seewhy.maps import normalize, upsample
from seewhy.refine.sharpen import sharpen

MODEL, PHOTOS = seeded(Cnn).double(), images(8).double()


def masked_scores(maps):
    with torch.no_grad():
        return MODEL(PHOTOS * maps[:, None])[:, 3]


@pytest.mark.parametrize("tolerance", [0.0, 0.1, 1e9])
def test_sharpened_only_where_the_score_holds(tolerance):
    probe = Probe(MODEL, PHOTOS, 3)
    plain = normalize(upsample(Method("grad_cam")(probe), (32, 32)))
    found = sharpen(probe, Method("grad_cam"), tolerance=tolerance)
    taken = (found != plain).flatten(1).any(1)
    assert torch.equal(found, torch.where(taken[:, None, None], plain**2, plain))
    least = torch.minimum(probe.score, masked_scores(plain)) - tolerance * probe.score.abs()
    could = plain.flatten(1).any(1)  # an empty map has no power
    assert torch.equal(taken, (masked_scores(plain**2) >= least) & could)
    if tolerance == 1e9:
        assert torch.equal(taken, could)
    else:
        assert 0 < taken.sum() < could.sum()


def test_options_out_of_range():
    for option in ("power=1", "tolerance=-1"):
        with pytest.raises(ValueError, match=option):
            seewhy.explain(MODEL, PHOTOS, f"grad_cam+sharpen({option})", 1)


def test_auto_is_its_composition_within_ten_forwards():
    model = seeded(Cnn).double()
    seewhy.explain(model, PHOTOS, "grad_cam", 1)  # chooses the layer
    pixels = []
    model.register_forward_hook(lambda module, args, out: pixels.append(args[0][:, 0].numel()))
    found = seewhy.explain(model, PHOTOS, "auto", 1)
    assert sum(pixels) <= 10 * PHOTOS[:, 0].numel()
    expected = seewhy.explain(MODEL, PHOTOS, "grad_cam+multiscale+sharpen", 1)
    assert torch.equal(found, expected)
    assert (found >= 0).all()
    assert (found <= 1).all()
    for index in range(3):
        alone = seewhy.explain(MODEL, PHOTOS[index : index + 1], "auto", 1)
        assert torch.allclose(alone[0], found[index])


class OneSize(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=4)
        self.head = nn.Linear(4 * 8 * 8, 5)

    def forward(self, x):
        return self.head(self.conv(x).relu().flatten(1))


def test_auto_for_networks_that_take_one_size():
    model = seeded(OneSize).double()
    found = seewhy.explain(model, PHOTOS, "auto", 1, layer="conv")
    assert torch.equal(found, seewhy.explain(model, PHOTOS, "grad_cam+sharpen", 1, layer="conv"))
