"""Pictures of signals and volumes, pixel by pixel where that can be said."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from seewhy.draw import overlay, overlay_signal, overlay_volume
from seewhy.draw.overlays import colours


def pixels(image):
    return np.asarray(image.convert("RGB")).astype(int)


def test_a_signal_lies_over_the_colours_of_its_map():
    steps = torch.cat([torch.zeros(50), torch.ones(50)])
    picture = pixels(overlay_signal(torch.zeros(100), steps, width=200, height=60))
    assert picture.shape == (60, 200, 3)
    weak, strong = colours("inferno")[[0, -1]]
    assert (picture[5, 20] == weak).all()
    assert (picture[5, 180] == strong).all()
    assert (picture[30, 20] == 255).all()  # a constant curve runs through the middle
    assert (picture[30, 180] == 255).all()
    assert (picture[55, 20] == weak).all()


def test_a_curve_rises_where_its_signal_does():
    picture = pixels(overlay_signal(torch.arange(90.0), torch.zeros(9), width=90, height=100))
    white = (picture == 255).all(2)
    heights = [np.flatnonzero(white[:, x]).mean() for x in (10, 45, 80)]
    assert heights[0] > heights[1] > heights[2]
    assert heights[1] == pytest.approx(50, abs=2)


def test_channels_lie_one_below_the_other():
    one = torch.randn(50, generator=torch.Generator().manual_seed(0))
    both = overlay_signal(torch.stack([one, 3 * one]), torch.rand(10), height=50)
    assert both.size == (900, 100)
    assert np.array_equal(pixels(both)[:50], pixels(both)[50:])  # each at its own scale
    signed = pixels(overlay_signal(one, torch.tensor([-1.0, 1.0]), signed=True))
    assert (signed[2, 5] == colours("coolwarm")[0]).all()
    assert (signed[2, -5] == colours("coolwarm")[-1]).all()


def test_a_volume_is_shown_slice_by_slice_at_one_scale():
    volume = torch.zeros(5, 130, 140)
    volume[2] = 1
    maps = torch.zeros(5, 130, 140)
    maps[3], maps[4] = 1, 2
    picture = pixels(overlay_volume(volume, maps, slices=5, columns=5, alpha=1))
    assert picture.shape == (130, 5 * 143 - 3, 3)
    inside = [picture[60, 70 + 143 * slice] for slice in range(5)]
    assert (inside[4] == colours("inferno")[-1]).all()
    assert (inside[0] == inside[1]).all()
    assert inside[2].min() > inside[0].max()  # the bright slice
    bands = torch.tensor([0.0, 0, 0, 1, 2]).repeat_interleave(140).expand(130, -1)
    whole = pixels(overlay(Image.new("RGB", (700, 130)), bands, alpha=1))
    assert (inside[3] == whole[60, 3 * 140 + 70]).all()
    assert (picture[:, 141] == 255).all()  # a gap


def test_slices_are_spread_evenly_and_small_ones_enlarged():
    volume, maps = torch.rand(30, 16, 32), torch.rand(8, 4, 4)
    montage = overlay_volume(volume, maps, slices=4)
    assert montage.size == (2 * 256 + 3, 2 * 128 + 3)
    first_and_last = overlay_volume(volume[[0, -1]], torch.zeros(2, 4, 4), columns=1)
    assert first_and_last.size == (256, 2 * 128 + 3)
    colour = overlay_volume(torch.rand(3, 2, 130, 130), torch.zeros(2, 4, 4))
    assert len(np.unique(pixels(colour)[50, 50])) == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: overlay_signal(torch.zeros(2, 3, 4), torch.zeros(4)), r"signal is \(2, 3, 4\)"),
        (lambda: overlay_signal(torch.zeros(4), torch.zeros(2, 4)), r"saliency is \(2, 4\)"),
        (lambda: overlay_signal(torch.full((4,), torch.nan), torch.zeros(4)), "not finite"),
        (lambda: overlay_signal(torch.zeros(4), torch.full((4,), torch.nan)), "not finite"),
        (lambda: overlay_volume(torch.zeros(4, 4), torch.zeros(4, 4, 4)), r"volume is \(4, 4\)"),
        (lambda: overlay_volume(torch.zeros(4, 4, 4), torch.zeros(4, 4)), r"saliency is \(4, 4\)"),
        (lambda: overlay_volume(torch.zeros(4, 4, 4), torch.zeros(4, 4, 4), slices=0), "slices=0"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
