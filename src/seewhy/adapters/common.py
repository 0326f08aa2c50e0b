"""What the adapters share: a network that other libraries may change, and registration."""

import copy
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from seewhy.core.outputs import logits
from seewhy.core.probe import Probe
from seewhy.models.packages import import_zoo
from seewhy.naming import Method, method
from seewhy.options import near


def borrowed(model: nn.Module) -> nn.Module:
    """A copy of the modules, in eval mode, whose weights share the model's memory.

    Hooks, replaced modules, gradients and `requires_grad` of the copy do not reach the model.
    """
    memo: dict[int, Any] = {id(buffer): buffer for buffer in model.buffers()}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach(), parameter.is_floating_point())
    return copy.deepcopy(model, memo).eval()


class Logits(nn.Module):
    """A copy of a probe's network whose output is the tensor of scores that the target reads."""

    def __init__(self, probe: Probe) -> None:
        """Borrow the network."""
        super().__init__()
        self.network = borrowed(probe.model)
        self._given, self._target = probe.given, probe.target

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores (B, C), beside what else the network is given."""
        outputs = self._given.with_tensor(inputs).run(self.network, inputs)
        return logits(self._target.read(outputs))


def hooked(probe: Probe, library: str) -> list[str]:
    """Names of the probe's layers, for a library that hooks modules and not their calls.

    Raises ValueError where a layer is one of several calls of its module.
    """
    for layer in probe.layers:
        name, _, number = layer.partition("#")
        if number:
            raise ValueError(
                f"{library} hooks modules, and {name!r} is called {probe.calls[name]} times in a "
                "pass; name a layer that is called once"
            )
    return list(probe.layers)


def reshaping(probe: Probe) -> dict[str, Any]:
    """The `reshape_transform` for layers of which not all activations are maps (B, K, h, w)."""
    layouts = {layout.shape: layout for layout in map(probe.layout, probe.layers)}
    if all(layout.kind == "channels_first" for layout in layouts.values()):
        return {}
    return {"reshape_transform": lambda output: layouts[output.shape[1:]].to_maps(output)}


def algorithm_of(name: str, algorithm: str | type) -> type:
    """The class of that name in a library's module; a ValueError suggests the nearest name."""
    import_zoo(name.partition(".")[0], "adapters")
    module = import_module(name)
    if isinstance(algorithm, type):
        return algorithm
    found = getattr(module, algorithm, None)
    if not isinstance(found, type):
        names = [known for known, value in vars(module).items() if isinstance(value, type)]
        raise ValueError(f"{name} has no {algorithm!r}{near(algorithm, names, 1)}")
    return found


def adopted(name: str, source: str, maps: Callable[[Probe], Tensor]) -> Method:
    """Register a function of a probe under a name, in place of what had it; return the method."""
    if not name.isidentifier():
        raise ValueError(f"name={name!r}; it should be an identifier, such as 'captum_lrp'")

    def asked(probe: Probe) -> Tensor:
        if not probe.given.others:
            return maps(probe)
        # The libraries repeat images in orders of their own, which other inputs cannot follow.
        return torch.cat([maps(probe.image(index)) for index in range(len(probe.inputs))])

    asked.__name__ = name
    method(source, "as there")(asked)
    return Method(name)
