"""One recorded forward pass: the graph begins at the earliest layer asked for.

Before that layer nothing keeps a graph; after it, gradients are taken only with respect to the
recorded outputs, so that parameters never receive any. Each recorded output is handed on as a
copy: what follows in place (a ReLU, a `+=`) changes the copy, not the record.

Where no layer is named, each output with maps becomes a `Layer`, and a candidate once the graph has
begun; `choose` takes one of these. Of a network of convolutions only the last modules are watched.
If that shows to have been too few, or the graph to have begun too late, the network is run again.
"""

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.utils._pytree import tree_leaves

from seewhy.core.inputs import Inputs
from seewhy.core.layers import (
    Call,
    Layer,
    Layout,
    Reader,
    cells,
    first_tensor,
    is_convolutional,
    only_rearranges,
    public_call,
    stages_of,
    usual_layout,
    with_first_tensor,
)
from seewhy.core.observing import (
    Observer,
    graphs,
    is_scripted,
    running,
    undisturbed,
    watch_all,
)
from seewhy.core.replay import Trace
from seewhy.core.requests import Request
from seewhy.core.rows import made_from_rows
from seewhy.core.rules import Mode, WithoutParameters, edge, out_of_place_only, tensors
from seewhy.progress import report

# Where the graph begins while the layer is looked for: at the input, "late" (among the last modules
# that the network has, where the layer nearly always is), or nowhere.
Begin = Literal["input", "late", "nowhere"]
# What may be read of a pass beside the layers' maps: the input's gradient, the stages' maps, what
# max pools and strided convolutions return, the calls behind the layer, the layer's name, and the
# graph of the outputs' ending.
Read = Literal["input", "stages", "excitations", "tail", "name", "ending"]
# What says of what size, type or kind something is, but holds no image.
_SIZES = (int, float, str, torch.Size, torch.dtype, torch.device, type(None))
# What a network raises where it does not allow what is tried, after which something else is. What
# ends a run from outside, such as a timeout, is none of these.
REFUSALS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class Recorded:
    """A call's output within the graph, and how it holds maps; `version` as it was returned."""

    tensor: Tensor
    layout: Layout | None
    version: int

    @property
    def intact(self) -> bool:
        """Whether nothing has been written into the tensor since."""
        return self.tensor._version == self.version


@dataclass
class Recording:
    """What one forward pass left behind.

    names: the model's modules.
    calls: the recorded outputs of the layers that were asked for.
    candidates: where the pass was to look for the layer itself, the outputs in question, in order.
    seen: every output with maps, in order, where the pass was to look for the layer itself; unless
        it is `whole`, only those from the last learned modules on.
    parted: whether a module returned maps of a part of the images after the last of these.
    glimpses: those of them that may be stages, without a graph.
    excitations: what the first max pool or strided convolution took in, and what each returned,
        where asked for.
    counts: how often each module was called; unless it is `whole`, only of those in `counted` from
        the beginning.
    trace: the calls of torch functions behind the first recorded output, where asked for.
    """

    names: Mapping[nn.Module, str]
    outputs: Any = None
    input: Tensor | None = None
    calls: dict[Call, Recorded] = field(default_factory=dict)
    candidates: list[tuple[Layer, Recorded]] = field(default_factory=list)
    seen: list[Layer] = field(default_factory=list)
    parted: bool = False
    whole: bool = True
    counted: Collection[str] = ()
    glimpses: dict[Layer, Recorded] = field(default_factory=dict)
    excitations: list[Tensor] | None = None
    counts: dict[str, int] = field(default_factory=dict)
    trace: Trace | None = None

    @cached_property
    def stages(self) -> list[Layer]:
        """The output of each stage among what was seen, finest first."""
        return self._stages_of(self.seen)

    def stages_down_to(self, calls: Collection[Call]) -> list[Layer]:
        """Those on the way to the last of these calls: what ran after it is none of its stages."""
        own = [end for end, layer in enumerate(self.seen, 1) if {*calls} & {*layer.calls}]
        return self._stages_of(self.seen[: own[-1]]) if own else self.stages

    def _stages_of(self, layers: Sequence[Layer]) -> list[Layer]:
        return stages_of(layers, {name: type(module) for module, name in self.names.items()})

    def knows(self, layer: Layer) -> bool:
        """Whether the calls of its modules were counted from the beginning."""
        return self.whole or all(call.name in self.counted for call in layer.calls)

    def public(self, layer: Layer) -> Call:
        """The layer's usual name; unless the recording is `whole`, that of all around it."""
        tells = self.whole and len(layer.calls) > 1
        return public_call(layer, self.stages if tells else [])


