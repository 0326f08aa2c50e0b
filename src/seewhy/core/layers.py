"""Layers: calls of modules, and how their outputs are read as maps.

A layer is a *call*: a module that is called three times is three layers. What holds maps, and in
which order of dimensions, is told by the module's type, by the grids seen so far in the same pass,
and only where neither knows by the image's proportions; never by a table of names.
"""

import copy
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules import batchnorm, conv, padding, pooling

_MAX_PREFIX_TOKENS = 16  # class, distillation and register tokens before the patches

Grid = tuple[int, ...]
# How many cells a grid has. Asked of every output of a network, so remembered.
cells: Callable[[Grid], int] = lru_cache(maxsize=1024)(math.prod)


class Call(NamedTuple):
    """The call of that number, counted from 1, of the module of that name."""

    name: str
    number: int = 1

    def shown(self, counts: Mapping[str, int]) -> str:
        """The module's name where it was called once in a pass, else such as `relu#2`."""
        return self.name if counts.get(self.name, 1) == 1 else f"{self.name}#{self.number}"


class Layout(NamedTuple):
    """How an output holds its maps.

    kind: "channels_first" (B, K, h, w), "channels_last" (B, h, w, K), or "tokens"
        (B, prefix + h·w, K). Of signals and volumes the grid has one or three sides.
    guessed: whether nothing but the image's proportions told channels first from channels last, or
        nothing but their number which rows are the patches.
    """

    kind: Literal["channels_first", "channels_last", "tokens"]
    grid: Grid
    channels: int
    prefix: int = 0
    guessed: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an image's output."""
        if self.kind == "channels_first":
            return (self.channels, *self.grid)
        if self.kind == "channels_last":
            return (*self.grid, self.channels)
        return (self.prefix + cells(self.grid), self.channels)

    def to_maps(self, output: Tensor) -> Tensor:
        """The output as maps (B, K, h, w); class and register tokens are left out."""
        if self.kind == "channels_first":
            return output
        if self.kind == "channels_last":
            return output.movedim(-1, 1)
        patches = output[:, self.prefix :].transpose(1, 2)
        return patches.reshape(len(output), self.channels, *self.grid)

    def with_maps(self, output: Tensor, maps: Tensor) -> Tensor:
        """The output with other maps (B, K, h, w) in it; its class and register tokens stay."""
        if self.kind == "channels_first":
            return maps
        if self.kind == "channels_last":
            return maps.movedim(1, -1)
        return torch.cat([output[:, : self.prefix], maps.flatten(2).transpose(1, 2)], dim=1)


# Modules whose outputs are channels first, by their definition.
_CHANNELS_FIRST: tuple[type[nn.Module], ...] = (
    conv._ConvNd,
    batchnorm._NormBase,
    nn.GroupNorm,
    nn.LocalResponseNorm,
    pooling._MaxPoolNd,
    pooling._AvgPoolNd,
    pooling._LPPoolNd,
    pooling._AdaptiveMaxPoolNd,
    pooling._AdaptiveAvgPoolNd,
    nn.FractionalMaxPool2d,
    nn.FractionalMaxPool3d,
    nn.Upsample,
    nn.PixelShuffle,
    nn.PixelUnshuffle,
    nn.ChannelShuffle,
    nn.Dropout2d,
    nn.Dropout3d,
    padding._ConstantPadNd,
    padding._ReflectionPadNd,
    padding._ReplicationPadNd,
)
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_LINEAR = {nn.Identity, nn.Dropout, nn.ModuleDict, nn.ModuleList, nn.ParameterDict, nn.Sequential}
# And those that work on the last dimension. Their subclasses may do otherwise (LayerNorm2d).
_FEATURES_LAST: frozenset[type[nn.Module]] = frozenset(
    (nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.MultiheadAttention, nn.LSTM, nn.GRU, nn.RNN)
)


@lru_cache(maxsize=1024)
def _is_channels_first(kind: Any) -> bool:
    return issubclass(kind, _CHANNELS_FIRST)


@lru_cache(maxsize=1024)
def is_convolutional(kind: Any) -> bool:
    """Whether modules of this type occur in networks of convolutions, and tell what they return."""
    return kind is nn.Linear or _is_channels_first(kind)


