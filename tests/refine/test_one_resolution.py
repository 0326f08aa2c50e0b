"""Refinements and rules on plain vision transformers, which have one resolution all the way."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import seewhy
from architectures import of_timm, of_transformers, with_live_head
from seewhy import Probe
from seewhy.maps import unit, upsample
from seewhy.models import import_torchvision

INSTEAD = {
    "tsgb": "attention_gradient",
    "guided_backprop": "attention_gradient",
    "grad_cam+detail": "by='gradient'",
    "grad_cam+gradual": "by='gradient'",
    "grad_cam+refine_cam": "by='gradient'",
    "grad_cam+multiscale(tiles=False)": "dynamic_img_size=True",
}


def images(size: int = 64) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def dynamic() -> nn.Module:
    import_torchvision()
    import timm

    torch.manual_seed(0)
    return with_live_head(
        timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=7, dynamic_img_size=True)
    )


@pytest.mark.parametrize("method", INSTEAD)
def test_what_cannot_be_had_says_what_to_take_instead(method: str):
    model = of_timm("vit_tiny_patch16_224", 64)()
    with pytest.raises(ValueError, match=INSTEAD[method]):
        seewhy.explain(model, images(), method, 1)


@pytest.mark.parametrize(
    "method", ["grad_cam+sharpen", "grad_cam+detail(by='gradient')", "grad_cam+multiscale"]
)
def test_what_to_take_instead_can_be_had(method: str):
    assert seewhy.explain(of_timm("vit_tiny_patch16_224", 64)(), images(), method, 1).any()


@pytest.mark.parametrize("method", ["grad_cam", "attention_gradient"])
@pytest.mark.parametrize("kind", ["ViT", "Dinov2", "timm"])
def test_scales_where_position_embeddings_are_interpolated(kind: str, method: str):
    model = dynamic() if kind == "timm" else of_transformers(kind)()
    x = images()
    found = seewhy.explain(model, x, f"{method}+multiscale(scales=[1, 1.5])", 1, size="layer")
    more = {} if kind == "timm" else {"interpolate_pos_encoding": True}
    resized = F.interpolate(x, size=(96, 96), mode="bilinear", align_corners=False)
    small = Probe(model, x, 1)
    if kind == "timm":
        large = Probe(model, resized, 1)
    else:
        large = Probe(model, {"pixel_values": resized, **more}, 1, explained="pixel_values")
    maps = [seewhy.Method(method)(probe) for probe in (small, large)]
    masses = [each.relu().flatten(1).sum(1)[:, None, None] for each in maps]
    size = maps[1].shape[1:]
    assert size == (6, 6) if kind == "timm" else size == (12, 12)
    scaled = [unit(upsample(each, size)) for each in maps]
    expected = (masses[0] * scaled[0] + masses[1] * scaled[1]) / (masses[0] + masses[1])
    assert torch.allclose(found, expected, atol=1e-5)


def test_what_the_caller_says_of_positions_is_left_to_the_caller():
    model = of_transformers("ViT")()
    given = {"pixel_values": images(), "interpolate_pos_encoding": False}
    probe = Probe(model, given, 1, explained="pixel_values")
    with pytest.raises(ValueError, match="doesn't match model"):
        probe.at_scale(1.5).score  # noqa: B018
