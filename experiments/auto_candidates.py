"""What `auto` could be: candidates as methods, for benchmarks/results/auto.yaml.

A plugin of `seewhy bench`. `joined` puts maps together and sharpens them; `aligned` moves a layer's
map to where the layer looks. A map that several candidates are made of is made once for a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from seewhy.core.probe import Probe
from seewhy.data.coco import read_coco
from seewhy.data.dataset import Dataset
from seewhy.data.load import register_dataset
from seewhy.fills import blurred
from seewhy.maps import unit, upsample
from seewhy.naming import method, parse
from seewhy.options import Positive, Range, Share
from seewhy.refine.sharpen import PRICE, THRESHOLDS, sharpen

Half = Literal["first", "second"]
How = Literal["mean", "geometric", "gated", "ranks"]


@register_dataset("half")
def half_of_coco(where: str, *, half: Half = "first") -> Dataset:
    """Every second photo of COCO: the first half to choose with, the second to confirm with."""
    return read_coco(where)[half == "second" :: 2]


@method("candidate", "the parts' + N F, N thresholds")
def joined(
    probe: Probe,
    *,
    of: Sequence[str] = ("grad_cam+multiscale", "tsgb(strides='even')+multiscale"),
    blur: Sequence[Share] = (0.0, 0.02),
    weights: Sequence[Positive] | None = None,
    how: How = "mean",
    thresholds: Sequence[Annotated[float, Range(above=0, most=1)]] = THRESHOLDS,
    price: Share = PRICE,
    plateau: Share = 0.5,
) -> Tensor:
    """Maps put together and sharpened as by `auto`, (B, H, W), in [0, 1].

    of: methods. blur: a Gaussian on each, its deviation as a share of the image's shorter side; the
    last one counts for all that follow. weights: of each; None is alike. how: the mean, the
    geometric mean, the first plus 0.2 times the second, or the mean of each pixel's rank.
    thresholds: none leaves the map as it is.
    """
    parts = []
    for place, name in enumerate(of):
        width = blur[min(place, len(blur) - 1)]
        parts.append(_part(probe, name, width))
    if how == "ranks":
        parts = [_ranks(part) for part in parts]
    stack = torch.stack(parts)
    shares = stack.new_tensor(weights or [1.0] * len(of)).view(-1, 1, 1, 1)
    shares = shares / shares.sum()
    if how == "geometric":
        found = (stack.clamp_min(1e-6).log() * shares).sum(0).exp()
    elif how == "gated":
        found = (stack[0] + 0.2) * stack[1]
    else:
        found = (stack * shares).sum(0)
    if not thresholds:
        return unit(found)
    return sharpen(probe, lambda _: found, thresholds=thresholds, price=price, plateau=plateau)


@method("candidate", "the method's + F")
def aligned(probe: Probe, *, by: str = "grad_cam") -> Tensor:
    """A layer's map at the input's size, each cell at the middle of what it looks at, (B, H, W).

    Resizing a map assumes that its cells tile the image. Where padding is not even they look
    elsewhere: half a stride to the left and up, or to the right and down.
    """
    maps = parse(by)(probe)
    for dim, (start, stride) in zip((1, 2), _places(probe), strict=True):
        at = (torch.arange(probe.size[dim - 1], device=maps.device) - start) / stride
        at = at.clamp(0, maps.shape[dim] - 1)
        low = at.floor().long()
        high = (low + 1).clamp(max=maps.shape[dim] - 1)
        share = (at - low).view((-1, 1) if dim == 1 else (-1,))
        maps = torch.lerp(maps.index_select(dim, low), maps.index_select(dim, high), share.to(maps))
    return maps


@method("candidate", "2 x the method")
def mirrored(probe: Probe, *, by: str = "grad_cam") -> Tensor:
    """The mean of the method's map and that of the mirrored image, mirrored back, (B, H, W)."""
    asked = parse(by)
    other = asked(probe.with_inputs(probe.inputs.flip(-1)))
    return (
        unit(upsample(asked(probe), probe.size)) + unit(upsample(other, probe.size)).flip(-1)
    ) / 2


def _part(probe: Probe, name: str, width: float) -> Tensor:
    """A method's map at the input's size, blurred and scaled to [0, 1]."""

    def make() -> Tensor:
        return upsample(parse(name)(probe), probe.size).relu().detach()

    maps = probe.shared(("candidate", name, str(probe.target.classes)), make)
    if width:
        maps = blurred(maps[:, None], width * min(probe.size))[:, 0]
    return unit(maps)


def _ranks(maps: Tensor) -> Tensor:
    """Each pixel's place in its map's order, in [0, 1]; what is 0 stays 0."""
    flat = maps.flatten(1)
    order = flat.argsort(1)
    places = torch.empty_like(flat).scatter_(
        1, order, torch.linspace(0, 1, flat.shape[1], device=flat.device).expand_as(flat)
    )
    return torch.where(flat > 0, places, 0).view_as(maps)


def _places(probe: Probe) -> list[tuple[float, int]]:
    """Down and across: the pixel at the middle of what the first cell sees, and cells' distance.

    By the strides and padding of the convolutions and pools up to the layer; of those that begin at
    the same resolution the first counts, as others are on a branch beside it.
    """

    def make() -> list[tuple[float, int]]:
        (layer,) = probe.layers
        steps: dict[tuple[int, ...], tuple[nn.Module, tuple[int, ...]]] = {}
        done = False

        def seen(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
            nonlocal done
            if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) and not done:
                size, shrunk = tuple(given[0].shape[2:]), tuple(out.shape[2:])
                if shrunk != size:
                    steps.setdefault(size, (module, shrunk))
            done |= module is last

        last = probe.model.get_submodule(layer.partition("#")[0])
        hooks = [one.register_forward_hook(seen) for one in probe.model.modules()]
        try:
            with torch.no_grad():
                probe.model(probe.inputs[:1])
        finally:
            for hook in hooks:
                hook.remove()
        found = []
        for axis in (0, 1):
            start, distance = 0.0, 1
            for size, (module, shrunk) in steps.items():
                kernel, stride, padding = (
                    value if isinstance(value, int) else value[axis]
                    for value in (module.kernel_size, module.stride, module.padding)
                )
                reach = (shrunk[axis] - 1) * stride + kernel - size[axis]
                # Padding that is not the module's own is TensorFlow's: less on the left.
                before = padding or (0 if isinstance(module, nn.MaxPool2d) else max(reach, 0) // 2)
                start += ((kernel - 1) / 2 - before) * distance
                distance *= stride
            found.append((start, distance))
        return found

    return probe.shared(("places", tuple(probe.size)), make)