def record(
    model: nn.Module,
    names: dict[nn.Module, str],
    inputs: Inputs,
    layers: Sequence[Request] | None,
    *,
    reads: Collection[Read] = (),
    begin: Begin = "late",
    around: Callable[[], AbstractContextManager[Any]] | None = None,
) -> Recording:
    """Run the model once, in eval mode, and record the outputs of `layers`.

    names: the model's modules with their names.
    inputs: left as they are.
    layers: the calls to record; None records all outputs that the layer may be chosen from
        afterwards.
    reads: what to keep beside them: the "stages", where the layer is to be chosen, "excitations",
        and the "tail", from the first recorded output on. For the "name" of a layer all outputs are
        looked at. Otherwise, of a network whose outputs need no others to be read, the last ones
        suffice, from which the layer is chosen; and where they do not, the network is run once
        more.
    begin: where the graph begins. Of layers that are named it is the first of these, or the input.
    around: a context manager in which to run the pass, such as a table of rules.
    """
    report()  # so that whatever runs the network often can be ended
    # Which of several inputs a call depends on is told by the graph that begins at the explained
    # one, if nothing else is part of it. Nobody needs to know where the calls are named, and that
    # is all.
    named_calls = layers is not None and all(number for _, number in layers)
    glimpse, excite = "stages" in reads, "excitations" in reads
    foreign = inputs.ambiguous and (glimpse or excite or not named_calls)
    if foreign:
        begin = "input"
    everywhere = layers is None and begin != "late"
    # Where nothing is to be recorded, nobody needs to watch.
    watches = layers is None or layers or glimpse or excite
    whole = "name" in reads or glimpse or excite or everywhere or not watches
    whole = whole or inputs.tensor.ndim == 3 or not _convolutional(names)
    recorder = _Recorder(
        names, inputs, layers, begin, glimpse=glimpse, foreign=foreign, whole=whole
    )
    recording = recorder.recording
    recording.excitations = [] if excite else None

    def run() -> None:
        with graphs(), torch.no_grad(), ExitStack() as stack:
            # A copy is a normal tensor also where the caller's is an inference tensor, and what
            # the model does to its input in place does not reach the caller's.
            image = inputs.tensor.clone()
            if begin == "input":
                recording.input = image.requires_grad_()
                torch.set_grad_enabled(True)
                image = image.clone()
            if any(issubclass(kind, _FUSING) for kind in {*map(type, names)}):
                stack.enter_context(Mode())
            if around is not None:
                stack.enter_context(around())
            elif foreign:
                stack.enter_context(WithoutParameters())
            if "tail" in reads:
                recording.trace = stack.enter_context(Trace())
            try:
                recording.outputs = inputs.run(model, image)
            except (RuntimeError, ValueError, IndexError) as error:
                with torch._C.DisableTorchFunction():  # what is looked up is no call of the network
                    reason = _reason(model, inputs.tensor, error)
                if reason is None:
                    raise
                raise ValueError(reason) from error

    observer: Observer | None = recorder.observe if watches else None
    watched: set[nn.Module] | None = None if watches and whole else recorder.watched
    if len(inputs.tensor) == 1 and inputs.tensor.device.type == "cpu":
        norms: set[nn.Module] = {one for one in names if isinstance(one, _NormBase)}
        observer = _with_right_gradients(norms, observer) if norms else observer
        if watched is not None and begin == "input":  # else no graph leads through those before
            watched = watched | norms
    try:
        undisturbed(names, run, observer, watched)
    except (RuntimeError, ValueError) as error:
        if around is not None or "being modified inplace" not in str(error):
            raise
        # It writes into a view where torch allows that only outside of a graph: again, without.
        around = out_of_place_only
    else:
        if recorder.crossing and begin == "input":
            recorder.leave_out_queries()
        late = (recorder.handed_through or recorder.crossing) and begin != "input"
        if not (late or recorder.doubtful):
            return recording
        begin = "input" if late else begin
        reads = {*reads, "name"}
    return record(model, names, inputs, layers, reads=reads, begin=begin, around=around)


