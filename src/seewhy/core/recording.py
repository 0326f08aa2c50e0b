"""One recorded forward pass: the graph begins at the earliest layer asked for.

Before that layer nothing keeps a graph; after it, gradients are taken only with respect to the
recorded outputs, so that parameters never receive any. Each recorded output is handed on as a
copy: what follows in place (a ReLU, a `+=`) changes the copy, not the record.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from seewhy.core.layers import (
    Layer,
    Layout,
    first_tensor,
    layout_of,
    only_rearranges,
    with_first_tensor,
)
from seewhy.core.observing import evaluating, observing
from seewhy.core.replay import Trace


@dataclass(frozen=True)
class Recorded:
    """A module's output within the graph, as the module returned it, and how it holds maps."""

    tensor: Tensor
    layout: Layout | None


@dataclass
class Recording:
    """What one forward pass left behind.

    `layers` holds the recorded outputs by name, `stages` the maps of the stages without a graph;
    `candidates` holds the outputs of the last stage, in order, and `seen` every output with maps,
    where the pass was asked to look for the layer itself. `trace` holds the calls behind the first
    recorded output, where they were asked for, and `shared` what was computed since and does not
    depend on the target.
    """

    outputs: Any = None
    input: Tensor | None = None
    layers: dict[str, Recorded] = field(default_factory=dict)
    stages: dict[str, Tensor] = field(default_factory=dict)
    candidates: list[tuple[Layer, Recorded]] = field(default_factory=list)
    seen: list[Layer] = field(default_factory=list)
    trace: Trace | None = None
    shared: dict[Hashable, Any] = field(default_factory=dict)


def record(
    model: nn.Module,
    inputs: Tensor,
    layers: Sequence[str] | None,
    *,
    stages: Sequence[str] = (),
    from_input: bool = False,
    trace: bool = False,
    around: Callable[[], AbstractContextManager[Any]] | None = None,
) -> Recording:
    """Run the model once, in eval mode, and record the outputs of `layers`.

    inputs: (B, C, H, W), left as they are.
    layers: module names; None records every output since the last change of resolution, from
        which the layer is chosen afterwards.
    stages: names of modules whose maps are recorded without a graph.
    from_input: let the graph begin at the input.
    trace: write down the calls behind the first recorded output.
    around: a context manager in which to run the pass, such as a table of rules.
    """
    recorder = _Recorder(model, inputs, layers, stages)
    recording = recorder.recording
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(evaluating(model))
        # A copy is a normal tensor also where the caller's is an inference tensor, and what the
        # model does to its input in place does not reach the caller's.
        image = inputs.detach().clone()
        if from_input:
            recording.input = image.requires_grad_()
            torch.set_grad_enabled(True)
            image = image.clone()
        if around is not None:
            stack.enter_context(around())
        if trace:
            recording.trace = stack.enter_context(Trace())
        stack.enter_context(observing(recorder.observe))
        # A compiled network would be compiled anew with what watches it; its original runs as is.
        recording.outputs = getattr(model, "_orig_mod", model)(image)
    containers = {
        name
        for module, name in recorder.names.items()
        if type(module) in (nn.Sequential, nn.ModuleList, nn.ModuleDict)
    }
    recording.seen = [seen.layer(containers) for seen in recorder.seen]
    recording.candidates = [
        (recording.seen[index], recorded) for index, recorded, _ in recorder.candidates
    ]
    return recording


@dataclass
class _Seen:
    names: list[str]
    module: nn.Module
    layout: Layout
    pooled: bool

    def layer(self, containers: set[str]) -> Layer:
        parts = self.names[0].split(".")
        around = [".".join(parts[:end]) for end in range(1, len(parts))]
        blocks = tuple(name for name in around if name not in containers)
        kind = type(self.module).__name__
        return Layer(tuple(self.names), kind, self.layout, self.pooled, blocks)


