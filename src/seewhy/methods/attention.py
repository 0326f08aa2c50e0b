"""What the attention of a transformer looks at: rollout, gradients at attention maps, LeGrad.

Maps are those of the grid of patches, (B, h, w); class and register tokens are left out. A map
begins at the tokens that the score reads: the class token, or several, of which it is the mean; of
networks without a class token these are all patches.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seewhy.core.attention import Attention
from seewhy.core.choice import OneByOneError
from seewhy.core.outputs import logits
from seewhy.core.probe import Probe
from seewhy.maps import wide
from seewhy.naming import method
from seewhy.options import Count


@method("Abnar & Zuidema 2020, Quantifying attention flow in transformers", "F + h", layers="none")
def attention_rollout(probe: Probe) -> Tensor:
    """The rows of Π_l (A_l + I) / 2 for the tokens that the score reads, A_l the mean over heads.

    Not negative; with class and register tokens it sums to 1. It shows where information flows,
    whatever the target: all classes have the same map.

    Raises ValueError for networks that are not a chain of attention between all patches.
    """
    return _followed(probe, lambda block: wide(block.weights).mean(1), share=0.5)


@method(
    "Chefer et al. 2021, Generic attention-model explainability, eq. 5-6", "F + B", layers="none"
)
def attention_gradient(probe: Probe) -> Tensor:
    """The rows of Π_l (I + Ā_l) - I for the tokens that the score reads, Ā = mean_heads (∇A ⊙ A)⁺.

    No value is negative. I, which is each token's own share, is subtracted: if the head averages
    the patches, it would add the constant 1 / (h · w) to the map.

    Raises ValueError for networks that are not a chain of attention between all patches.
    """
    return _followed(probe, _positive)


@method("Li et al. 2021, ALBEF: Grad-CAM at an attention map", "F + h", layers="none")
def attention_x_gradient(probe: Probe, *, blocks: Count = 1) -> Tensor:
    """The mean over queries and heads of (A ⊙ ∇A)⁺ at the last attention to the patches.

    No value is negative. The queries may be patches, a class token, or the words of a caption.

    blocks: how many of the last attention maps with the same grid are added.

    Raises ValueError for networks without attention to all patches.
    """
    found = _of_patches(probe)
    alike = [one for one in found if one.layout.grid == found[-1].layout.grid]  # type: ignore[union-attr]
    maps = [_patches(block, _positive(block).mean(1)) for block in alike[-blocks:]]
    return torch.stack(maps).sum(0)


@method("Bousselham et al. 2024, LeGrad", "F + B", layers="none")
def le_grad(probe: Probe, *, blocks: Count = 2) -> Tensor:
    """Σ_l mean over queries and heads of (∂s_l/∂A_l)⁺, s_l the score of block l's own tokens.

    No value is negative. s_l is what the network's head returns for the mean of the block's tokens.
    If the head pools tokens by attention, it gets the tokens, and A_l are that pooling's weights.

    blocks: how many of the last blocks; 2 as in the authors' code.

    Raises ValueError for networks that are not a chain of attention between all patches, and if
    the part behind the last block cannot be replayed.
    """
    found = [block for block in _chain(probe.expect("tail")) if block.among_patches][-blocks:]
    gradients = [wide(block.early_gradient).relu().mean((1, 2)) for block in found]
    return torch.stack([_patches(*pair) for pair in zip(found, gradients, strict=True)]).sum(0)


def _followed(
    probe: Probe, attended: Callable[[Attention], Tensor], share: float | None = None
) -> Tensor:
    """The share of each patch in the tokens that the score reads, block by block back to them.

    attended: a block's attention, (B, queries, keys).
    share: what attention has of a block's tokens, the rest being the tokens before it; None adds
        both.
    """
    blocks = _chain(probe)
    maps = [attended(block) for block in blocks]  # the first gradient asked for brings the others
    read = _read(blocks)
    if share is not None and not read.any(1).all():
        # A saturated probability has no gradient, but its network reads the same tokens.
        whole = probe.with_target(lambda outputs: _squares(probe.target.read(outputs)))
        read = torch.where(read.any(1, keepdim=True), read, _read(_chain(whole)))
    start = (read / read.sum(1, keepdim=True).clamp(min=1)).to(maps[0])
    row = torch.zeros_like(start)  # what was attended to; small beside `start`, so kept apart
    for block, weights in zip(reversed(blocks), reversed(maps), strict=True):
        through = torch.einsum("bq,bqk->bk", start + row, weights)
        if not block.among_patches:  # queries of its own: pooling, perhaps of the patches alone
            before = blocks[0].weights.shape[-1] - through.shape[1]
            start, row = torch.zeros_like(maps[0][:, 0]), F.pad(through, (before, 0))
        elif share is None:
            row = row + through
        else:
            start, row = (1 - share) * start, (1 - share) * row + share * through
    return _patches(blocks[0], row if share is None else start + row)


def _read(blocks: list[Attention]) -> Tensor:
    """Which of the last block's tokens the score reads, (B, queries)."""
    return blocks[-1].gradient.abs().amax((1, 3)) > 0


