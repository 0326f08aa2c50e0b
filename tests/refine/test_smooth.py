"""Smoothing against its definition."""

from __future__ import annotations

import weakref

import pytest
import torch

import seewhy
from networks import Cnn, images, seeded
from seewhy import Method, Probe, Refinement
from seewhy.core.targets import Of, Segment
from seewhy.refine.smooth import smooth

MODEL, PHOTOS = seeded(Cnn), images(2)


def smoothed(name, probe, **options):
    return (Method(name) + Refinement("smooth", **options))(probe)


def test_without_noise_it_is_the_method():
    probe = Probe(MODEL, PHOTOS, 1)
    assert torch.equal(smoothed("grad_cam", probe, noise=0), Method("grad_cam")(probe))


def test_smooth_grad_by_hand():
    generator = torch.Generator().manual_seed(5)
    total = torch.zeros(2, 32, 32)
    for _ in range(4):
        noise = torch.randn(3, 32, 32, generator=generator)
        for index, photo in enumerate(PHOTOS):
            noisy = photo + 0.2 * (photo.max() - photo.min()) * noise
            total[index] += seewhy.explain(MODEL, noisy[None], "gradient", 1)[0] / 4
    found = smoothed("gradient", Probe(MODEL, PHOTOS, 1), samples=4, noise=0.2, seed=5)
    assert torch.allclose(found, total, atol=1e-6)


def test_the_copies_maps_are_not_kept():
    """Each is gone once it is added up, however many there are."""
    seen = []

    def gradient(probe):
        assert sum(found() is not None for found in seen) <= 1
        maps = Method("gradient")(probe)
        seen.append(weakref.ref(maps))
        return maps

    found = smooth(Probe(MODEL, PHOTOS, 1), gradient, samples=5)
    assert len(seen) == 5
    assert torch.equal(found, smoothed("gradient", Probe(MODEL, PHOTOS, 1), samples=5))


def test_flips_make_it_blind_to_left_and_right():
    """A map of the mirror image is the mirrored map."""
    options = {"noise": 0, "flips": True}
    here = smoothed("layer_cam", Probe(MODEL, PHOTOS, 1), **options)
    there = smoothed("layer_cam", Probe(MODEL, PHOTOS.flip(-1), 1), **options)
    assert torch.allclose(here, there.flip(-1), atol=1e-6)
    assert not torch.allclose(here, Method("layer_cam")(Probe(MODEL, PHOTOS, 1)), atol=1e-3)


class Segmenter(torch.nn.Module):
    """Two classes per pixel, each of which sees that pixel alone."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Conv2d(3, 2, 1)

    def forward(self, x):
        return {"out": self.head(x)}


LEFT = torch.arange(32).expand(32, 32) < 8


@pytest.mark.parametrize(
    "target",
    [Segment(1, LEFT), Segment(1, LEFT.expand(2, -1, -1)), Segment(1), Of("out", Segment(1))],
)
def test_the_region_of_a_segment_is_mirrored_along(target):
    """What is asked of the left of an image is asked of the right of its mirror image."""
    probe = Probe(seeded(Segmenter), PHOTOS, target)
    plain = Method("input_x_gradient")(probe)
    found = smoothed("input_x_gradient", probe, noise=0, flips=True)
    assert torch.allclose(found, plain, atol=1e-6)
    assert not plain.all()
    alone = [smoothed("input_x_gradient", probe.image(i), noise=0, flips=True) for i in (0, 1)]
    assert torch.allclose(torch.cat(alone), plain, atol=1e-6)


def test_other_inputs_of_the_images_sides_are_mirrored_along():
    """What is asked beside a depth map is asked beside its mirror image."""

    class Beside(Cnn):
        def forward(self, x, depth):
            return super().forward(x * depth)

    depth = images(2, channels=1)
    probe = Probe(seeded(Beside), (PHOTOS, depth), 1, explained=0)
    plain, mirrored = (
        Method("gradient")(Probe(probe.model, (photos, beside), 1, explained=0))
        for photos, beside in [(PHOTOS, depth), (PHOTOS.flip(-1), depth.flip(-1))]
    )
    found = smoothed("gradient", probe, noise=0, flips=True)
    assert torch.allclose(found, (plain + mirrored.flip(-1)) / 2, atol=1e-6)


@pytest.mark.parametrize("options", [{"samples": 0}, {"noise": -1}])
def test_options_out_of_range(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        smoothed("grad_cam", Probe(MODEL, PHOTOS, 1), **options)
