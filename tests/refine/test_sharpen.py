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


def said(images):
    """Softmax and sigmoid of the class, (2, B)."""
    with torch.no_grad():
        logits = MODEL(images)
    return torch.stack([logits.softmax(1)[:, 3], logits[:, 3].sigmoid()])


@pytest.mark.parametrize("tolerance", [0.0, 0.001, 1e9])
def test_the_highest_threshold_at_which_the_probability_holds(tolerance):
    plain = normalize(upsample(Method("grad_cam")(Probe(MODEL, PHOTOS, 3)), (32, 32)))
    found = sharpen(
        Probe(MODEL, PHOTOS, 3), Method("grad_cam"), thresholds=(0.8, 0.3), tolerance=tolerance
    )
    taken = set()
    for place in range(len(PHOTOS)):
        photo, expected, chosen = PHOTOS[place : place + 1], plain[place], 0.0
        for threshold in (0.3, 0.8):
            ramp = ((plain[place] - threshold / 2) / (threshold / 2)).clamp(0, 1)
            sharper = ramp * (0.8 + 0.2 * plain[place])
            if (said(photo * sharper) >= (1 - tolerance) * said(photo)).all():
                expected, chosen = sharper, threshold
        torch.testing.assert_close(found[place], expected)
        assert found[place].argmax() == plain[place].argmax()
        taken.add(chosen)
    assert taken == {0.8} if tolerance == 1e9 else len(taken) > 1


def test_another_target_keeps_its_score():
    target = seewhy.targets.Contrast(3, 1)
    found = seewhy.explain(MODEL, PHOTOS, "grad_cam+sharpen(thresholds=(0.5,))", target)
    plain = normalize(seewhy.explain(MODEL, PHOTOS, "grad_cam", target))
    sharper = (4 * plain - 1).clamp(0, 1) * (0.8 + 0.2 * plain)
    with torch.no_grad():
        before, after = target(MODEL(PHOTOS)), target(MODEL(PHOTOS * sharper[:, None]))
    kept = after >= before - 0.05 * before.abs()
    torch.testing.assert_close(found, torch.where(kept[:, None, None], sharper, plain))


def test_options_out_of_range():
    for option in ("thresholds=()", "thresholds=(0.5, 1.5)", "tolerance=-1"):
        with pytest.raises(ValueError, match=option.partition("=")[0]):
            seewhy.explain(MODEL, PHOTOS, f"grad_cam+sharpen({option})", 1)


def test_auto_is_its_composition_within_ten_forwards():
    model = seeded(Cnn).double()
    seewhy.explain(model, PHOTOS, "grad_cam", 1)  # chooses the layer
    pixels = []
    model.register_forward_hook(lambda module, args, out: pixels.append(args[0][:, 0].numel()))
    found = seewhy.explain(model, PHOTOS, "auto", 1)
    assert sum(pixels) <= 10 * PHOTOS[:, 0].numel()
    expected = seewhy.explain(MODEL, PHOTOS, "grad_cam+multiscale(scales=(1, 1.5))+sharpen", 1)
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
