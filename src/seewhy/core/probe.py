"""The probe: one network, its inputs and a target.

All methods that use a probe share its one recorded forward pass and one backward pass to the
layer.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointError

from seewhy.core.attention import Attention, AttentionPass, unfused
from seewhy.core.casting import casting, set_casts
from seewhy.core.choice import (
    Choice,
    OneByOneError,
    check_order,
    choose,
    gradients_of,
    images_first,
)
from seewhy.core.inputs import Inputs, InputsLike, as_inputs
from seewhy.core.layers import Call, Layout
from seewhy.core.observing import check_initialised, graphs, in_training, named_modules, undisturbed
from seewhy.core.outputs import check_rows, logits
from seewhy.core.recording import REFUSALS, Begin, Read, Recorded, Recording, record
from seewhy.core.replay import Trace, is_affine
from seewhy.core.requests import LayerLike, Request, asked_layers, layer_requests, spelled
from seewhy.core.rules import (
    PLAIN_ATTENTION,
    Rules,
    applying,
    check_open,
    edge,
    nodes,
    out_of_place_only,
)
from seewhy.core.targets import Target, TargetLike, as_target
from seewhy.core.targets.base import checked_scores
from seewhy.core.targets.classes import check_count
from seewhy.maps import MODES, upsample
from seewhy.options import Positive, checking, shown

if TYPE_CHECKING:
    from seewhy.naming import Method

Result = TypeVar("Result")
# Of the scores of a batch, (B,), and some tensors of its graph, the gradients of these, or None.
Backward = Callable[[Tensor, Sequence[Tensor]], Sequence[Tensor | None]]


class Probe:
    """One recorded forward pass, and the gradients of one target, each computed at most once.

    model: any `nn.Module`. It runs in eval mode and is left unchanged, also after errors.
    inputs: (B, C, H, W) floating point, already preprocessed; or (B, C, L), or (B, C, D, H, W); or
        a tuple or dict of the model's inputs, one of which is explained. They are not changed.
    target: what is explained (see `seewhy.targets.as_target`); None is the predicted class.
    layer: a name, a module or several of them, whose outputs the CAM family uses; `relu#2` is the
        second call of a module. None chooses the last layer with maps on which the score depends.
    explained: which of several inputs is explained: a position or keyword.
    black: the value of a black pixel in the input, one per channel, if it is known.

    The pass runs when a result is first needed. Results depend only on these arguments. They are
    per image: they do not depend on the other images of the batch, unless the network itself mixes
    images in eval mode. Rounding may depend on the batch; `guided_integrated_gradients` and
    `gig_cam` document what that means on an accelerator.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: InputsLike,
        target: TargetLike = None,
        layer: LayerLike = None,
        *,
        explained: int | str | None = None,
        black: Sequence[float] | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            hint = ", such as seewhy.load_model(name)" * isinstance(model, str)
            if callable(model) and not isinstance(model, type):
                hint = ", whose forward calls this function"
            raise TypeError(
                f"model is a {type(model).__name__}; it should be a torch.nn.Module{hint}"
            )
        # A compiled network would be compiled anew with what watches it; its original runs as is.
        # A module around it may have that attribute, too, by handing on what it is asked for.
        compiled = "_orig_mod" in model._modules
        self.model: nn.Module = model.get_submodule("_orig_mod") if compiled else model
        self.black = None if black is None else tuple(black)
        self._given = as_inputs(inputs, explained)
        self._target = self._asked(target)
        # Of such a target nothing depends on the outputs, so no pass is needed to settle it.
        self._settled = type(self._target).resolve is Target.resolve
        # What was asked for: None leaves the choice to the pass, or to the probe that this one
        # was derived from.
        self._names = named_modules(self.model)
        check_initialised(self._names)
        self._requests = asked_layers(self.model, layer)
        self._origin: Probe | None = None
        self._around: Callable[[], AbstractContextManager[Any]] | None = None
        self._differentiate: Backward = gradients_of
        self._clear()

    def _clear(self) -> None:
        self._expected: frozenset[Read] = frozenset()
        self._looks = True  # for the layer, where none was named
        self._recording: Recording | None = None
        self._resolved: tuple[Call, ...] | None = None
        self._vague = False  # whether the chosen layer has a more usual name
        self._trusts = False  # whether the choice is confirmed only afterwards
        self._confirmed: Tensor | None = None
        self._score: Tensor | None = None
        self._gradients: dict[Call | None, Tensor] = {}
        self._elsewhere: dict[Request, Probe] = {}
        self._shared: dict[Hashable, Any] = {}
        self._attention: dict[bool, AttentionPass] = {}

    # ------------------------------------------------------------------ what the pass gave

    @property
    def inputs(self) -> Tensor:
        """The explained inputs, (B, C, H, W), (B, C, L) or (B, C, D, H, W)."""
        return self._given.tensor

    @property
    def given(self) -> Inputs:
        """All that the network is given, with the explained inputs among it."""
        return self._given

    @property
    def size(self) -> torch.Size:
        """The sides of the explained inputs: (H, W), (L,) or (D, H, W)."""
        return self.inputs.shape[2:]

    @property
    def divisible(self) -> bool:
        """Whether the same question can be asked about parts of the images.

        Not if the target names a region, or another input has the images' sides: these would have
        to be cut, too.
        """
        return not (self._given.aligned or self._target.of_places)

    @property
    def outputs(self) -> Any:
        """What the model returned, within the graph."""
        return self._record().outputs

    @property
    def logits(self) -> Tensor:
        """Scores per class, (B, C), without a graph."""
        return logits(self._target.read(self.outputs)).detach()

    @property
    def target(self) -> Target:
        """The target after the pass: the predicted class, for instance, is a fixed class now."""
        if not self._settled:
            self._record()
        return self._target

    @property
    def asked(self) -> Target:
        """The target as you gave it."""
        return self._target

    @property
    def score(self) -> Tensor:
        """The explained score of each image, (B,), without a graph."""
        return self.scored().detach()

    def scored(self) -> Tensor:
        """The explained score of each image, (B,), within the graph that leads to named layers."""
        if self._score is None:
            self._score = self._score_by(self._target, self.outputs)
            recording = self._record()
            if recording.calls and recording.input is None and not self._score.requires_grad:
                # The network may switch gradients off for a part of itself, and for all behind it.
                self._run("input")
                return self.scored()
        return self._score

    @property
    def named(self) -> tuple[str, ...]:
        """The layers that you named; empty if the probe chooses the layer."""
        return spelled(self._requests or ())

    @property
    def layers(self) -> tuple[str, ...]:
        """The explained layers: those that you named, or the chosen one; see `Call.shown`.

        The name of a chosen layer depends on the stages before it. If it was not announced by
        `expect`, it may take another pass.
        """
        if self._origin is not None:
            return self._origin.layers
        calls, counts = self.layer_calls, self._record().counts
        if self._vague:
            looked = self._look()
            (call,) = calls
            found = (looked.public(layer) for layer in looked.seen if call in layer.calls)
            calls, counts = (next(found, call),), looked.counts
        return tuple(call.shown(counts) for call in calls)

    @property
    def layer_calls(self) -> tuple[Call, ...]:
        """The calls of the explained layers; all that takes a layer's name takes these, too."""
        if self._resolved is None:
            if self._origin is not None:
                self._resolved = self._origin.layer_calls
            elif self._requests is not None:
                requests = self._requests
                found = self._differentiating(lambda: tuple(map(self._found, requests)))
                for call in found:
                    self._check_order(self._record().calls[call].tensor)
                self._resolved = found
            else:
                self._resolved = (self._choose(),)
        return self._resolved

    @property
    def calls(self) -> Mapping[str, int]:
        """How often a pass calls each module, by name; it may take another pass."""
        recording = self._record()
        if not (recording.whole and recording.counts):
            recording = self._look()
        return recording.counts

    def activations(self, layer: str | Call | None = None) -> Tensor:
        """A, the maps at a layer, (B, K, h, w); token grids and NHWC outputs are converted."""
        probe, call = self._at(layer)
        return probe._layout(call).to_maps(probe._recorded(call).tensor.detach())

    def layout(self, layer: str | Call | None = None) -> Layout:
        """How a layer's output holds its maps."""
        probe, call = self._at(layer)
        return probe._layout(call)

    def gradients(self, layer: str | Call | None = None) -> Tensor:
        """G = ∂score/∂A at a layer, (B, K, h, w)."""
        probe, call = self._at(layer)
        return probe._layout(call).to_maps(probe._gradient(call))

    @property
    def input_gradient(self) -> Tensor:
        """∂score/∂input, of the inputs' shape."""
        return self.expect("input")._gradient(None)

    def attentions(self) -> list[Attention]:
        """The attention maps behind the score, in the order in which they were computed.

        Each has `weights`, (B, heads, queries, keys), and their `gradient`; see `Attention`. Found
        are `F.scaled_dot_product_attention`, `nn.MultiheadAttention`, and a softmax that is
        multiplied with values; the list is empty if there is none. This takes a separate pass
        without fused attention, which all targets share.
        """
        tail = "tail" in self._expected
        if tail not in self._attention:
            recording = self.shared(("attention", tail), lambda: self._attend(tail))
            target = self._target if self._settled else self._target.resolve(recording.outputs)
            score = self._score_by(target, recording.outputs)

            def replay(start: Tensor) -> Callable[[Tensor], Tensor] | None:
                return self._replay(recording, target, start)

            self._attention[tail] = self._differentiating(
                lambda: AttentionPass(score, recording, replay)
            )
        return self._attention[tail].maps

    def _attend(self, tail: bool) -> Recording:
        # The blocks' outputs are kept for those who want to replay what follows.
        return record(
            self.model,
            self._names,
            self._given,
            None if tail else (),
            reads={"stages", "tail"} if tail else {"stages"},
            begin="input",
            around=self._unfused,
        )

    @contextmanager
    def _unfused(self) -> Iterator[None]:
        with unfused(), self._around() if self._around else nullcontext():
            yield

    def maps(self, methods: Iterable[Method], size: Sequence[int] | None = None) -> list[Tensor]:
        """The maps of several methods, (B, h, w) each, from one pass.

        size: the sides to which they are upsampled; None leaves each at its own resolution.

        If the layer differs between images, or the network takes them in parts, they are explained
        one by one, and their maps have the inputs' size. An error names the images that hold NaN or
        infinite values, if any.
        """
        try:
            return self._maps(list(methods), size)
        except ValueError as error:
            known = self.inputs.isfinite().flatten(1).all(1)
            unknown = [index for index, is_known in enumerate(known.tolist()) if not is_known]
            if not unknown or type(error) is not ValueError:
                raise
            raise ValueError(f"{error}; the inputs of images {unknown} are not finite") from error

    def _maps(self, methods: list[Method], size: Sequence[int] | None = None) -> list[Tensor]:
        self.expect_for(methods)

        def run() -> list[Tensor]:
            maps = [method(self) for method in methods]
            return maps if size is None else [upsample(found, size) for found in maps]

        try:
            return self._trusting(run)
        except OneByOneError:
            if len(self.inputs) == 1:
                raise
            alone = [self.image(index) for index in range(len(self.inputs))]
            for one in alone:
                one._origin = None  # each chooses a layer by itself
            each = [one._maps(methods) for one in alone]
            return [
                torch.cat([upsample(maps, size or self.size) for maps in of_images])
                for of_images in zip(*each, strict=True)
            ]

    def _trusting(self, run: Callable[[], Result]) -> Result:
        """`run()` at the layer that nearly always is the right one, and again if it is not.

        So an accelerator need not wait in the middle of it until Python has seen its answer.
        """
        self._trusts = self._resolved is None and _answers_late(self.inputs)
        try:
            result = run()
            if self._trusted_rightly():
                return result
        except Exception:
            if self._trusted_rightly():
                raise
        finally:
            self._trusts = False
            if self._confirmed is not None:  # it was interrupted
                self._distrust()
        self._distrust()
        return run()

    def _distrust(self) -> None:
        self._resolved = self._confirmed = None
        self._gradients, self._elsewhere, self._shared = {}, {}, {}

    def _trusted_rightly(self) -> bool:
        confirmed, self._confirmed = self._confirmed, None
        return confirmed is None or bool(confirmed)

    def hessian_product(self, layer: str | Call | None = None) -> Tensor:
        """(∂²score/∂A²) A at a layer, (B, K, h, w); zero where the score is piecewise linear."""
        probe, call = self._at(layer)
        score, tensor = probe.scored(), probe._recorded(call).tensor
        if any("ScaledDotProduct" in str(node.name()) for node in nodes(score)):
            # Fused attention has no second derivative.
            plain = probe._derived()
            plain._requests, plain._around = (call,), lambda: applying(PLAIN_ATTENTION)
            return plain.hessian_product()
        layout = probe._layout(call)
        with graphs():
            (gradient,) = gradients_of(score, [tensor], differentiable=True)
            if gradient is None:
                gradient = probe._gradient(call)  # raises
            (product,) = gradients_of(gradient * tensor.detach(), [tensor])
        return layout.to_maps(torch.zeros_like(tensor) if product is None else product).detach()

    def affine(self, layer: str | Call | None = None) -> bool:
        """Whether the score is an affine function of A, such as a logit with pooling + Linear.

        Then score(A') = score(A) + ΣG ⊙ (A' - A) for any A'.
        """
        probe, call = self._at(layer)
        return is_affine(probe.scored(), probe._recorded(call).tensor)

    def tail(self, layer: str | Call | None = None) -> Callable[[Tensor], Tensor]:
        """The score as a function of A, without what lies before the layer.

        Returns a function from n altered versions of the maps, (n, B, K, h, w), to their scores,
        (n, B), without a graph. It replays the recorded calls. If they were not announced by
        `expect`, recording them takes another pass.

        Raises ValueError if a part behind the layer makes calls that cannot be recorded.
        """
        probe, call = self._at(layer)
        probe.scored()  # first, since it may need another pass
        recorded, layout = probe._recorded(call), probe._layout(call)
        if probe._record().trace is None:
            again = probe._derived()
            again._requests = (call,)
            return again.expect("tail").tail()
        replay = probe._replay(probe._record(), probe._target, recorded.tensor)
        start = recorded.tensor.detach().requires_grad_()
        with graphs():
            (found,) = gradients_of(replay(start), [start]) if replay else (None,)
        expected = probe._gradient(call)
        if replay is None or found is None or not _alike(found, expected):
            raise ValueError(
                f"what lies between layer {call.shown(probe._record().counts)!r} and the score "
                "cannot be replayed: part of it is compiled, scripted, a custom autograd function, "
                "or written into other tensors"
            )

        def score_of(maps: Tensor) -> Tensor:
            return replay(layout.with_maps(recorded.tensor.detach(), maps))

        def scores_of(maps: Tensor) -> Tensor:
            with graphs(), torch.no_grad():
                try:
                    return torch.vmap(score_of, randomness="different")(maps)
                except torch.cuda.OutOfMemoryError:
                    raise
                except RuntimeError:  # torch cannot do it for all functions: an LSTM, say
                    return torch.stack([score_of(one) for one in maps])

        return scores_of

    def _replay(
        self, recording: Recording, target: Target, start: Tensor
    ) -> Callable[[Tensor], Tensor] | None:
        """A target's score as a function of a tensor of a pass that recorded the tail behind it."""
        trace = Trace(recording.trace)
        with graphs(), casting(self._given.casts), trace:
            score = target(recording.outputs)
        return trace.replay(start, score)

    def outputs_of(self, inputs: Tensor) -> Any:
        """The model's outputs for other images, (N, C, H, W), by a plain forward pass."""
        given = self._parted(len(inputs)).with_tensor(inputs)
        return record(self.model, self._names, given, (), around=self._around).outputs

    def shared(self, key: Hashable, make: Callable[[], Result]) -> Result:
        """The result of `make`, computed once for all probes of these inputs and any target."""
        if key not in self._shared:
            self._shared[key] = make()
        found: Result = self._shared[key]
        return found

    @property
    def stages(self) -> dict[str, Tensor]:
        """Maps (B, K, h, w) at each resolution above the layer's, by name, finest first; no graph.

        What the network runs after the layer, such as a decoder beside a classifier, has none.
        Empty for a network with a single resolution, such as a plain vision transformer.
        """
        looked = self._record()
        if not looked.glimpses:
            looked = self._look()
        coarsest = max(math.prod(self.activations(layer).shape[2:]) for layer in self.layers)
        stages = looked.stages_down_to(self.layer_calls)
        found = [stage for stage in stages if math.prod(stage.grid) > coarsest]
        kept = looked.glimpses
        lost = [stage for stage in found if stage not in kept or not kept[stage].intact]
        if lost:
            # Later outputs took their place, or they were written into.
            calls = [stage.calls[0] for stage in lost]
            again = record(self.model, self._names, self._given, calls)
            looked.glimpses |= {stage: again.calls[stage.calls[0]] for stage in lost}
        return {
            looked.public(stage).shown(looked.counts): stage.layout.to_maps(
                looked.glimpses[stage].tensor.detach()
            )
            for stage in found
        }

    @property
    def excitations(self) -> list[Tensor]:
        """The outputs of max pools and strided convolutions, (B, K, h, w) each, in order.

        The first entry is the input of the first of them. Outputs are taken before any activation,
        without a graph. Empty if the network has no such modules.
        """
        found = self._record().excitations
        if found is None:  # it was not expected
            found = self.shared("excitations", self._excited)
        return found

    def _excited(self) -> list[Tensor]:
        looked = record(self.model, self._names, self._given, (), reads={"excitations"})
        return looked.excitations or []

    def _look(self) -> Recording:
        """A pass of its own that sees all outputs, where that was not expected."""

        def look() -> Recording:
            given = self._given
            return record(self.model, self._names, given, None, reads={"stages"}, begin="nowhere")

        return self.shared("stages", look)

    def expect(self, *reads: Read) -> Probe:
        """Announce what will be needed, so that the pass records it and no other pass is run."""
        self._expected |= frozenset(reads)
        if "input" in reads and self._recording is not None and self._recording.input is None:
            self._run("input")
        return self

    def expect_for(self, methods: Iterable[Method]) -> Probe:
        """Announce what these methods need, see `expect`."""
        methods = list(methods)
        for method in methods:
            if not callable(method):
                raise TypeError(f"methods holds {shown(method)}; give seewhy.Method objects")
        self._looks = any(method.layers != "none" for method in methods)
        return self.expect(*{read for method in methods for read in method.reads})

    # ------------------------------------------------------------------ derived probes

    def with_inputs(self, inputs: Tensor) -> Probe:
        """A probe of other images, with the same classes and layers.

        inputs: (B, C, H, W), or several copies of the batch in sequence, (k · B, C, H, W).
        """
        given, target = self._parted(len(inputs)), self.target
        times, rest = divmod(len(inputs), len(self.inputs))
        if times > 1 and not rest:
            target = target.repeated(times, len(self.inputs))
        return self._about(given.with_tensor(inputs.detach()), target)

    def mirrored(self) -> Probe:
        """A probe of the mirror images, left and right swapped.

        A region of the target is mirrored, too, and so are other inputs of the images' sides.
        """
        return self._about(self._given.mirrored(), self.target.mirrored())

    def image(self, index: int) -> Probe:
        """A probe of one image of the batch, with the same target and layers."""
        given = self._parted(1).image(index)
        return self._about(given, self.target.of_image(index, len(self.inputs)))

    @checking
    def at_scale(self, scale: Positive) -> Probe:
        """A probe of the images resized by a factor.

        Networks of the transformers library interpolate their position embeddings if they can.
        """
        mode = MODES[len(self.size)]
        size = [max(1, round(side * scale)) for side in self.size]
        resized = F.interpolate(self.inputs, size=size, mode=mode, align_corners=False)
        other = self.with_inputs(resized)
        switch = "interpolate_pos_encoding"
        resizes = resized.shape != self.inputs.shape
        if resizes and switch in inspect.signature(self.model.forward).parameters:
            other._given = replace(other._given, given={switch: True, **other._given.given})
        return other

    def with_target(self, target: TargetLike) -> Probe:
        """A probe with another target, which shares this probe's forward pass.

        If no layers were named, the layer is chosen anew for the other target.
        """
        other = self._derived()
        other._recording, other._expected = self._record(), self._expected
        other._shared = self._shared
        other._target, other._settled = self._asked(target).resolve(self.outputs), True
        return other

    def with_layer(self, layer: LayerLike) -> Probe:
        """A probe with other layers; it shares the pass if that has recorded them."""
        other = self._derived()
        other._requests, other._origin = layer_requests(self.model, layer), None
        here: dict[Request, Call] = {}
        for call in self._resolved or ():
            here |= {(call.name, None): call, call: call}
        other._shared = self._shared
        if other._requests and all(request in here for request in other._requests):
            other._resolved = tuple(here[request] for request in other._requests)
            other._score, other._recording = self.scored(), self._recording
            other._gradients = self._gradients
        return other

    def with_backward(self, backward: Backward) -> Probe:
        """A probe of the same pass, whose gradients at the input are found by another function.

        Raises TypeError for scripted networks, which hide their functions.
        """
        check_open(self._names)
        other = self.expect("input").with_target(self.target)
        other._differentiate = backward
        kinds = {type(node).__name__ for node in nodes(other.scored())}
        if other._around is None and "CopySlices" in kinds:
            # The graph hides the functions that write into a view: again, without such writes.
            other._run_out_of_place()
        return other

    def with_rules(
        self, rules: Rules, layer: LayerLike = (), backward: Backward = gradients_of
    ) -> Probe:
        """A probe with another backward pass (see `seewhy.rules`).

        Scores and activations are the same; gradients follow the rules, at the layers named here,
        or else at the input.

        backward: how gradients are found, torch's own backward pass or a walk (`seewhy.core.walk`).

        Raises TypeError for scripted networks.
        """
        check_open(self._names)
        other = self._derived()
        other._target = self._target
        other._requests, other._origin = layer_requests(self.model, layer), None
        other._around, other._differentiate = lambda: applying(rules), backward
        return other if other._requests else other.expect("input")

    def _about(self, given: Inputs, target: Target) -> Probe:
        """A probe of other inputs at the same layers, also where this probe chooses them."""
        other = self._derived()
        other._given, other._target, other._settled = given, target, True
        if self._requests is None:
            other._origin = self
        return other

    def _parted(self, images: int) -> Inputs:
        """The arguments, as they can be cut or repeated for so many images.

        Other inputs with as many entries as there are images mostly have one for each. Where they
        do not (texts, with each of which each image is compared), the last image's score tells: by
        itself it is what it was with all of them, and not with the last.
        """
        if images == len(self.inputs) or not self._given.doubtful:
            return self._given
        last = len(self.inputs) - 1
        target = self.target.of_image(last, len(self.inputs))

        def change(paired: bool) -> float:
            given = replace(self._given, paired=paired).image(last)
            try:
                found = record(self.model, self._names, given, (), around=self._around)
                with casting(self._given.casts):
                    score = target(found.outputs)
                change = float((score - self.score[last:]).abs())
            except REFUSALS:  # networks have all kinds
                return math.inf
            return math.inf if math.isnan(change) else change

        self._given = replace(self._given, paired=change(True) <= change(False))
        return self._given

    def _derived(self) -> Probe:
        """The same question, not yet put: at the same layers about the same inputs and classes."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._clear()
        return other

    def __getstate__(self) -> dict[str, Any]:
        """What a copy takes over: the question. Answers lie in a graph, which has no copies."""
        return vars(self._derived())

    # ------------------------------------------------------------------ the pass

    def _record(self) -> Recording:
        if self._recording is None:
            self._run("input" if "input" in self._expected else "late")
        assert self._recording is not None
        return self._recording

    def _run(self, begin: Begin) -> None:
        self._score, self._gradients = None, {}
        requests: tuple[Request, ...] | None = self._resolved or self._requests
        looks = self._looks or "ending" in self._expected
        if requests is None and (self._origin is not None or not looks):
            requests = ()  # where the layers matter, they were resolved before
        with _naming_checkpoints():
            self._recording = record(
                self.model,
                self._names,
                self._given,
                requests,
                reads=self._expected,
                begin=begin,
                around=self._around,
            )
        if not self._settled:
            self._target = self._target.resolve(self._recording.outputs)
            self._settled = True

    def _score_by(self, target: Target, outputs: Any) -> Tensor:
        with graphs():
            try:
                with casting(self._given.casts):
                    found = target(outputs)
                return checked_scores(found, len(self.inputs))
            except ValueError:
                if target.of_classes:  # which may have failed for this reason
                    check_rows(target.read(outputs), len(self.inputs))
                raise

    def _asked(self, target: TargetLike) -> Target:
        """A target of these images."""
        found = as_target(target)
        check_count(found.named, len(self.inputs))
        return found

    # ------------------------------------------------------------------ its layers

    def _at(self, layer: str | Call | None) -> tuple[Probe, Call]:
        """The probe that answers for a layer, this one or another, and its call there."""
        calls = self.layer_calls
        if layer is None:
            if len(calls) != 1:
                raise ValueError(f"name one of the recorded layers {list(self.layers)}")
            return self, calls[0]
        if isinstance(layer, Call):
            if layer in calls:
                return self, layer
            layer = f"{layer.name}#{layer.number}"
        (request,) = layer_requests(self.model, layer) or ()
        for call, name in zip(calls, self.layers, strict=True):
            if layer == name or request in (call, (call.name, None)):
                return self, call
        # Asking for another layer does not change the question: it is asked by another probe.
        if request not in self._elsewhere:
            self._elsewhere[request] = self.with_layer(layer)
        return self._elsewhere[request]._at(None)

    def _found(self, request: Request) -> Call:
        """The call that was asked for: of several the last with maps on which the score depends."""
        name, number = request
        recorded = self._record().calls
        calls = [
            call
            for call, found in recorded.items()
            if call.name == name
            and number in (None, call.number)
            and images_first(found.tensor, self.scored)
        ]
        if not calls:
            self._missing(request)
        if len(calls) == 1:
            return calls[0]
        score, recorded = self.scored(), self._record().calls
        with_maps = [call for call in calls if recorded[call].layout] or calls
        gradients = self._differentiate(score, [recorded[call].tensor for call in with_maps])
        used = [c for c, gradient in zip(with_maps, gradients, strict=True) if gradient is not None]
        return (used or with_maps)[-1]

    def _check_order(self, tensor: Tensor) -> None:
        if len(self.inputs) > 1 and tensor.requires_grad:
            score, (node, _) = self.scored(), edge(tensor)
            self._differentiating(
                lambda: check_order(score, node, lambda one: gradients_of(one, [tensor])[0])
            )

    def _missing(self, request: Request) -> NoReturn:
        name, number = request
        counts = self._record().counts
        if number is not None and 0 < counts.get(name, 0) < number:
            raise ValueError(f"{name!r} was called {counts[name]} times in this pass, not {number}")
        raise self._without_layer(
            f"layer {name!r} handed out no tensor with one entry per image in this pass; "
            "was it run at all? Scripted networks hide their layers: explain the original module"
        )

    def _without_layer(self, problem: str) -> ValueError:
        """Of a network that takes its images one by one, no call is a layer of all of them."""
        return OneByOneError(problem) if len(self.inputs) > 1 else ValueError(problem)

    def _choose(self) -> Call:
        choice, recording = self._choice(), self._record()
        looked = recording.input is not None and recording.candidates
        # A tensor is an answer that is not asked for yet.
        sure = choice and choice.certain is not False and recording.knows(choice.layer)
        if not sure and not looked:
            # An earlier layer may be the right one, or the pass was of layers known before: look
            # again, at all of them.
            self._looks = True
            self._run("input")
            choice, recording = self._choice(), self._record()
        if choice is None:
            raise self._without_layer(
                "found no layer with maps on which the score depends: no module returned a tensor "
                "(B, K, h, w), (B, h, w, K) or the tokens of a grid of patches, or a detach() or "
                "inference_mode() cuts them off. Is the network compiled or scripted as a whole? "
                "Explain the original module, or use a method that works on the input's gradient"
            )
        if recording.parted:
            raise OneByOneError(
                "the last maps of the network are of a part of the images of this batch; explain "
                "them one by one, or name a layer"
            )
        self._check_order(choice.recorded.tensor)
        if isinstance(choice.certain, Tensor):
            self._confirmed = choice.certain
        call, self._vague = recording.public(choice.layer), not recording.whole
        if choice.recorded.intact:  # else it is recorded by name, which keeps it as it was
            recording.calls[call] = choice.recorded
            self._gradients[call] = choice.gradient
        return call

    def _choice(self) -> Choice | None:
        def run() -> Choice | None:
            score, candidates = self.scored(), self._record().candidates
            return choose(candidates, score, self._target.of_classes, self._trusts)

        return self._differentiating(run)

    def _recorded(self, call: Call) -> Recorded:
        recording = self._record()
        if call not in recording.calls:
            self._run("input" if recording.input is not None else "late")
            recording = self._record()
        if call not in recording.calls:
            self._missing(call)
        return recording.calls[call]

    def _layout(self, call: Call) -> Layout:
        recorded = self._recorded(call)
        if recorded.layout is None:
            raise ValueError(
                f"layer {call.shown(self._record().counts)!r} returned "
                f"{tuple(recorded.tensor.shape)}, which holds no maps; choose a layer that returns "
                "(B, K, h, w), (B, h, w, K) or the tokens of a grid of patches"
            )
        return recorded.layout

    # ------------------------------------------------------------------ its gradients

    def _gradient(self, call: Call | None) -> Tensor:
        """One backward pass for all that is asked for; None is the input."""
        if call not in self._gradients:
            wanted: list[Call | None] = [*(self._resolved or ())]
            if "input" in self._expected:
                wanted.append(None)
            gradients = self._backward(wanted)
            if any(gradient is None for gradient in gradients) and self._record().input is None:
                # The network may switch gradients off for a part of itself.
                self._run("input")
                gradients = self._backward(wanted)
            for found, gradient in zip(wanted, gradients, strict=True):
                if gradient is None:
                    where = (
                        f"layer {found.shown(self._record().counts)!r}" if found else "the input"
                    )
                    raise ValueError(
                        f"the score does not depend on {where} in a way that can be "
                        "differentiated: another branch, a detach() or a no_grad() lies between"
                    )
                self._gradients[found] = gradient
        return self._gradients[call]

    def _backward(self, wanted: Sequence[Call | None]) -> Sequence[Tensor | None]:
        def run() -> Sequence[Tensor | None]:
            score = self.scored()  # first, since it may need another pass
            tensors = [self._recorded(call).tensor for call in wanted if call]
            if None in wanted:
                image = self._record().input
                assert image is not None
                tensors.append(image)
            return self._differentiate(score, tensors)

        return self._differentiating(run)

    def _differentiating(self, run: Callable[[], Result]) -> Result:
        """A backward pass of what was recorded."""
        with _naming_checkpoints():
            try:
                return self._in_eval_mode(run)
            except RuntimeError as error:
                if self._around is not None or "by an inplace operation" not in str(error):
                    raise
            # The network has written over what its gradient needs: again, without such writes.
            self._run_out_of_place()
            return self._in_eval_mode(run)

    def _run_out_of_place(self) -> None:
        self._around = out_of_place_only
        self._run("input" if self._record().input is not None else "late")

    def _in_eval_mode(self, run: Callable[[], Result]) -> Result:
        """As the pass ran, of which checkpoints run parts again; without the caller's autocast."""

        def uncast() -> Result:
            set_casts({})
            return run()

        return undisturbed(self._names if in_training(self._names) else (), uncast)


def _answers_late(tensor: Tensor) -> bool:
    """Whether Python runs ahead of the tensor's device."""
    return tensor.device.type != "cpu"


@contextmanager
def _naming_checkpoints() -> Iterator[None]:
    """Say of an error that gradient checkpointing is its reason."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, CheckpointError):
            what = "which runs parts of it again without the rules of this method"
        elif "use_reentrant" in str(error):
            what = "which in its reentrant form allows no gradient of a layer"
        else:
            raise
        raise ValueError(
            f"the network uses gradient checkpointing, {what}; switch it off, or call "
            "checkpoint(..., use_reentrant=False) and use a method without rules"
        ) from error


def layers_of(model: nn.Module, inputs: InputsLike) -> tuple[Probe, Recording, list[str]]:
    """A probe, its pass, in which all layers with maps were seen, and the stages' names.

    The stages are the outputs at each resolution down to the chosen layer.
    """
    probe = Probe(model, inputs).expect("stages")
    names = [*probe.stages, *probe.layers]
    return probe, probe._record(), names


def _alike(found: Tensor, expected: Tensor) -> bool:
    """Whether two gradients are the same but for rounding, in the lowest precision too."""
    return bool((found - expected).abs().max() <= 0.05 * expected.abs().max())
