"""Scaling and resizing of maps against closed forms."""

from __future__ import annotations

import numpy as np
import torch

from seewhy.maps import normalize, upsample


def test_normalize_is_min_max_of_each_map_alone() -> None:
    maps = (
        torch.randn(2, 3, 5, 7, dtype=torch.float64) * torch.tensor([1e-9, 1, 1e9])[:, None, None]
    )
    actual = normalize(maps)
    array = maps.numpy()
    low, high = array.min((2, 3), keepdims=True), array.max((2, 3), keepdims=True)
    np.testing.assert_allclose(actual.numpy(), (array - low) / (high - low), rtol=1e-12)
    assert torch.equal(normalize(maps[1, 2]), actual[1, 2])


def test_normalize_of_constant_and_integer_maps() -> None:
    assert normalize(torch.full((2, 4, 4), -3.5)).eq(0).all()
    assert normalize(torch.tensor([[1, 3], [2, 5]])).tolist() == [[0, 0.5], [0.25, 1]]
    assert normalize(torch.tensor([[True, False]])).tolist() == [[1, 0]]
    assert not normalize(torch.rand(3, 3, requires_grad=True)).requires_grad


def test_upsample_keeps_pixel_centres() -> None:
    """A ramp stays the same ramp between the outer pixel centres."""
    ramp = torch.arange(4.0).expand(1, 3, 4)
    found = upsample(ramp, (6, 8))
    expected = (torch.arange(8) + 0.5) / 2 - 0.5
    assert torch.allclose(found, expected.clamp(0, 3).expand(1, 6, 8))
    assert upsample(ramp, (3, 4)) is ramp