class Reader:
    """Reads the outputs of one pass as maps, from the grids that it has seen so far."""

    def __init__(
        self, image: Sequence[int], words: Collection[int] = (), channels: int = 0
    ) -> None:
        """Take the sides of the explained input, (L,), (H, W) or (D, H, W).

        words: the lengths of texts that the network is given: such rows of tokens are words.
        channels: of the explained input.
        """
        self.image, self._words = tuple(image), words
        self._dims = len(self.image) + 2
        # Whether the order of its rows was guessed, by grid; the last one seen comes last.
        self._grids: dict[Grid, bool] = {}
        self._latest: Grid | None = None
        self._channels = channels
        self._rows: dict[int, tuple[Grid, int]] = {}  # number of tokens -> grid, fewest features
        # What is channels first for certain, which nothing that is seen later changes.
        self._certain: dict[tuple[type[nn.Module], Sequence[int]], Layout] = {}

    def read(self, module: nn.Module, shape: Sequence[int]) -> Layout | None:
        """How a module's output of this shape, (B, ...), holds maps; None where it holds none."""
        if type(module) is nn.Unfold:  # patches in columns
            return None
        layout = self._certain.get((type(module), shape))
        if layout is not None and layout.grid == self._latest:
            return layout
        layout = self._maps(module, shape) if len(shape) == self._dims else None
        if layout is None and len(shape) == 3:  # as maps of signals have, too
            layout = self._tokens(module, shape)
        if layout is not None and (layout.kind == "tokens" or not layout.guessed):
            if layout.kind == "channels_first":
                self._certain[type(module), shape] = layout
            if cells(layout.grid) > 1:
                self._see(layout, shape)
        return layout

    def see_patches(self, module: nn.Module, given: Any) -> None:
        """Learn the grid from what a module takes, where the network cuts patches by itself."""
        if not isinstance(given, Tensor) or len(self.image) == 1:
            return
        grid: Grid | None = None
        if isinstance(module, nn.Unfold) and given.ndim == 4:
            grid = _unfolded(module, given.shape[2:])
        elif given.ndim == 3 and given.shape[1] not in self._rows:
            grid = self._cut(given.shape)
        if grid is not None:
            self._grids.setdefault(grid, False)
            self._latest = None

    def _cut(self, shape: Sequence[int]) -> Grid | None:
        """The grid of rows (B, N, F) that hold q x q pixels each, or 2 x 2 of the patches seen.

        All numbers of these places are still there: so patches are cut, and so they are merged.
        """
        _, tokens, features = shape
        for grid, channels in (*reversed(self._rows.values()), (self.image, self._channels)):
            times = round((features / channels) ** (1 / len(grid))) if channels else 0
            cut = _merged(grid, times) if times > 1 else ()
            alike = features == channels * times ** len(grid) and tokens == math.prod(cut) > 1
            if alike and (times == 2 or grid == self.image):
                return cut
        return None

    def _see(self, layout: Layout, shape: Sequence[int]) -> None:
        if layout.kind == "tokens":
            _, fewest = self._rows.pop(shape[1], ((), layout.channels))
            self._rows[shape[1]] = (layout.grid, min(fewest, layout.channels))
        elif layout.grid != self._latest:
            self._grids.pop(layout.grid, None)
            self._grids[layout.grid] = False
            self._latest = layout.grid

    def _maps(self, module: nn.Module, shape: Sequence[int]) -> Layout | None:
        first = Layout("channels_first", tuple(shape[2:]), shape[1])
        if _is_channels_first(type(module)):  # type: ignore[arg-type]
            return first
        features_last = type(module) in _FEATURES_LAST
        if not features_last and first.grid in self._grids:
            return first
        last = Layout("channels_last", tuple(shape[1:-1]), shape[-1])
        if last.grid in self._known() and (features_last or first.grid != last.grid):
            return last
        if len(self.image) == 1:
            rows = self._rows.get(shape[1], ((), 0))[1] == shape[2]
            return None if features_last or rows else first._replace(guessed=True)
        if shape[-1] == shape[-2] in self._rows:
            return None  # attention weights between tokens
        if self._rows.get(shape[-2], ((), 0))[1] == shape[1] * shape[-1]:
            return None  # tokens of several heads, (B, heads, N, features)
        options = [last] if features_last else [first, last]
        fitting = [option for option in options if _fits(option.grid, self.image)]
        if not fitting:
            return None
        best = min(fitting, key=lambda option: _stretch(option.grid, self.image))
        return best._replace(guessed=not features_last)

    def _known(self) -> set[Grid]:
        """The grids seen, and half of each: patches are merged without a convolution.

        Those of a video often in each frame alone.
        """
        known = {*self._grids, *map(_merged, self._grids)}
        if len(self.image) == 3:
            known |= {(grid[0], *_merged(grid[1:])) for grid in self._grids}
        return known

    def _tokens(self, module: nn.Module, shape: Sequence[int]) -> Layout | None:
        """A row of tokens whose number is that of a grid seen, behind up to 16 more tokens."""
        _, tokens, channels = shape
        if tokens in self._words:
            return None
        for grid, guessed in reversed(self._grids.items()):
            prefix = tokens - math.prod(grid)
            if 0 <= prefix <= _MAX_PREFIX_TOKENS and math.prod(grid) > 1:
                return Layout("tokens", grid, channels, prefix, guessed)
        if len(self.image) > 1 and (cut := self._cut(shape)):
            self._grids[cut] = False
            self._latest = None
            return Layout("tokens", cut, channels)
        # A quarter of the rows: every second one each way was taken, or four became one. Whether
        # these were neighbours nobody can tell: Hiera has an order of its own until its last stage.
        for grid, features in reversed(self._rows.values()):
            half = _merged(grid)
            taken = only_rearranges(module)
            if tokens == math.prod(half) > 1 and (taken or channels == 2 * features):
                self._grids[half] = guessed = not taken or self._grids.get(grid, False)
                self._latest = None
                return Layout("tokens", half, channels, guessed=guessed)
        return None