def _reason(model: nn.Module, inputs: Tensor, error: Exception) -> str | None:
    """Why a network cannot take these inputs, where that is the user's to know."""
    weights = next(model.parameters(), inputs)
    said = str(error).rstrip(".")  # a sentence of torch's, which goes on here
    shape = tuple(inputs.shape)
    if any(parameter.is_meta for parameter in model.parameters()):
        return (
            f"weights of the model are on the device 'meta', where they hold no values: {said}; "
            "load them first, as in model.to_empty(device='cpu') and model.load_state_dict(...)"
        )
    if "Inference tensors" in str(error):
        return (
            f"weights of the model were made inside torch.inference_mode(): {said}; make or load "
            "the model outside of it, or under torch.no_grad()"
        )
    if weights.device != inputs.device:
        return (
            f"inputs are on {inputs.device} and the model is on {weights.device}: {said}; move "
            "one of them, as in inputs.to(device)"
        )
    if weights.dtype != inputs.dtype and weights.is_floating_point():
        return (
            f"inputs are {inputs.dtype} and the model's weights {weights.dtype}: {said}; convert "
            "one of them, as in inputs.to(dtype)"
        )
    if inputs.ndim == 3:
        return (
            f"the network failed on inputs of shape {shape}, which count as (B, C, L): {said}; "
            "a single image is inputs[None], of shape (B, C, H, W)"
        )
    if inputs.ndim == 4 and shape[3] in (1, 3, 4) and shape[1] not in (1, 3, 4):
        return (
            f"the network failed on inputs of shape {shape}, which count as (B, C, H, W): {said}; "
            "if the channels are last, give inputs.permute(0, 3, 1, 2)"
        )
    takes = re.search(re.escape(f"input{list(shape)}") + r" to have (\d+) channels", str(error))
    if takes:
        return (
            f"the network takes {takes[1]} channels, and inputs of shape {shape} have {shape[1]}: "
            f"give them as (B, {takes[1]}, ...)"
        )
    return None


