"""The front door: `explain` asks one probe for any number of maps."""

from functools import partial
from typing import Literal, overload

from torch import Tensor, nn

from seewhy.core.inputs import InputsLike
from seewhy.core.observing import undisturbed
from seewhy.core.probe import Probe
from seewhy.core.requests import LayerLike
from seewhy.core.targets import TargetLike
from seewhy.models.loaded import LoadedModel
from seewhy.naming import DEFAULT_METHOD, Method, alternatives, first_that_works, parse
from seewhy.options import shown


@overload
def explain(
    model: nn.Module | LoadedModel,
    inputs: InputsLike,
    method: str | Method | None = ...,
    target: TargetLike = ...,
    *,
    layer: LayerLike = ...,
    size: Literal["input", "layer"] = ...,
    explained: int | str | None = ...,
) -> Tensor: ...


@overload
def explain(
    model: nn.Module | LoadedModel,
    inputs: InputsLike,
    method: list[str | Method] | list[str] | tuple[str | Method, ...],
    target: TargetLike = ...,
    *,
    layer: LayerLike = ...,
    size: Literal["input", "layer"] = ...,
    explained: int | str | None = ...,
) -> dict[str, Tensor]: ...


def explain(
    model: nn.Module | LoadedModel,
    inputs: InputsLike,
    method: str | Method | list[str | Method] | list[str] | tuple[str | Method, ...] | None = None,
    target: TargetLike = None,
    *,
    layer: LayerLike = None,
    size: Literal["input", "layer"] = "input",
    explained: int | str | None = None,
) -> Tensor | dict[str, Tensor]:
    """Saliency maps: which parts of these images are evidence for the target.

    model: any `nn.Module`, on any device and in any mode, which is left unchanged; or a network
        from `seewhy.load_model`.
    inputs: (B, C, H, W) floating point, already preprocessed; also signals (B, C, L) and volumes
        (B, C, D, H, W). For a network with several inputs, a tuple for `model(*inputs)` or a dict
        for `model(**inputs)`.
    method: a name such as "grad_cam" or "grad_cam+gradual", a `Method`, or a list of them, which
        then share one forward pass. None is Grad-CAM, or, for a network without maps or without
        gradients, the first of `seewhy.naming.FALLBACKS` that works, with a `seewhy.notes.Note`;
        with `layer`, it is Grad-CAM alone.
    target: None for the predicted class, a class index for all images, a list or tensor with one
        index per image, a target (`seewhy.targets`), or a function of the model's outputs.
    layer: the layer for the CAM family: a name, a module, or a list of these, whose maps are
        averaged after upsampling. `relu#2` is the second call of a module. None chooses a layer.
    size: "input" upsamples to (B, H, W), bilinear with align_corners=False; "layer" keeps the
        method's own resolution.
    explained: which of several inputs is explained, by position or keyword; None is the only one
        with spatial dimensions.

    Returns maps (B, H, W) on the inputs' device, un-normalised (`seewhy.normalize` scales them).
    Each map is independent of the other images. For a list of methods, returns a dict from the
    names, as you gave them, to maps.

    Raises ValueError or TypeError for unknown names, targets out of range, and inputs, layers or
    outputs of the wrong kind; what else a network raises itself is raised as it is.
    """
    if not isinstance(size, str) or size not in ("input", "layer"):
        raise ValueError(f"size must be 'input' or 'layer', not {shown(size)}")
    several = isinstance(method, list | tuple)
    named = DEFAULT_METHOD if method is None else method
    asked = list(named) if isinstance(named, list | tuple) else [named]
    if not asked:
        raise ValueError("method is an empty list; name at least one method")
    chosen = [parse(one) for one in asked]
    ask = model.probe if isinstance(model, LoadedModel) else partial(Probe, model)

    def run() -> list[Tensor]:
        probe = ask(inputs, target, layer, explained=explained)
        if size == "layer" and len(probe.named) > 1:
            raise ValueError(
                f"size='layer' needs one layer, but {len(probe.named)} were named; "
                "their maps are averaged at the input's size"
            )
        sides = probe.size if size == "input" else None
        if method is None:
            tried = alternatives(None, layered=layer is not None)
            return first_that_works(tried, lambda one: probe.maps([one], sides))
        return probe.maps(chosen, sides)

    maps = undisturbed((), run)
    return dict(zip(map(str, asked), maps, strict=True)) if several else maps[0]
