"""The probe: one question put to one network, *these images, this target*.

All methods asked of a probe share its one recorded forward pass and one backward pass to the
layer.
"""

from __future__ import annotations

import difflib
import weakref
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seewhy.core.layers import Layer, Layout, public_name, stages
from seewhy.core.recording import Recorded, Recording, record
from seewhy.core.replay import Trace, is_affine
from seewhy.core.rules import Rules, applying, check_open
from seewhy.core.targets import Repeated, Target, TargetLike, as_target, logits

LayerLike = str | nn.Module | Sequence[str | nn.Module] | None

# The layer that was chosen for each network: later passes ask for it from the start.
_chosen: weakref.WeakKeyDictionary[nn.Module, str] = weakref.WeakKeyDictionary()
# And its stages: the outputs at each resolution, finest first.
_stages: weakref.WeakKeyDictionary[nn.Module, tuple[str, ...]] = weakref.WeakKeyDictionary()


class Probe:
    """One recorded forward pass, and the gradients of one target, each computed at most once.

    model: any `nn.Module`. It is run in eval mode and left exactly as it was, after errors too.
    inputs: (B, C, H, W) floating point, already preprocessed; never changed.
    target: what is explained (see `seewhy.targets.as_target`); None is the predicted class.
    layer: name, module or several of them, whose outputs the CAM family reads; None chooses the
        last layer with maps on which the score depends.

    The pass is run when something is first asked for. Results are per image: nothing depends on
    which other images share the batch, as long as the network itself keeps them apart in eval
    mode.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor,
        target: TargetLike = None,
        layer: LayerLike = None,
        *,
        around: Callable[[], AbstractContextManager[Any]] | None = None,
    ) -> None:
        _check_inputs(model, inputs)
        self.model = model
        self.inputs = inputs.detach()
        self._target = as_target(target)
        self._asked = layer_names(model, layer)
        self._around = around
        self._from_input = False
        self._with_stages = False
        self._with_tail = False
        self._recording: Recording | None = None
        self._layers: tuple[str, ...] | None = None
        self._score: Tensor | None = None
        self._gradients: dict[str, Tensor] = {}

    # ------------------------------------------------------------------ what the pass gave

    @property
    def outputs(self) -> Any:
        """What the model returned, within the graph."""
        return self._record().outputs

    @property
    def logits(self) -> Tensor:
        """Scores per class, (B, C), without a graph."""
        return logits(self.outputs).detach()

    @property
    def target(self) -> Target:
        """The target with all that depends on the outputs settled, such as the predicted class."""
        self._record()
        return self._target

    @property
    def score(self) -> Tensor:
        """The explained score of each image, (B,), without a graph."""
        return self._scored().detach()

    @property
    def named(self) -> tuple[str, ...]:
        """Names of the layers that were asked for; empty where the choice was left to the probe."""
        return self._asked

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the explained layers: those asked for, or the one chosen."""
        if self._layers is None:
            self._layers = self._asked or (self._choose(),)
        return self._layers

    def activations(self, layer: str | None = None) -> Tensor:
        """A, the maps at a layer, (B, K, h, w); token grids and NHWC outputs are brought there."""
        recorded = self._recorded(layer)
        return self._layout_of(recorded, layer).to_maps(recorded.tensor.detach())

    def layout(self, layer: str | None = None) -> Layout:
        """How a layer's output holds its maps."""
        return self._layout_of(self._recorded(layer), layer)

    def gradients(self, layer: str | None = None) -> Tensor:
        """G = ∂score/∂A at a layer, (B, K, h, w)."""
        recorded = self._recorded(layer)
        layout = self._layout_of(recorded, layer)
        return layout.to_maps(self._gradient_of(self._name(layer)))

    @property
    def input_gradient(self) -> Tensor:
        """∂score/∂input, (B, C, H, W)."""
        if self._record().input is None:
            self.expect_input_gradient()
        return self._gradient_of("")

    def hessian_product(self, layer: str | None = None) -> Tensor:
        """(∂²score/∂A²) A at a layer, (B, K, h, w); zero where the score is piecewise linear."""
        recorded = self._recorded(layer)
        layout = self._layout_of(recorded, layer)
        tensor = recorded.tensor
        product = None
        with torch.inference_mode(False), torch.enable_grad():
            (gradient,) = gradients_of(self._scored(), [tensor], differentiable=True)
            if gradient is None:
                self._gradient_of(self._name(layer))  # raises
            elif gradient.requires_grad:
                along = (gradient * tensor.detach()).sum((*range(1, gradient.ndim),))
                (product,) = gradients_of(along, [tensor])
        return layout.to_maps(torch.zeros_like(tensor) if product is None else product).detach()

    def affine(self, layer: str | None = None) -> bool:
        """Whether the score is an affine function of A, such as a logit behind pooling + Linear.

        Then score(A') = score(A) + ΣG ⊙ (A' - A), whatever A'.
        """
        return is_affine(self._scored(), self._recorded(layer).tensor)

    def tail(self, layer: str | None = None) -> Callable[[Tensor], Tensor]:
        """The score as a function of A, without what lies before the layer.

        Returns a function from n altered versions of the maps, (n, B, K, h, w), to their scores,
        (n, B), without a graph. It replays the recorded calls. Unless they were expected, they are
        recorded by one further pass.

        Raises ValueError where some of what lies between is hidden from torch functions.
        """
        recorded = self._recorded(layer)
        layout, name = self._layout_of(recorded, layer), self._name(layer)
        if self._record().trace is None:
            return self.with_inputs(self.inputs).expect_tail().tail(layer)
        trace = Trace(self._record().trace)
        with torch.inference_mode(False), torch.enable_grad(), trace:
            score = self._target(self.outputs)
        replay = trace.replay(recorded.tensor, score)
        again = recorded.tensor.detach().requires_grad_()
        with torch.inference_mode(False), torch.enable_grad():
            (found,) = gradients_of(replay(again) if replay else score.detach(), [again])
        expected = self._gradient_of(name)
        if replay is None or found is None or not _alike(found, expected):
            raise ValueError(
                f"what lies between layer {name!r} and the score cannot be replayed: part of it "
                "is compiled, scripted, a custom autograd function, or written into other tensors"
            )

        def score_of(maps: Tensor) -> Tensor:
            return replay(layout.with_maps(recorded.tensor.detach(), maps))

        @torch.inference_mode(False)
        @torch.no_grad()
        def scores_of(maps: Tensor) -> Tensor:
            return torch.vmap(score_of, randomness="different")(maps)

        return scores_of

    def outputs_of(self, inputs: Tensor) -> Any:
        """What the model returns for other images, (N, C, H, W), by a bare forward pass."""
        return record(self.model, inputs, (), around=self._around).outputs

    def shared(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What `make` returns; made once for all probes that share this pass, whatever they ask."""
        kept = self._record().shared
        if key not in kept:
            kept[key] = make()
        return kept[key]

    @property
    def stages(self) -> dict[str, Tensor]:
        """Maps (B, K, h, w) at each resolution above the layer's, by name, finest first; no graph.

        Empty for a network with one resolution all the way, such as a plain vision transformer.
        """
        found = self._record().stages
        if not found:
            found = self._record_stages()
        coarsest = max(_cells(self.activations(layer)) for layer in self.layers)
        return {name: maps for name, maps in found.items() if _cells(maps) > coarsest}

    # ------------------------------------------------------------------ what to record

    def expect_input_gradient(self) -> Probe:
        """Let the pass record the graph from the input on; before it has run, at no extra cost."""
        if self._recording is not None and self._recording.input is None:
            self._forget()
        self._from_input = True
        return self

    def expect_stages(self) -> Probe:
        """Let the pass record the stages too.

        At no extra cost before it has run, once the network's stages are known: they are looked
        up by one further pass when they are first asked for.
        """
        self._with_stages = True
        return self

    def expect_tail(self) -> Probe:
        """Let the pass write down the calls behind the layer, for `tail`, at no extra cost."""
        self._with_tail = True
        return self

    # ------------------------------------------------------------------ derived probes

    def with_inputs(self, inputs: Tensor) -> Probe:
        """The same question (the same classes, at the same layers) about other images.

        inputs: (B, C, H, W), or several runs of the batch one after the other, (k · B, C, H, W).
        """
        times, rest = divmod(len(inputs), len(self.inputs))
        target = Repeated(self.target, times) if times > 1 and not rest else self.target
        return self._derived(inputs, target)

    def at_scale(self, scale: float) -> Probe:
        """The same question about the images resized by a factor."""
        resized = F.interpolate(
            self.inputs, scale_factor=scale, mode="bilinear", align_corners=False
        )
        return self.with_inputs(resized)

    def with_target(self, target: TargetLike) -> Probe:
        """Another question about the same images: it shares this probe's forward pass."""
        other = self._derived(self.inputs, target)
        other._from_input = self._from_input
        other._recording = self._record()
        other._target = other._target.resolve(other._recording.outputs)
        return other

    def with_layer(self, layer: LayerLike) -> Probe:
        """The same question read at other layers; it shares the pass if that recorded them."""
        other = self._derived(self.inputs, self.target)
        other._asked = other._layers = layer_names(self.model, layer)
        if self._record().layers.keys() >= set(other._asked):
            other._recording, other._score = self._recording, self._scored()
            other._gradients = self._gradients
        return other

    def with_rules(self, rules: Rules, layer: LayerLike = ()) -> Probe:
        """The same question under another backward pass (see `seewhy.rules`).

        Scores and activations are the same, gradients are those of the rules: at the layers named
        here, or else at the input.

        Raises TypeError for compiled and scripted networks.
        """
        check_open(self.model)
        other = Probe(self.model, self.inputs, self._target, layer, around=lambda: applying(rules))
        other._layers = other._asked
        other._from_input = not other._asked
        return other

    def _derived(self, inputs: Tensor, target: TargetLike) -> Probe:
        other = Probe(self.model, inputs, target, self._asked, around=self._around)
        other._layers = self._layers
        return other

    # ------------------------------------------------------------------ the pass

    def _record(self) -> Recording:
        if self._recording is None:
            known = _chosen.get(self.model)
            layers = self._asked or ((known,) if known else None)
            if self._layers is not None:
                layers = self._layers
            recording = self._run(layers)
            if not self._asked and layers and layers[0] not in recording.layers:
                # The network was changed since its layer was chosen.
                recording = self._run(None)
            if recording.seen:
                _stages[self.model] = _names_of_stages(recording)
            self._recording = recording
            self._target = self._target.resolve(recording.outputs)
        return self._recording

    def _run(self, layers: Sequence[str] | None) -> Recording:
        return record(
            self.model,
            self.inputs,
            layers,
            stages=_stages.get(self.model, ()) if self._with_stages else (),
            from_input=self._from_input,
            trace=self._with_tail,
            around=self._around,
        )

    def _record_stages(self) -> dict[str, Tensor]:
        """The stages' maps by a pass of their own, and a first one where they are not known."""
        recording = self._record()
        names = _stages.get(self.model)
        if names is not None:
            recording.stages = record(self.model, self.inputs, (), stages=names).stages
        if names is None or len(recording.stages) < len(names):
            # Not yet known, or the network was changed since they were found.
            names = _names_of_stages(record(self.model, self.inputs, None))
            _stages[self.model] = names
            recording.stages = record(self.model, self.inputs, (), stages=names).stages
        return recording.stages

    def _forget(self) -> None:
        self._recording = self._score = None
        self._gradients = {}

    def _scored(self) -> Tensor:
        if self._score is None:
            outputs = self._record().outputs
            with torch.inference_mode(False), torch.enable_grad():
                score = self._target(outputs)
            if not isinstance(score, Tensor) or score.shape != (len(self.inputs),):
                got = tuple(score.shape) if isinstance(score, Tensor) else type(score).__name__
                raise ValueError(
                    f"the target returned {got}; it should be one score per image, "
                    f"a tensor of shape ({len(self.inputs)},)"
                )
            self._score = score
        return self._score

    def _choose(self) -> str:
        recording = self._record()
        if not recording.candidates:
            if recording.layers:
                return next(iter(recording.layers))
            raise ValueError(
                "found no layer with maps: no module returned a tensor (B, K, h, w), (B, h, w, K) "
                "or a grid of tokens. Is the network compiled or scripted? Explain the original "
                "module, or use a method that works on the input's gradient"
            )
        layer = choose(recording, self._scored())
        name = public_name(layer or recording.candidates[-1][0], recording.seen)
        if layer is not None:
            _chosen[self.model] = name
        recording.layers[name] = next(
            recorded
            for candidate, recorded in reversed(recording.candidates)
            if name in candidate.names
        )
        recording.candidates = []
        return name

    def _name(self, layer: str | None) -> str:
        if layer is None:
            if len(self.layers) > 1:
                raise ValueError(f"name one of the recorded layers {list(self.layers)}")
            return self.layers[0]
        if layer in self.layers:
            return layer
        (name,) = layer_names(self.model, layer)
        if name not in self.layers:
            self._layers = self._asked = (*self.layers, name)
            self._forget()
        return name

    def _recorded(self, layer: str | None) -> Recorded:
        name = self._name(layer)
        recorded = self._record().layers.get(name)
        if recorded is None:
            raise ValueError(
                f"layer {name!r} handed out no tensor with one entry per image in this pass; "
                "was it run at all? Compiled or scripted networks hide their layers: explain the "
                "original module"
            )
        return recorded

    def _layout_of(self, recorded: Recorded, layer: str | None) -> Layout:
        if recorded.layout is None:
            raise ValueError(
                f"layer {self._name(layer)!r} returned {tuple(recorded.tensor.shape)}, which holds "
                "no maps; choose a layer that returns (B, K, h, w), (B, h, w, K) or a grid of "
                "tokens"
            )
        return recorded.layout

    def _gradient_of(self, name: str) -> Tensor:
        """One backward pass for all that was recorded; the input goes by the empty name."""
        if name not in self._gradients:
            recording = self._record()
            # A network without maps still has a gradient at its input.
            with_maps = name or recording.layers or recording.candidates
            names = [*self.layers] if with_maps else []
            tensors = [self._recorded(layer).tensor for layer in names]
            if recording.input is not None:
                names.append("")
                tensors.append(recording.input)
            gradients = gradients_of(self._scored(), tensors)
            for found, gradient in zip(names, gradients, strict=True):
                if gradient is None:
                    where = f"layer {found!r}" if found else "the input"
                    raise ValueError(
                        f"the score does not depend on {where} in a way that can be "
                        "differentiated: another branch, a detach() or a no_grad() lies between"
                    )
                self._gradients[found] = gradient
        return self._gradients[name]


def gradients_of(
    score: Tensor, tensors: Sequence[Tensor], differentiable: bool = False
) -> Sequence[Tensor | None]:
    """Gradients of each image's score; None for a tensor on which no score depends."""
    if not score.requires_grad or not tensors:
        return [None] * len(tensors)
    with torch.inference_mode(False):
        return torch.autograd.grad(
            score.sum(),
            tensors,
            retain_graph=True,
            create_graph=differentiable,
            allow_unused=True,
        )


def choose(recording: Recording, score: Tensor) -> Layer | None:
    """The layer to explain: the last one with maps on which the score depends.

    Passed over are the projections inside a transformer's block, a map per class (the output of
    a classifier that is a convolution), and layers whose maps the score no longer reads, such as
    the patches of a last block of which only the class token is used. None where the score
    depends on no layer at all.
    """
    scores = logits(recording.outputs)
    candidates = [
        (layer, recorded.tensor)
        for layer, recorded in recording.candidates
        if layer.layout.kind == "NCHW" or layer.kind != "Linear"
    ]
    # The choice nearly always falls on one of the last few; a backward pass to them is short.
    for part in (candidates[-16:], candidates[:-16]):
        gradients = gradients_of(score, [tensor for _, tensor in part])
        for (layer, tensor), gradient in zip(reversed(part), reversed(gradients), strict=True):
            if gradient is None or not layer.layout.to_maps(gradient).any():
                continue
            if layer.layout.channels == scores.shape[1] > 1:
                (first,) = gradients_of(scores[:, 0], [tensor])
                if first is not None and not layer.layout.to_maps(first)[:, 1:].any():
                    continue
            return layer
    return None


def layers_of(model: nn.Module, inputs: Tensor) -> tuple[list[Layer], str, list[str]]:
    """All layers with maps in the order of one pass, the name of the chosen one, and the stages.

    inputs: (B, C, H, W). The stages are the outputs at each resolution down to the chosen layer.
    """
    probe = Probe(model, inputs)
    probe._recording = recording = record(model, inputs, None)
    probe._target = probe._target.resolve(recording.outputs)
    name = probe._choose()
    chosen = next(layer for layer in reversed(recording.seen) if name in layer.names)
    cells = chosen.grid[0] * chosen.grid[1]
    finer = [stage for stage in stages(recording.seen) if stage.grid[0] * stage.grid[1] > cells]
    return recording.seen, name, [*(public_name(s, recording.seen) for s in finer), name]


def _names_of_stages(recording: Recording) -> tuple[str, ...]:
    return tuple(public_name(stage, recording.seen) for stage in stages(recording.seen))


def _alike(found: Tensor, expected: Tensor) -> bool:
    """Whether two gradients are the same but for rounding, in the lowest precision too."""
    return bool((found - expected).abs().max() <= 0.05 * expected.abs().max())


def _cells(maps: Tensor) -> int:
    return maps.shape[-2] * maps.shape[-1]


def _check_inputs(model: nn.Module, inputs: Tensor) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is a {type(model).__name__}; it should be a torch.nn.Module")
    if not isinstance(inputs, Tensor):
        raise TypeError(
            f"inputs is a {type(inputs).__name__}; it should be a tensor (B, C, H, W), "
            "as preprocessed for the model"
        )
    if inputs.ndim != 4 or not inputs.is_floating_point() or 0 in inputs.shape:
        raise ValueError(
            f"inputs has shape {tuple(inputs.shape)} and type {inputs.dtype}; it should be a "
            "floating-point tensor (B, C, H, W) with at least one image"
        )


def layer_names(model: nn.Module, layer: LayerLike) -> tuple[str, ...]:
    """The names of the layers that a user named or handed over; () where there were none.

    Raises ValueError for what is not part of the model.
    """
    if layer is None:
        return ()
    wanted = [layer] if isinstance(layer, str | nn.Module) else list(layer)
    by_module = {module: name for name, module in model.named_modules() if name}
    # A module may go by several names; the first is its own.
    by_name = dict(model.named_modules(remove_duplicate=False))
    names = []
    for item in wanted:
        module = item if isinstance(item, nn.Module) else by_name.get(item)
        if module in by_module:
            names.append(by_module[module])
        elif isinstance(item, nn.Module):
            raise ValueError(f"layer {type(item).__name__} is not one of the model's submodules")
        else:
            close = difflib.get_close_matches(str(item), list(by_module.values()), n=3)
            hint = f"; did you mean {', '.join(close)}?" if close else ""
            raise ValueError(f"the model has no layer {item!r}{hint}")
    return tuple(names)