def _with_right_gradients(norms: set[nn.Module], observer: Observer | None) -> Observer:
    """The observer, which also lays out in memory what comes back to batch and instance norms.

    On a CPU (PyTorch 2.13) these return a wrong gradient of a single image if the one that comes
    back to them lies channel by channel, as it does behind tokens, (1, h · w, C).
    """

    def observe(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        if module in norms and isinstance(output, Tensor):
            with torch._C.DisableTorchFunction():
                if output.requires_grad:
                    output.register_hook(_laid_out)  # type: ignore[no-untyped-call]
        return None if observer is None else observer(module, args, kwargs, output)

    return observe


def _laid_out(gradient: Tensor | None) -> Tensor | None:
    """The gradient, if there is one: behind what cannot be differentiated it is undefined."""
    return None if gradient is None else gradient.contiguous()


# Outside of training these take a shortcut through one fused function, whose parts nobody sees,
# unless a mode watches.
_FUSING = (nn.TransformerEncoderLayer, nn.MultiheadAttention)


class _Recorder:
    def __init__(
        self,
        names: dict[nn.Module, str],
        inputs: Inputs,
        layers: Sequence[Request] | None,
        begin: Begin,
        *,
        glimpse: bool,
        foreign: bool,
        whole: bool,
    ) -> None:
        self.names = names
        self.layers = None if layers is None else frozenset(layers)
        self.looks = layers is None or glimpse
        # Where the layers are named, nothing is recorded but these.
        self.begun = begin == "input" and layers is None
        self.late = _last(names) if begin == "late" and layers is None else set()
        # Before the first call of one of these nothing is looked at.
        asked = {name for name, _ in layers or ()}
        self.ahead = set() if whole else self.late or _leading(names, asked)
        self.watched = set() if whole else _around(names, self.ahead)
        counted = {names[module] for module in self.watched}
        self.recording = Recording(names, whole=whole, counted=counted)
        self.counts = self.recording.counts
        self.glimpse, self.foreign = glimpse, foreign
        self.batch, self.dims = len(inputs.tensor), inputs.tensor.ndim
        self.reader = Reader(inputs.tensor.shape[2:], inputs.words, inputs.tensor.shape[1])
        self.lowest = math.inf
        # Of the network's own numbers alone; kept, so that their ids stay theirs.
        self.computed: list[Tensor] = []
        # What was handed on last: the tensor, where its numbers are, and its version then.
        self.last = (torch.empty(0), 0, 0)
        self.handed_through = False
        # Whether an output was met that those before it may have told how to read.
        self.doubtful = False
        # Whether a module was given several rows of tokens: some may be the queries of a decoder.
        self.crossing = False
        # What made the tokens of each layer, if anything in the graph did; and where the graph
        # begins again behind a no_grad().
        self.makers: dict[Layer, Any] = {}
        self.again: list[Tensor] = []

    def observe(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        """See one module's output; return what to hand on in its place, if anything."""
        name = self.names.get(module)
        if not name:
            return None
        number = self.counts[name] = self.counts.get(name, 0) + 1
        if self.ahead:
            if module not in self.ahead:
                self._pass(module, output)
                return None
            self.ahead = set()
            watch_all()
            # A call that is under way unwatched, of a module that the network keeps out of sight
            # where it is used, is seen by nobody when it ends.
            unseen = (self.names.get(one) and one not in self.watched for one in running())
            self.doubtful |= bool(self.late) and any(unseen)
        if not self.begun and module in self.late:
            self.begun = True
        tensor = output if type(output) is Tensor else first_tensor(output)
        if tensor is None:
            return None
        with torch._C.DisableTorchFunction():  # what is looked up here is no call of the network
            return self._see(Call(name, number), module, args, kwargs, output, tensor)

    def _pass(self, module: nn.Module, output: Any) -> None:
        """Learn the grid of what is not looked at."""
        known = module in self.watched and is_convolutional(type(module))  # type: ignore[arg-type]
        if known and type(output) is Tensor and output.shape[:1] == (self.batch,):
            layout = self.reader.read(module, output.shape)
            if layout is not None and 1 < cells(layout.grid) < self.lowest:
                self.lowest = cells(layout.grid)

    def _see(
        self, call: Call, module: nn.Module, args: Any, kwargs: Any, output: Any, tensor: Tensor
    ) -> Any:
        shape = tensor.shape
        if not shape or shape[0] != self.batch or not tensor.is_floating_point():
            self.recording.parted |= self._is_part(tensor, args, kwargs)
            return None
        if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
            return None  # of a part under torch.vmap, whose tensors end with it
        taken = first_tensor(args)
        # As positions are, and a batch of one may have the length of a table of relative ones.
        if self._constant(tensor, taken, args, kwargs):
            return None
        if taken is not None:
            self.reader.see_patches(module, taken)
        layout = self.reader.read(module, shape)
        if self.foreign and not tensor.requires_grad:
            return None  # it depends on other inputs only
        excitations = self.recording.excitations
        if excitations is not None and _lowers(module):
            if not excitations and taken is not None:
                excitations.append(taken.detach().clone())
            excitations.append(tensor.detach().clone())
        given = tensor is taken or _among(tensor, args) or _among(tensor, kwargs.values())
        wanted = self.layers and (call in self.layers or (call.name, None) in self.layers)
        # What a whole backbone returns under several names is no further layer.
        looks = self.looks and (output is tensor or not isinstance(output, Mapping))
        looks = looks and not tensor.is_inference()  # which has no part in a graph
        if wanted or looks:
            self.doubtful |= self._unsure(layout, shape)
        if looks and not self.crossing and layout is not None and layout.kind == "tokens":
            rows = {id(one) for one in (*args, *kwargs.values()) if self._is_rows(one)}
            self.crossing = len(rows) > 1
        handed = tensor
        if wanted:
            kept, handed = self._keep(module, tensor, given)
            usual = layout or usual_layout(tensor, len(self.reader.image))
            self.recording.calls[call] = Recorded(kept, usual, kept._version)
        if looks and layout is not None and cells(layout.grid) > 1:
            handed = self._consider(call, module, handed, given, layout)
        return None if handed is tensor else with_first_tensor(output, handed)

    def _is_part(self, tensor: Tensor, args: Any, kwargs: Any) -> bool:
        """Whether these are maps of some of the images, and not of the network's own numbers."""
        shape, taken = tensor.shape, first_tensor(args)
        fewer = tensor.ndim == self.dims and 0 < shape[0] < self.batch and cells(shape[2:]) > 1
        if not fewer or taken is None or not tensor.is_floating_point():
            return False
        return not self._constant(tensor, taken, args, kwargs)

    def _is_rows(self, value: Any) -> bool:
        return isinstance(value, Tensor) and value.ndim == 3 and len(value) == self.batch

    def leave_out_queries(self) -> None:
        """Forget the layers whose tokens are queries: as many as patches, perhaps, but made anew.

        Rows of patches are, step by step, made from the same rows of what was there before.
        """
        recording = self.recording
        assert recording.input is not None
        starts = [edge(start)[0] for start in (recording.input, *self.again)]
        found = made_from_rows(starts, self.makers.values())
        queries = {layer for layer, node in self.makers.items() if node not in found}
        recording.seen = [layer for layer in recording.seen if layer not in queries]
        recording.candidates = [one for one in recording.candidates if one[0] not in queries]
        for layer in queries & recording.glimpses.keys():
            del recording.glimpses[layer]

    def _unsure(self, layout: Layout | None, shape: tuple[int, ...]) -> bool:
        """Whether earlier outputs, of which none was looked at, may tell how to read this one."""
        if self.recording.whole:
            return False
        if layout is None:
            return len(shape) == 3 or (len(shape) == self.dims and cells(shape[2:]) > 1)
        return layout.guessed or layout.kind == "tokens"

    @cached_property
    def constants(self) -> set[int]:
        """The ids of what the network keeps, and of what modules computed from that alone."""
        kept = [one._buffers.values() for one in self.names if not isinstance(one, _NormBase)]
        return {id(buffer) for buffers in kept for buffer in buffers}

    def _constant(self, output: Tensor, first: Tensor | None, args: Any, kwargs: Any) -> bool:
        """Whether a module was given nothing but the network's own numbers, or sizes."""
        if first is None:
            values = tree_leaves((args, kwargs))
            constant = bool(values) and all(isinstance(one, _SIZES) for one in values)
        else:  # which nearly always answers it
            constant = self._known(first) and all(map(self._known, tensors((args, kwargs))))
        if constant:
            self.constants.add(id(output))
            self.computed.append(output)
        return constant

    def _known(self, tensor: Tensor) -> bool:
        """Whether it is the network's own, a view of that, or computed from that alone."""
        whole = tensor if tensor._base is None else tensor._base
        own = issubclass(type(whole), nn.Parameter)
        return own or not self.constants.isdisjoint((id(whole), id(tensor)))

    def _keep(self, module: nn.Module, tensor: Tensor, given: bool) -> tuple[Tensor, Tensor]:
        """The tensor as part of the graph, or the start of it, and what to hand on.

        given: whether the module handed out the very tensor that it was given.
        """
        again = not torch.is_grad_enabled()
        torch.set_grad_enabled(True)
        if tensor.requires_grad:
            with torch._C._EnableTorchFunction():  # for those who trace what the network does
                return tensor, tensor.clone()
        if tensor.is_inference():
            raise ValueError(
                f"layer {self.names[module]!r} ran inside torch.inference_mode(), so nothing can "
                "be differentiated from there on; let the network's forward use torch.no_grad() "
                "instead, or neither"
            )
        written = given and _writes(module) and not tensor._is_view()
        # Others may have read it before: the graph would begin too late for them. But who reads it
        # from now on reads what the module wrote into it.
        self.handed_through |= given and not written
        kept = tensor.detach()
        kept = (kept.clone() if written else kept).requires_grad_()
        if again:
            self.again.append(kept)
        with torch._C._EnableTorchFunction():
            return kept, tensor.copy_(kept) if written else kept.clone()

    def _consider(
        self, call: Call, module: nn.Module, tensor: Tensor, given: bool, layout: Layout
    ) -> Tensor:
        """See an output with maps; once the graph has begun, record it as a candidate.

        Returns what is to be handed on. It may be no layer of its own: what the module before
        handed on under another shape or name, or what the module was given.
        """
        last, where, version = self.last
        # The same numbers, or a view of them: dropout in eval mode, a permutation.
        same = where == tensor.data_ptr() and version == tensor._version
        same = same and last.numel() == tensor.numel()
        if same and tensor.shape == last.shape:
            # A module around the last one: one layer, two names.
            layer = self.recording.seen[-1]
            layer.calls.append(call)
            if layer.calls[0].name.startswith(f"{call.name}."):
                layer.outer = module
            return tensor
        if (same and only_rearranges(module)) or (given and not _writes(module)):
            return tensor  # an earlier output, or none of a module
        lower = cells(layout.grid) < self.lowest
        pooled = lower and only_rearranges(module)
        made = torch._C._autograd._get_sequence_nr()
        layer = Layer([call], module, layout, pooled, made)
        self.recording.seen.append(layer)
        self.recording.parted = False
        if layout.kind == "tokens" and (tensor.requires_grad or torch.is_grad_enabled()):
            self.makers[layer] = tensor.grad_fn
        self._hand_on(tensor)
        if pooled:
            return tensor
        if lower:
            self.lowest = cells(layout.grid)
        kept = handed = tensor
        if self.begun:
            # A view may be written through, and what has no graph begins one here.
            if tensor._is_view() or not tensor.requires_grad:
                kept, handed = self._keep(module, tensor, given)
                self._hand_on(handed)
            self.recording.candidates.append((layer, Recorded(kept, layout, kept._version)))
        if self.glimpse:
            self._glimpse(layer, Recorded(kept.detach(), layout, kept._version))
        return handed

    def _hand_on(self, tensor: Tensor) -> None:
        self.last = (tensor, tensor.data_ptr(), tensor._version)

    def _glimpse(self, layer: Layer, recorded: Recorded) -> None:
        """Keep a tensor until a later one of its block, or of one around it, has its resolution."""
        inside = layer.calls[0].name.rpartition(".")[0]
        around = f"{inside}." if inside else ""
        glimpses = self.recording.glimpses
        grid = layer.layout.grid
        for other in [*glimpses]:
            if other.layout.grid == grid and other.calls[0].name.startswith(around):
                del glimpses[other]
        glimpses[layer] = recorded


def _last(names: Mapping[nn.Module, str]) -> set[nn.Module]:
    """The last modules with weights: a quarter of them, 4 at least and 16 at most."""
    learned = [module for module in names if module._parameters]
    return set(learned[-min(16, max(4, len(learned) // 4)) :])


def _leading(names: Mapping[nn.Module, str], asked: Collection[str]) -> set[nn.Module]:
    """Those that are asked for, and the last modules with weights inside, or else all beside."""
    learned = {name: module for module, name in names.items() if module._parameters}
    found = {module for module, name in names.items() if name in asked}
    for name in asked:
        own = [module for of, module in learned.items() if f"{of}.".startswith(f"{name}.")]
        around = name.rpartition(".")[0]
        beside = [module for of, module in learned.items() if of.startswith(around)]
        found.update(own[-4:] or beside)
    return found


def _around(names: Mapping[nn.Module, str], inner: Collection[nn.Module]) -> set[nn.Module]:
    """The modules to watch from the beginning, so that all from these `inner` ones on is known.

    They, all that they lie in, and what has learned nothing there; and to know the resolutions, the
    four learned modules before, and those that lower or raise one.
    """
    weights = [module for module in names if module._parameters]
    learned: set[nn.Module | None] = {*weights}
    parents: dict[nn.Module | None, list[nn.Module]] = {}
    # What lies in a module mostly is defined after it.
    for module in reversed([module for module in names if module._modules]):
        inside = module._modules.values()
        for child in inside:
            parents.setdefault(child, []).append(module)
        if not learned.isdisjoint(inside):
            learned.add(module)
    around: set[nn.Module] = set()
    left = [*inner]
    while left:
        module = left.pop()
        if module not in around:
            around.add(module)
            left += parents.get(module, [])
    left = [*around]
    while left:
        bare = names.keys() & left.pop()._modules.values()
        bare = bare - learned - around
        around |= bare
        left += bare
    first = next((index for index, module in enumerate(weights) if module in inner), 0)
    strided = (module for module in names if module.__dict__.get("stride", 1) not in _ONES)
    return around.union(weights[max(0, first - 4) : first], strided)


_ONES = (1, (1,), (1, 1), (1, 1, 1))


def _convolutional(names: Iterable[nn.Module]) -> bool:
    """Whether all that the network has learned is in convolutions, norms and linear layers.

    Their type then says how an output is read, or the resolution that the one before it had.
    Scripted modules, which can have no hooks, are no convolutions.
    """
    kinds: set[Any] = {
        type(module)
        for module in names
        if module._parameters or module._buffers or is_scripted(module)
    }
    return all(map(is_convolutional, kinds))


def _lowers(module: nn.Module) -> bool:
    """Whether the module is a max pool or a convolution with a stride."""
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return max(module.stride) > 1
    return isinstance(module, nn.MaxPool1d | nn.MaxPool2d | nn.MaxPool3d)


def _among(tensor: Tensor, values: Iterable[Any]) -> bool:
    return id(tensor) in map(id, values)  # `in` would compare their numbers


def _writes(module: nn.Module) -> bool:
    """Whether the module, in eval mode, writes into what it is given."""
    return getattr(module, "inplace", False) and not isinstance(module, _DropoutNd)
