"""Maps that know nothing of the network."""

from __future__ import annotations

import pytest
import torch

import seewhy
from networks import Failing, images, seeded


@pytest.mark.parametrize("method", ["random", "center_gaussian", "edges"])
def test_the_network_is_not_even_run(method):
    maps = seewhy.explain(seeded(Failing), images(2, (20, 30)), method)
    assert maps.shape == (2, 20, 30)


def test_random_is_uniform_and_the_same_for_all_images():
    maps = seewhy.explain(seeded(Failing), images(2, (64, 96)), "random(seed=3)")
    assert torch.equal(maps[0], maps[1])
    assert 0 <= maps.min() < 0.01
    assert 0.99 < maps.max() < 1
    assert abs(float(maps.mean()) - 0.5) < 0.02
    assert not torch.equal(maps, seewhy.explain(seeded(Failing), images(2, (64, 96)), "random"))


def test_the_gaussian_falls_to_its_values():
    (map_,) = seewhy.explain(seeded(Failing), images(1, (21, 41)), "center_gaussian(width=0.2)")
    assert map_[10, 20] == map_.max() == 1
    assert torch.allclose(map_, map_.flip(0, 1))
    off = torch.tensor(-((5 / 21) ** 2 + (8 / 41) ** 2) / (2 * 0.2**2)).exp()
    assert torch.allclose(map_[15, 28], off)
    for width in ("0", "1e-30"):
        with pytest.raises(ValueError, match=f"width={width}"):
            seewhy.explain(seeded(Failing), images(), f"center_gaussian(width={width})")
    at_least = seewhy.explain(seeded(Failing), images(1, (21, 41)), "center_gaussian(width=1e-6)")
    assert at_least.nonzero().tolist() == [[0, 10, 20]]


def test_edges_are_the_slope_of_a_ramp_and_of_a_step():
    ramp = (3 * torch.arange(12.0) + 4 * torch.arange(9.0)[:, None]).expand(1, 2, 9, 12)
    found = seewhy.explain(seeded(Failing), ramp, "edges")
    assert torch.allclose(found[0, 1:-1, 1:-1], torch.tensor(5.0))
    step = torch.zeros(1, 3, 8, 8)
    step[..., 4:] = 2
    found = seewhy.explain(seeded(Failing), step, "edges")
    assert torch.equal(found[0].amax(0) > 0, torch.tensor([0, 0, 0, 1, 1, 0, 0, 0]).bool())
