"""Detail: where a coarse map says, the pixels of a smoothed fine one."""

from __future__ import annotations

import pytest
import torch
from scipy.ndimage import gaussian_filter

import seewhy
from networks import Cnn, images, seeded
from seewhy import Probe
from seewhy.refine.detail import detail

MODEL, PHOTOS = seeded(Cnn), images(3)


def scaled(values):
    return (values - values.min()) / (values.max() - values.min())


@pytest.mark.parametrize("smoothing", [0.02, 0.1])
def test_the_geometric_mean_with_smoothed_guided_backprop(smoothing):
    found = seewhy.explain(MODEL, PHOTOS, f"grad_cam+detail(smoothing={smoothing})", 2)
    coarse = seewhy.explain(MODEL, PHOTOS, "grad_cam", 2)
    fine = seewhy.explain(MODEL, PHOTOS, "guided_backprop", 2)
    for index in range(len(PHOTOS)):
        deviation = smoothing * 32
        smooth = gaussian_filter(
            fine[index].double().numpy(), deviation, mode="nearest", radius=round(3 * deviation)
        )
        mean = (scaled(coarse[index].double()).numpy() * scaled(smooth)) ** 0.5
        expected = torch.from_numpy(scaled(mean)).float()
        torch.testing.assert_close(found[index], expected, rtol=1e-4, atol=1e-5)


def test_nothing_where_the_coarse_map_says_nothing():
    def left(probe):
        maps = torch.ones_like(probe.inputs[:, 0])
        maps[:, :, 16:] = -1.0
        return maps

    found = detail(Probe(MODEL, PHOTOS, 2), left)
    assert not found[:, :, 16:].any()
    assert found[:, :, :16].amax((1, 2)).tolist() == [1.0] * len(PHOTOS)


def test_what_speaks_against_is_no_detail():
    """The negative part is taken off before smoothing, which would mix it with the positive one."""
    found = seewhy.explain(MODEL, PHOTOS, "grad_cam+detail(by='input_x_gradient')", 2)
    coarse = seewhy.explain(MODEL, PHOTOS, "grad_cam", 2)
    fine = seewhy.explain(MODEL, PHOTOS, "input_x_gradient", 2)
    assert (fine < 0).any()
    for index in range(len(PHOTOS)):
        positive = fine[index].clamp(min=0).double().numpy()
        smooth = gaussian_filter(positive, 0.64, mode="nearest", radius=2)
        mean = (scaled(coarse[index].double()).numpy() * scaled(smooth)) ** 0.5
        expected = torch.from_numpy(scaled(mean)).float()
        torch.testing.assert_close(found[index], expected, rtol=1e-4, atol=1e-5)


def test_another_method_gives_the_detail():
    found = seewhy.explain(MODEL, PHOTOS, "grad_cam+detail(by='tsgb')", 2)
    assert not torch.allclose(found, seewhy.explain(MODEL, PHOTOS, "grad_cam+detail", 2))
    with pytest.raises(ValueError, match="tsgb"):
        seewhy.explain(MODEL, PHOTOS, "grad_cam+detail(by='tsbg')", 2)


def test_smoothing_out_of_range():
    for smoothing in ("0", "1e-300"):
        with pytest.raises(
            ValueError, match=f"smoothing={smoothing}; it should be a finite number"
        ):
            seewhy.explain(MODEL, PHOTOS, f"grad_cam+detail(smoothing={smoothing})", 2)