class _Recorder:
    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor,
        layers: Sequence[str] | None,
        stages: Sequence[str],
    ) -> None:
        self.recording = Recording()
        self.names = {module: name for name, module in model.named_modules() if name}
        self.layers = None if layers is None else frozenset(layers)
        self.stages = frozenset(stages)
        self.batch = len(inputs)
        self.image = (inputs.shape[-2], inputs.shape[-1])
        self.patches: tuple[int, int] | None = None  # the last grid seen in NCHW or NHWC
        self.tokens: set[int] = set()  # lengths of the rows of tokens seen
        self.seen: list[_Seen] = []
        self.candidates: list[tuple[int, Recorded, Tensor]] = []
        self.lowest = inputs.shape[-2] * inputs.shape[-1] + 1
        self.last: tuple[Tensor | None, int] = (None, 0)  # handed on, and its version then

    def observe(self, module: nn.Module, output: Any) -> Any:
        """See one module's output; return what to hand on in its place, if anything."""
        name = self.names.get(module)
        tensor = first_tensor(output)
        if name is None or tensor is None or not tensor.is_floating_point():
            return None
        if not tensor.ndim or len(tensor) != self.batch:
            return None
        layout = self._layout(tensor)
        if layout and name in self.stages:
            self.recording.stages[name] = layout.to_maps(tensor.detach()).clone()
        if self.layers is None:
            kept = self._consider(name, module, tensor, layout) if layout else None
        elif name in self.layers:
            kept = self._keep(tensor)
            self.recording.layers[name] = Recorded(kept[0], layout)
        else:
            kept = None
        return None if kept is None else with_first_tensor(output, kept[1])

    def _layout(self, tensor: Tensor) -> Layout | None:
        if tensor.ndim == 4 and tensor.shape[-1] == tensor.shape[-2] in self.tokens:
            return None  # attention weights between tokens
        layout = layout_of(tensor.shape, self.image, self.patches)
        if layout is not None:
            if layout.kind == "tokens":
                self.tokens.add(tensor.shape[1])
            else:
                self.patches = layout.grid
        return layout

    def _keep(self, tensor: Tensor, start: bool = False) -> tuple[Tensor, Tensor]:
        """The tensor as part of the graph, or the start of it, and the copy to hand on."""
        if start or not tensor.requires_grad:
            tensor = tensor.detach().requires_grad_()
        torch.set_grad_enabled(True)
        return tensor, tensor.clone()

    def _consider(
        self, name: str, module: nn.Module, tensor: Tensor, layout: Layout
    ) -> tuple[Tensor, Tensor] | None:
        """Record a candidate; a new lowest resolution makes all earlier ones obsolete."""
        last, version = self.last
        if last is not None and _same_values(tensor, last) and tensor._version == version:
            if tensor.shape == last.shape:
                self.seen[-1].names.append(name)
                return None
            if only_rearranges(module):
                return None
        cells = layout.grid[0] * layout.grid[1]
        lower = cells < self.lowest
        pooled = lower and only_rearranges(module)
        self.seen.append(_Seen([name], module, layout, pooled))
        if pooled:
            self.last = (tensor, tensor._version)
            return None
        if lower:
            self.lowest = cells
            # Outputs of the stage before that are still in use, by a skip connection, say, would
            # keep its graph alive. (Unless the graph is to begin at the input anyway.)
            for _, _, handed in self.candidates if self.recording.input is None else ():
                handed.detach_()
            self.candidates.clear()
        kept, handed = self._keep(tensor, start=lower and self.recording.input is None)
        self.candidates.append((len(self.seen) - 1, Recorded(kept, layout), handed))
        self.last = (handed, handed._version)
        return kept, handed


def _same_values(tensor: Tensor, other: Tensor) -> bool:
    """Whether two tensors are views of the same numbers (dropout in eval mode, a permutation)."""
    return tensor.data_ptr() == other.data_ptr() and tensor.numel() == other.numel()
