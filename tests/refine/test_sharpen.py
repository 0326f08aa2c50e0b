"""Sharpening, and the composition that uses it."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

import seewhy
from networks import Cnn, images, seeded
from seewhy import Method, Probe
from seewhy.maps import normalize, upsample
from seewhy.refine.sharpen import sharpen

MODEL, PHOTOS = seeded(Cnn).double(), images(8).double()


def said(images):
    """Softmax and sigmoid of the class, (2, B)."""
    with torch.no_grad():
        logits = MODEL(images)
    return torch.stack([logits.softmax(1)[:, 3], logits[:, 3].sigmoid()])


def sharper(plain, threshold):
    ramp = ((plain - threshold / 2) / (threshold / 2)).clamp(0, 1)
    return ramp * (0.8 + 0.2 * plain)


@pytest.mark.parametrize("price", [0.0, 0.0003, 0.001, 1e9])
def test_the_threshold_that_keeps_most_for_its_mass(price):
    plain = normalize(upsample(Method("grad_cam")(Probe(MODEL, PHOTOS, 3)), (32, 32)))
    found = sharpen(
        Probe(MODEL, PHOTOS, 3), Method("grad_cam"), thresholds=(0.8, 0.3, 0.5), price=price
    )
    taken = set()
    for place in range(len(PHOTOS)):
        photo, worths = PHOTOS[place : place + 1], {}
        for threshold in (0.3, 0.5, 0.8):
            candidate = sharper(plain[place], threshold)
            kept = min(1.0, (said(photo * candidate) / said(photo)).min().item())
            worths[threshold] = kept - price * math.log2(candidate.mean())
        chosen = max(worths, key=worths.__getitem__)
        torch.testing.assert_close(found[place], sharper(plain[place], chosen))
        assert found[place].argmax() == plain[place].argmax()
        taken.add(chosen)
    assert taken == {0.8} if price == 1e9 else len(taken) > 1


def test_a_higher_price_makes_smaller_maps():
    masses = [
        seewhy.explain(MODEL, PHOTOS, f"grad_cam+sharpen(price={price})", 3).mean((1, 2))
        for price in (0.0, 0.0003, 0.001, 0.01)
    ]
    for dear, dearer in pairwise(masses):
        assert (dearer <= dear).all()
    assert (masses[-1] < masses[0]).any()


def test_another_target_keeps_its_score():
    target = seewhy.targets.Contrast(3, 1)
    found = seewhy.explain(
        MODEL, PHOTOS, "grad_cam+sharpen(thresholds=(0.2, 0.8), price=0.01)", target
    )
    plain = normalize(seewhy.explain(MODEL, PHOTOS, "grad_cam", target))
    with torch.no_grad():
        before = target(MODEL(PHOTOS))
        worths = []
        for threshold in (0.2, 0.8):
            candidate = sharper(plain, threshold)
            lost = (before - target(MODEL(PHOTOS * candidate[:, None]))) / before.abs()
            worths.append((1 - lost).clamp(max=1) - 0.01 * candidate.mean((1, 2)).log2())
    second = (worths[1] > worths[0])[:, None, None]
    assert 0 < second.sum() < len(PHOTOS)
    torch.testing.assert_close(found, torch.where(second, sharper(plain, 0.8), sharper(plain, 0.2)))


@pytest.mark.parametrize(("price", "sharp"), [(0.23, False), (0.25, True)])
def test_half_the_mass_may_cost_the_price(price, sharp):
    """By hand: a score that is the mean of what is shown, and a map of 0, 0.3 and 1."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 1, bias=False)).double()
    model[1].weight.data.fill_(1 / 16)
    plain = torch.tensor([0, 0, 0.3, 1], dtype=torch.float64).expand(1, 4, 4)
    probe = Probe(model, torch.ones(1, 1, 4, 4).double(), lambda out: out[:, 0])
    found = sharpen(probe, lambda _: plain, thresholds=(0.2, 0.6), price=price)
    # At 0.2 the faint quarter is shown by 0.8 + 0.2 · 0.3, at 0.6 not at all: 0.215 of the score
    # for log2(0.465 / 0.25) = 0.895 halves of the mass.
    assert found[0, 0].tolist() == pytest.approx([0, 0, 0 if sharp else 0.86, 1])


def test_an_empty_map_stays_empty():
    def nothing(probe):
        return torch.zeros_like(probe.inputs[:, 0])

    assert not sharpen(Probe(MODEL, PHOTOS, 3), nothing).any()


def test_options_out_of_range():
    for option in ("thresholds=()", "thresholds=(0.5, 1.5)", "price=-1"):
        with pytest.raises(ValueError, match=option.partition("=")[0]):
            seewhy.explain(MODEL, PHOTOS, f"grad_cam+sharpen({option})", 1)


def test_auto_is_its_composition_in_seven_forwards():
    model = seeded(Cnn).double()
    seewhy.explain(model, PHOTOS, "grad_cam", 1)  # chooses the layer
    pixels = []
    model.register_forward_hook(lambda module, args, out: pixels.append(args[0][:, 0].numel()))
    found = seewhy.explain(model, PHOTOS, "auto", 1)
    assert sum(pixels) == 7 * PHOTOS[:, 0].numel()
    assert torch.equal(found, seewhy.explain(MODEL, PHOTOS, "grad_cam+detail+sharpen", 1))
    assert (found >= 0).all()
    assert (found <= 1).all()
    for index in range(3):
        alone = seewhy.explain(MODEL, PHOTOS[index : index + 1], "auto", 1)
        assert torch.allclose(alone[0], found[index])


class WithoutRelus(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2)
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        return self.head(nn.functional.gelu(self.conv(x)).mean((2, 3)))


def test_auto_for_networks_without_relus():
    model = seeded(WithoutRelus).double()
    passes = []
    model.register_forward_hook(lambda *_: passes.append(1))
    found = seewhy.explain(model, PHOTOS, "auto", 1)
    assert len(passes) == 7  # one of them finds that there are no ReLUs
    with pytest.raises(ValueError, match="relu"):
        seewhy.explain(model, PHOTOS, "grad_cam+detail", 1)
    by_gradient = "grad_cam+detail(by='gradient')+sharpen"
    assert torch.equal(found, seewhy.explain(model, PHOTOS, by_gradient, 1))