def _squares(outputs: Any) -> Tensor:
    return logits(outputs).flatten(1).square().sum(1)


def _positive(block: Attention) -> Tensor:
    """mean_heads (A ⊙ ∇A)⁺, (B, queries, keys)."""
    return (wide(block.weights) * wide(block.gradient)).relu_().mean(1)


def _patches(block: Attention, row: Tensor) -> Tensor:
    """The patches (B, h, w), the last ones among values per key, (B, keys)."""
    assert block.layout is not None
    return row[:, -math.prod(block.layout.grid) :].reshape(len(row), *block.layout.grid)


def _of_patches(probe: Probe) -> list[Attention]:
    """The attention to all patches of a grid.

    Raises ValueError where there is none; the message says what there is.
    """
    found = probe.attentions()
    if not found:
        raise ValueError(
            "found no attention behind the score: no softmax that a product with values follows "
            "(hidden are kernels of the network's own, parts under no_grad(), and checkpoints with "
            "use_reentrant=True); " + _INSTEAD
        )
    reaching = [block for block in found if block.layout is not None]
    if not reaching:
        shapes = ", ".join(dict.fromkeys(str(tuple(block.weights.shape)) for block in found))
        in_parts = any(len(block.weights) < len(probe.inputs) for block in found)
        raise (OneByOneError if in_parts else ValueError)(
            f"no attention looks at all patches of the picture at once: its maps are {shapes}, as "
            "within windows, between channels or between words, or with heads before images, "
            f"(heads, B, queries, keys); {_INSTEAD}"
        )
    return reaching


def _chain(probe: Probe) -> list[Attention]:
    """Blocks of attention between the same patches, and behind them at most one that pools them.

    Raises ValueError for anything else; the message says what there is.
    """
    reaching, found = _of_patches(probe), probe.attentions()
    *blocks, last = found
    pools = last.layout is not None and not last.among_patches and bool(blocks)
    alike = {block.weights.shape[-2:] for block in (blocks if pools else found)}
    tokens = found[0].weights.shape[-1]
    grids = {block.layout.grid for block in reaching if block.layout is not None}
    if len(reaching) < len(found) or alike != {(tokens, tokens)} or len(grids) > 1:
        shapes = ", ".join(dict.fromkeys(str(tuple(block.weights.shape)) for block in found))
        raise ValueError(
            "attention cannot be followed from block to block: it is not between the same patches "
            f"all the way, its maps are {shapes}; take 'attention_x_gradient'; or {_INSTEAD}"
        )
    if not all(block.follows for block in found):
        raise ValueError(
            "attention cannot be followed from block to block: they are not one behind the other, "
            "as in branches, or where the network looks at the image several times; take "
            f"'attention_x_gradient'; or {_INSTEAD}"
        )
    return found


_INSTEAD = "take 'grad_cam', 'hires_cam' or 'layer_cam'"
