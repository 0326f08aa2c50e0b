"""Layers: reading a module's output as maps, and choosing the layer to explain.

The choice is made by what a recorded pass shows, never by a table of names: where the resolution
changes, which outputs are mere pooling, and whether the score depends on the maps at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

_MAX_PREFIX_TOKENS = 16  # class, distillation and register tokens before the patches


@dataclass(frozen=True)
class Layout:
    """How an output holds its maps: "NCHW", "NHWC" (Swin) or "tokens" (B, prefix + h·w, K)."""

    kind: Literal["NCHW", "NHWC", "tokens"]
    grid: tuple[int, int]
    channels: int
    prefix: int = 0

    def to_maps(self, output: Tensor) -> Tensor:
        """The output as maps (B, K, h, w); class and register tokens are left out."""
        if self.kind == "NCHW":
            return output
        if self.kind == "NHWC":
            return output.permute(0, 3, 1, 2)
        patches = output[:, self.prefix :].transpose(1, 2)
        return patches.reshape(len(output), self.channels, *self.grid)

    def with_maps(self, output: Tensor, maps: Tensor) -> Tensor:
        """The output with other maps (B, K, h, w) in it; its class and register tokens stay."""
        if self.kind == "NCHW":
            return maps
        if self.kind == "NHWC":
            return maps.permute(0, 2, 3, 1)
        return torch.cat([output[:, : self.prefix], maps.flatten(2).transpose(1, 2)], dim=1)


def layout_of(
    shape: Sequence[int], image: tuple[int, int], patches: tuple[int, int] | None = None
) -> Layout | None:
    """The layout of an output of this shape, or None where it holds no maps.

    Maps have the image's aspect ratio, up to rounding; that tells NCHW from NHWC. A row of tokens
    is a grid of patches behind up to 16 class and register tokens; `patches` is the last grid
    seen before it (of the patch embedding), which settles how many.
    """
    if len(shape) == 4:
        _, a, b, c = shape
        options = [Layout("NCHW", (b, c), a), Layout("NHWC", (a, b), c)]
        fitting = [option for option in options if _fits(option.grid, image)]
        return min(fitting, key=lambda option: _stretch(option.grid, image), default=None)
    if len(shape) == 3:
        _, tokens, channels = shape
        grids = ([patches] if patches else []) + [
            grid for prefix in range(_MAX_PREFIX_TOKENS + 1) for grid in _grids(tokens - prefix)
        ]
        for grid in grids:
            prefix = tokens - grid[0] * grid[1]
            if 0 <= prefix <= _MAX_PREFIX_TOKENS and _fits(grid, image, exact=grid != patches):
                return Layout("tokens", grid, channels, prefix)
    return None


def _stretch(grid: tuple[int, int], image: tuple[int, int]) -> float:
    """How far the grid's aspect ratio is from the image's: 0 is equal."""
    return abs(math.log(grid[0] * image[1] / (grid[1] * image[0])))


def _fits(grid: tuple[int, int], image: tuple[int, int], exact: bool = False) -> bool:
    """Whether the grid can be the image at a lower resolution; `exact` allows for no padding."""
    h, w = grid
    if h < 2 or w < 2 or h > image[0] or w > image[1]:
        return False
    # A side of n cells may have been padded or cropped by up to two cells on the way.
    slack = 1e-9 if exact else math.log((min(h, w) + 2) / min(h, w))
    return _stretch(grid, image) <= slack


def _grids(cells: int) -> Iterable[tuple[int, int]]:
    return ((h, cells // h) for h in range(2, cells // 2 + 1) if cells % h == 0)


@dataclass(frozen=True)
class Layer:
    """A module's output that holds maps: a candidate for explanations.

    `names` are all modules that hand out this very tensor, innermost first. `pooled` marks the
    output of a module without parameters that lowered the resolution. `blocks` are the modules
    around it other than mere containers.
    """

    names: tuple[str, ...]
    kind: str
    layout: Layout
    pooled: bool = False
    blocks: tuple[str, ...] = ()

    @property
    def grid(self) -> tuple[int, int]:
        """Resolution (h, w)."""
        return self.layout.grid


def only_rearranges(module: nn.Module) -> bool:
    """Whether the module can only rearrange or reduce: it has neither children nor parameters."""
    return next(module.children(), None) is None and next(module.parameters(), None) is None


def stages(layers: Sequence[Layer]) -> list[Layer]:
    """The output of each stage on the way down in resolution, finest first.

    That is the last output at each resolution; but what a block computes before it lowers the
    resolution (the first convolution in a `layer4`) belongs to the next stage. Pooled outputs are
    left out, being the next stage's input. A rise in resolution (a decoder) starts no stage.
    """
    resolutions: dict[str, set[tuple[int, int]]] = {}
    last_of = {name: layer for layer in layers for name in layer.names}
    for layer in layers:
        for block in layer.blocks:
            resolutions.setdefault(block, set()).add(layer.grid)
    found: dict[tuple[int, int], Layer] = {}
    for layer in layers:
        inside = [resolutions[block] for block in layer.blocks]
        leaving = any(len(grids) == 2 and layer.grid == max(grids, key=_cells) for grids in inside)
        finer = any(_cells(grid) < _cells(layer.grid) for grid in found)
        # A module that is called again later (a shared ReLU) goes by its last call.
        named = any(last_of[name] is layer for name in layer.names)
        if named and not (layer.pooled or leaving or (finer and layer.grid not in found)):
            found[layer.grid] = layer
    return list(found.values())


def public_name(layer: Layer, layers: Sequence[Layer]) -> str:
    """The layer's usual name: its outermost module that is not several stages.

    `layer4` rather than `layer4.2.relu`, but `features.18` rather than `features`.
    """
    innermost = layer.names[0]
    others = [name for stage in stages(layers) if stage is not layer for name in stage.names]
    around = [
        name
        for name in layer.names[1:]
        if innermost.startswith(f"{name}.") and not any(o.startswith(f"{name}.") for o in others)
    ]
    return around[-1] if around else innermost


def _cells(grid: tuple[int, int]) -> int:
    return grid[0] * grid[1]


def first_tensor(output: Any) -> Tensor | None:
    """The tensor in a module's output: itself, or the first of a tuple or list."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, tuple | list) and output and isinstance(output[0], Tensor):
        return output[0]
    return None


def with_first_tensor(output: Any, tensor: Tensor) -> Any:
    """The module's output with its first tensor replaced."""
    if isinstance(output, Tensor):
        return tensor
    rest = [tensor, *output[1:]]
    return type(output)(*rest) if hasattr(output, "_fields") else type(output)(rest)
