"""Captum's attributions as Seewhy methods, and a Seewhy method as a Captum attribution."""

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from seewhy.adapters.common import Logits, adopted, algorithm_of, hooked
from seewhy.core.probe import Probe
from seewhy.core.requests import LayerLike
from seewhy.explaining import explain
from seewhy.methods.cam_extended import explained_classes
from seewhy.models.packages import import_zoo
from seewhy.naming import Method


def as_method(algorithm: str | type, *, name: str | None = None, **options: Any) -> Method:
    """A Captum attribution, such as "DeepLift" or "LayerGradCam", as a method.

    algorithm: the name of a class in `captum.attr`, or the class. Classes that take a layer get
        the probe's.
    name: the name of the method; by default "captum_" and the class's name.
    options: passed to `attribute`.

    The method's maps are summed over channels, signed, (B, H, W), or (B, h, w) at the layer, which
    must be a single one whose outputs are channels first. It explains one class per image.

    Raises ModelError without Captum; ValueError for an unknown name, for a class that is not asked
    about a network and a class ("NoiseTunnel", "LayerActivation", "NeuronGradient"), and for
    missing or unknown options.
    """
    kind = algorithm_of("captum.attr", algorithm)
    takes_layer = "layer" in inspect.signature(kind).parameters
    check_kind(kind, takes_layer, options)

    def maps(probe: Probe) -> Tensor:
        scores = Logits(probe)
        arguments: list[Any] = [scores]
        if takes_layer:
            layers = hooked(probe, "Captum")
            kinds = {layer: probe.layout(layer).kind for layer in layers}
            if [*kinds.values()] != ["channels_first"]:  # of others it would sum up the rows
                raise ValueError(
                    f"{kind.__name__} takes one layer with maps (B, K, h, w); the layers are "
                    f"{', '.join(f'{layer} ({found})' for layer, found in kinds.items())}"
                )
            arguments.append(scores.network.get_submodule(layers[0]))
        target = explained_classes(probe, "Captum")
        inputs = probe.inputs.clone().requires_grad_()
        found = kind(*arguments).attribute(inputs, target=target, **options)
        if not isinstance(found, Tensor) or found.ndim != inputs.ndim:
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(
                f"{kind.__name__} returned {shape}; maps have {inputs.ndim} dimensions here, as "
                "the inputs have"
            )
        return found.detach().sum(1)

    return adopted(name or f"captum_{kind.__name__}", f"Captum's {kind.__name__}", maps)


def check_kind(kind: type, layer: bool, options: Mapping[str, Any]) -> None:
    """Raise ValueError where a class cannot be asked for maps of a network and a class."""
    library = import_module("captum.attr")
    attribute = getattr(kind, "attribute", None)  # classes that others are made of have none
    try:
        if not issubclass(kind, library.Attribution) or issubclass(kind, library.NoiseTunnel):
            raise TypeError("it explains no network by itself")
        if attribute is None:
            raise TypeError("it computes nothing by itself")
        inspect.signature(kind).bind(*["network", "layer"][: 1 + layer])
        inspect.signature(attribute).bind("self", "inputs", target=0, **options)
    except TypeError as error:
        raise ValueError(f"Captum's {kind.__name__} with these options: {error}") from None


def as_attribution(
    model: nn.Module, method: str | Method | None = None, *, layer: LayerLike = None
) -> Any:
    """A `captum.attr.Attribution` whose `attribute(inputs, target)` asks a Seewhy method.

    Its attributions have the shape of the inputs, (B, C, H, W): each channel has an equal share of
    the map, so that their sum is the map. It works with Captum's metrics and its NoiseTunnel.

    Raises ModelError without Captum.
    """
    import_zoo("captum", "adapters")
    base: Any = import_module("captum.attr").Attribution
    logged = import_module("captum.log").log_usage()

    class Seewhy(base):  # type: ignore[misc]
        """A Seewhy method with Captum's interface."""

        @logged  # type: ignore[untyped-decorator]  # NoiseTunnel relies on it
        def attribute(self, inputs: Any, target: Any = None) -> Any:
            """Attributions (B, C, H, W) for a class, one per image, or the predicted ones.

            Inputs in a tuple, as Captum's own functions hand them over, are answered in one.
            """
            if isinstance(inputs, tuple):
                (images,) = inputs
                return (self.attribute(images, target),)
            maps = explain(self.forward_func, inputs, method, target, layer=layer)
            return maps[:, None].expand_as(inputs) / inputs.shape[1]

    return Seewhy(model)
