"""The front door: `explain` asks one probe for any number of maps."""

from __future__ import annotations

from typing import Literal, overload

from torch import Tensor, nn

import seewhy.methods  # noqa: F401 - registers methods and refinements
from seewhy.core.probe import LayerLike, Probe
from seewhy.core.targets import TargetLike
from seewhy.maps import upsample
from seewhy.naming import Method, expect, parse


@overload
def explain(
    model: nn.Module,
    inputs: Tensor,
    method: str | Method = ...,
    target: TargetLike = ...,
    *,
    layer: LayerLike = ...,
    size: Literal["input", "layer"] = ...,
) -> Tensor: ...


@overload
def explain(
    model: nn.Module,
    inputs: Tensor,
    method: list[str | Method] | list[str] | tuple[str | Method, ...],
    target: TargetLike = ...,
    *,
    layer: LayerLike = ...,
    size: Literal["input", "layer"] = ...,
) -> dict[str, Tensor]: ...


def explain(
    model: nn.Module,
    inputs: Tensor,
    method: str | Method | list[str | Method] | list[str] | tuple[str | Method, ...] = "tsgb",
    target: TargetLike = None,
    *,
    layer: LayerLike = None,
    size: Literal["input", "layer"] = "input",
) -> Tensor | dict[str, Tensor]:
    """Saliency maps: what in these images speaks for the target.

    model: any `nn.Module`, on any device and in any mode; it is left exactly as it was.
    inputs: (B, C, H, W) floating point, already preprocessed.
    method: a name such as "grad_cam" or "grad_cam+gradual", a `Method`, or a list of them, which
        then share one forward pass.
    target: None for the predicted class, a class index for all images, a list or tensor with one
        index per image, or a target (`seewhy.targets`).
    layer: of the CAM family: None chooses it; a name, a module or a list, whose maps are averaged
        after upsampling.
    size: "input" upsamples to (B, H, W), bilinear with align_corners=False; "layer" leaves the
        method's own resolution.

    Returns maps (B, H, W) on the inputs' device, un-normalised (`seewhy.normalize` scales them),
    each independent of the other images; for a list of methods a dict from name to maps.

    Raises ValueError or TypeError for unknown names, targets out of range, and inputs, layers or
    outputs of the wrong kind.
    """
    if size not in ("input", "layer"):
        raise ValueError(f"size must be 'input' or 'layer', not {size!r}")
    several = isinstance(method, list | tuple)
    chosen = [parse(one) for one in method] if isinstance(method, list | tuple) else [parse(method)]
    if not chosen:
        raise ValueError("method is an empty list; name at least one method")
    probe = expect(Probe(model, inputs, target, layer), chosen)
    if size == "layer" and len(probe.named) > 1:
        raise ValueError(
            f"size='layer' needs one layer, but {len(probe.named)} were named; "
            "their maps are averaged at the input's size"
        )
    maps = {str(one): one(probe) for one in chosen}
    if size == "input":
        maps = {name: upsample(found, inputs.shape[-2:]) for name, found in maps.items()}
    return maps if several else next(iter(maps.values()))