def _merged(grid: Grid, times: int = 2) -> Grid:
    """The grid of patches that so many cells of this one make each way."""
    return tuple(-(-side // times) for side in grid)


def _unfolded(module: nn.Unfold, sides: Sequence[int]) -> Grid:
    """The grid of patches that a module cuts from an image."""
    options = (module.kernel_size, module.dilation, module.padding, module.stride)
    each = zip(sides, *(2 * (o,) if isinstance(o, int) else o for o in options), strict=True)
    return tuple((n + 2 * pad - d * (k - 1) - 1) // step + 1 for n, k, d, pad, step in each)


def usual_layout(output: Tensor, sides: int) -> Layout | None:
    """How a layer that was asked for by name is read where nothing tells: channels first."""
    if output.ndim < 3 or (output.ndim == 3 and sides > 1):
        return None
    return Layout("channels_first", tuple(output.shape[2:]), output.shape[1], guessed=True)


def _stretch(grid: Grid, image: Grid) -> float:
    """How far the grid's proportions are from the image's: 0 is equal."""
    ratios = [math.log(side / whole) for side, whole in zip(grid, image, strict=True)]
    return max(ratios) - min(ratios)


def _fits(grid: Grid, image: Grid) -> bool:
    """Whether the grid can be the image at a lower resolution."""
    if min(grid) < 2 or any(side > whole for side, whole in zip(grid, image, strict=True)):
        return False
    # A side of n cells may have been padded or cropped by up to two cells on the way.
    return _stretch(grid, image) <= math.log((min(grid) + 2) / min(grid))


@dataclass(eq=False, slots=True)
class Layer:
    """A call whose output holds maps: a candidate for explanations.

    `calls` are all that hand out this very tensor, innermost module first; `outer` is the outermost
    of these modules around that one. `pooled` marks the output of a module without parameters that
    lowered the resolution. `made` is autograd's own count of functions when the output was there.
    """

    calls: list[Call]
    module: nn.Module
    layout: Layout
    pooled: bool = False
    made: int = 0
    outer: nn.Module | None = None

    @property
    def grid(self) -> Grid:
        """Resolution (h, w)."""
        return self.layout.grid

    @property
    def kind(self) -> str:
        """The innermost module's type."""
        return type(self.module).__name__

    @property
    def projects(self) -> bool:
        """Whether it is a linear map of each token by itself, as inside of attention.

        All of the outermost module counts: a block may end with a module that projects and adds, as
        VideoMAE's do.
        """
        if self.layout.kind == "channels_first":
            return False
        whole = self.outer or self.module
        # Nearly all end at one of their first parts.
        linear = all(map(_is_linear, whole.modules()))
        return linear and any(type(part) is nn.Linear for part in whole.modules())


def _is_linear(module: nn.Module) -> bool:
    """Whether what a module does, but for its children, is linear for each token by itself."""
    if module._parameters:
        return type(module) in (nn.Linear, nn.BatchNorm1d)
    return bool(module._modules) or type(module) in _LINEAR


def only_rearranges(module: nn.Module) -> bool:
    """Whether the module can only rearrange or reduce: it has neither children nor parameters."""
    return not module._modules and not module._parameters


def stages_of(layers: Sequence[Layer], kinds: Mapping[str, type[nn.Module]]) -> list[Layer]:
    """The output of each stage on the way down in resolution, finest first.

    That is the last output at each resolution; but what a block computes before it lowers the
    resolution (the first convolution in a `layer4`) belongs to the next stage. A block in which all
    of them lie is the network itself. Pooled outputs are left out, being the next stage's input. A
    rise in resolution (a decoder) starts no stage.

    kinds: the types of the modules, by name; mere containers are no blocks.
    """
    parents = [layer.calls[0].name.rpartition(".")[0] for layer in layers]
    blocks = {parent: _blocks(parent, kinds) for parent in set(parents)}
    network = set.intersection(*map(set, blocks.values())) if blocks else set()
    resolutions: dict[str, set[Grid]] = {}
    for parent, grid in {*zip(parents, (layer.layout.grid for layer in layers), strict=True)}:
        for block in blocks[parent]:
            resolutions.setdefault(block, set()).add(grid)
    # The resolution that a block lowers to its other one.
    lowered = {
        block: max(grids, key=cells)
        for block, grids in resolutions.items()
        if len(grids) == 2 and block not in network
    }
    found: dict[Grid, Layer] = {}
    coarsest = math.inf
    for parent, layer in zip(parents, layers, strict=True):
        grid = layer.layout.grid
        # What a block computes before it lowers the resolution, which ends in another stage.
        leaving = bool(lowered) and any(lowered.get(block) == grid for block in blocks[parent])
        rising = coarsest < cells(grid) and grid not in found  # a decoder
        if not (layer.pooled or leaving or rising):
            found[grid] = layer  # in place of earlier outputs of the stage
            coarsest = min(coarsest, cells(grid))
    return list(found.values())


def _blocks(name: str, kinds: Mapping[str, type[nn.Module]]) -> list[str]:
    """A module and those around it, other than mere containers."""
    parts = name.split(".") if name else []
    around = (".".join(parts[: end + 1]) for end in range(len(parts)))
    return [one for one in around if kinds[one] not in _CONTAINERS]


def public_call(layer: Layer, stages: Sequence[Layer]) -> Call:
    """The layer's usual name: its outermost module that is not several stages.

    `layer4` rather than `layer4.2.relu`, but `features.18` rather than `features`.
    """
    innermost = layer.calls[0].name
    others = [call.name for stage in stages if stage is not layer for call in stage.calls]
    around = [
        call
        for call in layer.calls[1:]
        if innermost.startswith(f"{call.name}.")
        and not any(name.startswith(f"{call.name}.") for name in others)
    ]
    return around[-1] if around else layer.calls[0]


def first_tensor(output: Any) -> Tensor | None:
    """The tensor in a module's output: itself, or the first of a tuple, list or mapping."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        output = tuple(output.values())
    if isinstance(output, tuple | list) and output and isinstance(output[0], Tensor):
        return output[0]
    return None


def with_first_tensor(output: Any, tensor: Tensor) -> Any:
    """The module's output with its first tensor replaced."""
    if isinstance(output, Tensor):
        return tensor
    if isinstance(output, Mapping):
        other = copy.copy(output)
        other[next(iter(output))] = tensor  # type: ignore[index]
        return other
    rest = [tensor, *output[1:]]
    return type(output)(*rest) if hasattr(output, "_fields") else type(output)(rest)
