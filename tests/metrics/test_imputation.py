"""Linear imputation against the reference's numbers, a direct solve, and its defining property."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.linalg import spsolve

from reference import relative_error
from seewhy.metrics.imputation import linear_imputation

CASES = ["tiny_mobilenet_x64_b3", "tiny_resnet_basic_x65x57", "tiny_vgg_x64_b3"]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("order", ["morf80", "lerf20", "morf30"])
def test_imputed_images_equal_the_reference(oracles, name, order):
    case = oracles[f"metrics/faithfulness_{name}"]
    numbers = oracles.tensors(case)
    image = oracles.inputs(case, torch.float32)[:1]
    values = numbers["maps"][:1] if order.startswith("morf") else 1 - numbers["maps"][:1]
    missing = values >= values.double().quantile(int(order[4:]) / 100)
    imputed = linear_imputation(image, missing)[0]
    assert relative_error(imputed, numbers[f"road.{order}.image0"]) < 2e-5


def direct(image, missing):
    """The same system written out pixel by pixel and solved by elimination."""
    height, width = missing.shape
    places = {tuple(p): i for i, p in enumerate(missing.nonzero().tolist())}
    system = sparse.lil_matrix((len(places), len(places)))
    known = torch.zeros(len(places), len(image), dtype=torch.float64)
    for (y, x), i in places.items():
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                near = (y + dy, x + dx)
                if (dy or dx) and 0 <= near[0] < height and 0 <= near[1] < width:
                    weight = 1 / 12 if dy and dx else 1 / 6
                    system[i, i] += weight
                    if near in places:
                        system[i, places[near]] -= weight
                    else:
                        known[i] += weight * image[:, near[0], near[1]]
    filled = image.clone()
    solved = spsolve(system.tocsc(), known.numpy()).reshape(len(places), len(image))
    filled[:, missing] = torch.from_numpy(solved).T
    return filled


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 19), st.integers(2, 24), st.floats(0, 0.97))
def test_equals_a_direct_solve(seed, height, width, share):
    draw = torch.Generator().manual_seed(seed)
    image = torch.randn(2, 3, height, width, generator=draw, dtype=torch.float64)
    missing = torch.rand(2, height, width, generator=draw) < share
    missing[:, 0, 0] = False
    filled = linear_imputation(image, missing, tolerance=1e-12)
    for one, hole, got in zip(image, missing, filled, strict=True):
        if hole.any():
            torch.testing.assert_close(got, direct(one, hole), rtol=1e-8, atol=1e-8)
        else:
            assert torch.equal(got, one)


def test_a_large_hole_gets_the_harmonic_continuation():
    """A ramp is its own imputation: every pixel is the mean of its neighbours."""
    ramp = torch.linspace(-3, 3, 224)[None, None, None, :] * torch.ones(1, 2, 224, 1)
    missing = torch.zeros(1, 224, 224, dtype=torch.bool)
    missing[:, 1:-1, 1:-1] = True
    filled = linear_imputation(ramp, missing)
    torch.testing.assert_close(filled, ramp, rtol=0, atol=1e-4)


def test_images_do_not_know_each_other():
    torch.manual_seed(0)
    smooth = F.interpolate(torch.rand(3, 1, 5, 5), (63, 70), mode="bilinear")[:, 0]
    images = torch.randn(3, 3, 63, 70, dtype=torch.float64)
    missing = smooth > torch.tensor([0.2, 0.5, 0.9])[:, None, None]
    together = linear_imputation(images, missing)
    for i in range(3):
        alone = linear_imputation(images[i : i + 1], missing[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-11, atol=1e-11)


def test_known_pixels_stay_and_missing_ones_do_not_matter():
    torch.manual_seed(0)
    images = torch.randn(1, 3, 20, 20, dtype=torch.float64)
    missing = torch.rand(1, 20, 20) < 0.6
    filled = linear_imputation(images, missing)
    changed = images + 100 * missing[:, None]
    assert torch.equal(filled[:, :, ~missing[0]], images[:, :, ~missing[0]])
    torch.testing.assert_close(linear_imputation(changed, missing), filled)


def test_nothing_left_is_an_error():
    with pytest.raises(ValueError, match="no pixel left"):
        linear_imputation(torch.rand(1, 3, 4, 4), torch.ones(1, 4, 4, dtype=torch.bool))
