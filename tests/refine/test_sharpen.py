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
from seewhy.notes import Note
from seewhy.refine.sharpen import sharpen

MODEL, PHOTOS = seeded(Cnn).double(), images(8).double()


def said(images):
    """Softmax and sigmoid of the class, (2, B)."""
    with torch.no_grad():
        logits = MODEL(images)
    return torch.stack([logits.softmax(1)[:, 3], logits[:, 3].sigmoid()])


def sharper(plain, threshold, plateau=0.8):
    ramp = ((plain - threshold / 2) / (threshold / 2)).clamp(0, 1)
    return 0.99 * ramp * (plateau + (1 - plateau) * plain) + 0.01 * plain


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


def test_a_lower_plateau_tells_parts_apart():
    plain = normalize(upsample(Method("grad_cam")(Probe(MODEL, PHOTOS, 3)), (32, 32)))
    found = sharpen(Probe(MODEL, PHOTOS, 3), Method("grad_cam"), thresholds=(0.4,), plateau=0.3)
    torch.testing.assert_close(found, sharper(plain, 0.4, 0.3))


def test_what_is_taken_out_keeps_its_order():
    plain = seewhy.explain(MODEL, PHOTOS, "grad_cam", 3).flatten(1)
    found = seewhy.explain(MODEL, PHOTOS, "grad_cam+sharpen(thresholds=(1.0,))", 3).flatten(1)
    order = plain.argsort(1)
    assert (found.gather(1, order).diff(dim=1) >= 0).all()
    below = plain < 0.5 * plain.amax(1, keepdim=True)
    above_least = plain > plain.amin(1, keepdim=True)
    assert (found[below & above_least] > 0).all()
    assert (found[below] <= 0.005).all()


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
    # At 0.2 the faint quarter is shown by 0.8 + 0.2 · 0.3, at 0.6 not at all, but for a hundredth
    # of the map that always stays: 0.213 of the score for log2(0.464 / 0.251) = 0.887 halves.
    assert found[0, 0].tolist() == pytest.approx([0, 0, 0.003 if sharp else 0.8544, 1])


def test_an_empty_map_stays_empty():
    def nothing(probe):
        return torch.zeros_like(probe.inputs[:, 0])

    assert not sharpen(Probe(MODEL, PHOTOS, 3), nothing).any()


def test_options_out_of_range():
    for option in ("thresholds=()", "thresholds=(0.5, 1.5)", "price=-1", "plateau=1.1"):
        with pytest.raises(ValueError, match=option.partition("=")[0]):
            seewhy.explain(MODEL, PHOTOS, f"grad_cam+sharpen({option})", 1)


def composed(model, photos, *names):
    """The mean of a map and of TSGB's under a Gaussian of 2 % of 32 pixels, scaled to [0, 1]."""
    where, fine = (seewhy.explain(model, photos, name, 1) for name in names)
    padded = nn.functional.pad(fine[:, None], [2] * 4, mode="replicate")
    line = (-(torch.arange(-2, 3).double() ** 2) / (2 * 0.64**2)).exp()
    kernel = (line[:, None] * line)[None, None] / line.sum() ** 2
    smooth = nn.functional.conv2d(padded, kernel)[:, 0]
    return normalize(where) + normalize(smooth)


@pytest.mark.parametrize(
    ("name", "names", "thresholds", "forwards"),
    [
        (
            "auto",
            ["grad_cam+multiscale", "tsgb(strides='even')+multiscale"],
            (0.1, 0.2, 0.4, 0.65, 1.0),
            19.5,
        ),
        ("auto(effort='quick')", ["grad_cam", "tsgb(strides='even')"], (0.2, 0.65), 4),
    ],
)
def test_auto_is_its_composition_at_its_price(name, names, thresholds, forwards):
    model = seeded(Cnn).double()
    seewhy.explain(model, PHOTOS, "grad_cam", 1)  # chooses the layer
    pixels = []
    model.register_forward_hook(lambda module, args, out: pixels.append(args[0][:, 0].numel()))
    found = seewhy.explain(model, PHOTOS, name, 1)
    assert sum(pixels) == forwards * PHOTOS[:, 0].numel()
    plain = composed(MODEL, PHOTOS, *names)
    expected = sharpen(
        Probe(MODEL, PHOTOS, 1), lambda probe: plain, thresholds=thresholds, plateau=0.5
    )
    torch.testing.assert_close(found, expected)
    assert (found >= 0).all()
    assert (found <= 1).all()
    for index in range(3):
        alone = seewhy.explain(MODEL, PHOTOS[index : index + 1], name, 1)
        assert torch.allclose(alone[0], found[index])


class OfOneSize(nn.Module):
    """A network with convolutions that takes images of 32 pixels only."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.head = nn.Linear(4 * 16 * 16, 5)

    def forward(self, x):
        return self.head(nn.functional.gelu(self.conv(x)).flatten(1))


class Attending(nn.Module):
    """Patches that attend to one another."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 8, stride=8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        tokens = self.patches(x).flatten(2).mT
        return self.head(self.norm(self.block(tokens)).mean(1))


@pytest.mark.parametrize("effort", ["full", "quick"])
@pytest.mark.parametrize("kind", [OfOneSize, Attending])
def test_auto_explains_whatever_grad_cam_explains(kind, effort):
    model = seeded(kind).double()
    before = [value.clone() for value in model.state_dict().values()]
    found = seewhy.explain(model, PHOTOS, f"auto(effort={effort!r})", 1)
    assert found.shape == (len(PHOTOS), 32, 32)
    assert (
        found.flatten(1).any(1).sum()
        >= seewhy.explain(model, PHOTOS, "grad_cam", 1).flatten(1).any(1).sum()
    )
    assert all(map(torch.equal, before, model.state_dict().values()))


def test_a_network_of_one_size_is_asked_at_that_size():
    model = seeded(OfOneSize).double()
    plain = composed(model, PHOTOS, "grad_cam", "tsgb(strides='even')")
    found = seewhy.explain(model, PHOTOS, "auto", 1)
    expected = sharpen(Probe(model, PHOTOS, 1), lambda probe: plain, plateau=0.5)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("effort", "options"), [("full", ""), ("quick", "thresholds=(0.2, 0.65), ")]
)
def test_where_there_is_attention_it_is_sharpened(effort, options):
    model = seeded(Attending).double()
    found = seewhy.explain(model, PHOTOS, f"auto(effort={effort!r})", 1)
    name = f"attention_gradient+sharpen({options}plateau=0.5)"
    torch.testing.assert_close(found, seewhy.explain(model, PHOTOS, name, 1))


class WithoutModes(nn.Module):
    """A network whose code fails where torch's functions are watched."""

    def __init__(self):
        super().__init__()
        self.body = seeded(OfOneSize)

    def forward(self, x):
        if torch._C._len_torch_function_stack():
            raise RuntimeError("not while somebody watches")
        return self.body(x)


def test_auto_notes_what_it_goes_without():
    model = WithoutModes().double()
    with pytest.warns(Note, match="without tsgb, which failed: not while somebody watches"):
        found = seewhy.explain(model, PHOTOS, "auto", 1)
    sharp = "grad_cam+sharpen(plateau=0.5)"
    torch.testing.assert_close(found, seewhy.explain(model, PHOTOS, sharp, 1))


def test_autos_own_errors_are_the_askers():
    with pytest.raises(ValueError, match="effort='slow'; it should be 'full' or 'quick'"):
        seewhy.explain(MODEL, PHOTOS, "auto(effort='slow')", 1)
    with pytest.raises(ValueError, match="99"):
        seewhy.explain(MODEL, PHOTOS, "auto", 99)
