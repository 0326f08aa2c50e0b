"""Attention: the maps softmax(QKᵀ) of a pass and their gradients, wherever the network made them.

Nothing is patched. The autograd graph behind a score tells which softmax a product with values
follows, what it returned, and what the score's gradient there is: of a network's own lines as of
`nn.MultiheadAttention`. Fused kernels, which have no such softmax, are run as plain functions in
the pass (`PLAIN_ATTENTION`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from seewhy.core.choice import check_order, images_first
from seewhy.core.layers import Call, Layout
from seewhy.core.observing import graphs
from seewhy.core.recording import Recording
from seewhy.core.rules import PLAIN_ATTENTION, applying, edge, edges, kind_of, nodes


@dataclass(frozen=True, eq=False)
class Attention:
    """One attention map of a pass.

    weights: (B, heads, queries, keys), what the softmax returned; rows sum to 1. Attention within
        windows has them in the batch axis, (B · windows, heads, queries, keys).
    layout: how the keys are the patches of a grid behind class and register tokens; None where
        they are not, as within windows, or between words.
    """

    weights: Tensor
    layout: Layout | None
    _place: int
    _pass: AttentionPass

    @property
    def among_patches(self) -> bool:
        """Whether all patches of a grid look at each other."""
        return self.layout is not None and self.weights.shape[-1] == self.weights.shape[-2]

    @property
    def follows(self) -> bool:
        """Whether it was computed from what the map before it, if any, was multiplied with."""
        return self._pass.follows(self._place)

    @property
    def gradient(self) -> Tensor:
        """∂score/∂weights, of the weights' shape."""
        return self._pass.gradient(self._place)

    @property
    def early_gradient(self) -> Tensor:
        """∂s/∂weights, s being the score of this block's own tokens: as if it were the last one.

        What the network has behind its last block is given the mean of the block's tokens. Where
        it pools them by attention, it is given the tokens as they are, and the gradient is that
        at the weights of the pooling, (B, heads, queries, keys).

        It needs what only a probe records that was told so, `probe.expect("tail").attentions()`.

        Raises ValueError where the network is no chain of blocks, or its end cannot be replayed.
        """
        return self._pass.early_gradient(self._place)


class AttentionPass:
    """The attention behind one score: found in the graph, gradients computed when asked for."""

    def __init__(
        self,
        score: Tensor,
        recording: Recording,
        replay: Callable[[Tensor], Callable[[Tensor], Tensor] | None],
    ) -> None:
        """Take the score (B,) of a pass recorded from the input on.

        replay: of a tensor of the pass, the score as a function of it, if it can be replayed.
        """
        self._score, self._recording, self._replay = score, recording, replay
        images = len(score)
        products = _products(score)
        self._nodes = _in_order(products)
        self._gradients: dict[int, Tensor] = {}
        self.maps: list[Attention] = []
        for place, node in enumerate(self._nodes):
            weights = _four_sides(node._saved_result.detach(), images)
            of_tokens = len(weights) == images and _of_tokens(products[node])
            layout = self._layout(node, weights.shape[-1]) if of_tokens else None
            self.maps.append(Attention(weights, layout, place, self))
        # The first block's tokens may be no module's output: the class token and the positions were
        # added by the network itself. They are those of the next block.
        known = next((place for place, one in enumerate(self.maps) if one.among_patches), 0)
        for place, one in enumerate(self.maps[:known]):
            if one.weights.shape == self.maps[known].weights.shape:
                self.maps[place] = replace(one, layout=self.maps[known].layout)

        reaching = [node for node, one in zip(self._nodes, self.maps, strict=True) if one.layout]
        if reaching and images > 1:
            last = reaching[-1]
            first, second, *_ = last._saved_result.shape
            heads = first > images or second == images  # which may come before the images
            check_order(score, last, lambda one: _gradients(one, [last])[0], doubtful=heads)

    def follows(self, place: int) -> bool:
        """Whether a map depends on the one before it, if any."""
        if place == 0:
            return True
        before, node = self._nodes[place - 1 : place + 1]
        left, known = [node], {node}
        while left:
            for one, _ in edges(left.pop()):
                if one is before:
                    return True
                # What was computed earlier than it does not depend on it.
                if one and one not in known and one._sequence_nr() > before._sequence_nr():
                    known.add(one)
                    left.append(one)
        return False

    def gradient(self, place: int) -> Tensor:
        """∂score/∂weights of a map; with it those of all later ones, on whose way it lies."""
        if place not in self._gradients:
            places = range(place, len(self.maps))
            found = _gradients(self._score, [self._nodes[later] for later in places])
            for later, gradient in zip(places, found, strict=True):
                weights = self.maps[later].weights
                self._gradients[later] = _like(gradient, weights)
        return self._gradients[place]

    def early_gradient(self, place: int) -> Tensor:
        """See `Attention.early_gradient`."""
        if self._recording.trace is None:
            raise ValueError(
                "the end of the network was not recorded: ask probe.expect('tail').attentions()"
            )
        blocks, images = self._blocks, len(self._score)
        if place not in blocks:
            raise ValueError("this is no attention between the patches, so its block has no tokens")
        _, tokens = blocks[place]
        *_, (_, last) = blocks.values()
        pooled = self._nodes[-1]._sequence_nr() > _number(last)
        with graphs(), unfused():
            if not pooled:
                tokens = tokens.mean(1, keepdim=True).expand_as(tokens)
            score = self._end(tokens)
        node = attention_nodes(score)[-1] if pooled else self._nodes[place]
        (gradient,) = _gradients(score, [node])
        return _like(gradient, _four_sides(node._saved_result.detach(), images))

    @cached_property
    def _end(self) -> Callable[[Tensor], Tensor]:
        """The scores (B,) as a function of the last block's tokens, within the graph."""
        *_, (call, tokens) = self._blocks.values()
        if (end := self._replay(tokens)) is None:
            raise ValueError(
                f"what lies between the last block, {call.name!r}, and the score cannot be "
                "replayed: part of it is compiled, scripted, a custom autograd function, or "
                "written into other tensors; take 'attention_gradient'"
            )
        return end

    @cached_property
    def _blocks(self) -> dict[int, tuple[Call, Tensor]]:
        """The tokens that each block returned, by the place of the attention inside of it.

        Blocks are children of one module, and each returns before the next one's attention.
        """
        places = [place for place, one in enumerate(self.maps) if one.among_patches]
        starts = [self._nodes[place]._sequence_nr() for place in places]
        returned: dict[str, list[tuple[Call, Tensor]]] = {}
        for layer, recorded in self._recording.candidates:
            if layer.layout.kind == "tokens" and images_first(recorded.tensor, lambda: self._score):
                for call in layer.calls:
                    parent = call.name.rpartition(".")[0]
                    returned.setdefault(parent, []).append((call, recorded.tensor))
        for blocks in returned.values():
            ends = [_number(tensor) for _, tensor in blocks]
            if len(ends) == len(starts) > 0 and all(
                start < end < following
                for start, end, following in zip(starts, ends, [*starts[1:], math.inf], strict=True)
            ):
                return dict(zip(places, blocks, strict=True))
        raise ValueError(
            "found no chain of blocks with one attention each, whose tokens could be given to the "
            "network's end; take 'attention_gradient' or 'grad_cam'"
        )

    def _layout(self, node: Any, keys: int) -> Layout | None:
        """How the keys are the patches of the maps that were there last.

        What has more places is skipped: attention maps, of which a module computed something.
        What has fewer is the grid, and the keys are a window around it.
        """
        for layer in reversed(self._recording.seen):
            places = math.prod(layer.grid) + layer.layout.prefix
            if layer.made <= node._sequence_nr() and places <= keys:
                rows = layer.layout.kind == "tokens"
                sure = places == keys and not (rows and layer.layout.guessed)
                return layer.layout._replace(kind="tokens") if sure else None
        return None


def unfused() -> applying:
    """A context in which attention is run as plain functions; also where none is run."""
    return applying(PLAIN_ATTENTION, needed=False)


def attention_nodes(score: Tensor) -> list[Any]:
    """The graph's nodes of each softmax over the last dimension that a matrix product follows.

    In the order in which they were computed.
    """
    return _in_order(_products(score))


def _in_order(found: Iterable[Any]) -> list[Any]:
    return sorted(found, key=lambda node: node._sequence_nr())


def _products(score: Tensor) -> dict[Any, Any]:
    """The nodes of the products by the softmax that each follows."""
    found: dict[Any, Any] = {}
    for product in nodes(score):
        if kind_of(product) not in _PRODUCTS:
            continue
        for node, _ in product.next_functions:
            while node is not None and kind_of(node) in _RESHAPES:
                node = node.next_functions[0][0]
            if node is not None and kind_of(node) in ("Softmax", "SafeSoftmax"):
                result = node._saved_result
                if result.ndim > 2 and node._saved_dim in (result.ndim - 1, _LAST):
                    found[node] = product
    return found


def _of_tokens(product: Any) -> bool:
    """Whether each key is a token; in channel attention it is a channel of all tokens.

    The shapes tell, unless there are as many channels per head as tokens. Then it is asked what the
    values of one key were computed from: one row of what a linear layer or convolution returned.
    """
    values = getattr(product, "_saved_mat2", None)
    if values is None or values.shape[-1] != values.shape[-2]:
        return True
    node, place = product.next_functions[-1]
    start = GradientEdge(node, place)
    while node is not None and kind_of(node) in (*_RESHAPES, *_PARTS):
        node, place = node.next_functions[0]
    if node is None or kind_of(node) not in ("Addmm", "Convolution", "Mm"):
        return True
    one = torch.zeros_like(values)
    one[..., 0, :].view(-1, values.shape[-1])[0] = 1
    with graphs():
        (read,) = torch.autograd.grad(
            start, GradientEdge(node, place), one, retain_graph=True, materialize_grads=True
        )
    return int((read != 0).any(1).sum()) == 1


_PRODUCTS = ("Addmm", "Baddbmm", "Bmm", "Mm")
_RESHAPES = (
    "Alias", "Clone", "Expand", "Permute", "ReshapeAlias", "Squeeze", "T", "ToCopy", "Transpose",
    "UnsafeView", "Unsqueeze", "View",
)  # fmt: skip
_PARTS = ("Select", "Slice", "Split", "SplitWithSizes", "Unbind")
_LAST = 2**64 - 1  # -1, as autograd keeps it


def _four_sides(weights: Tensor, images: int) -> Tensor:
    """(B, heads, queries, keys), also of what has heads, or windows, in the batch axis."""
    if weights.ndim == 3 and len(weights) % images == 0:
        return weights.reshape(images, -1, *weights.shape[1:])
    return weights.flatten(0, weights.ndim - 4) if weights.ndim > 3 else weights[:, None]


def _like(gradient: Tensor | None, weights: Tensor) -> Tensor:
    return torch.zeros_like(weights) if gradient is None else gradient.reshape(weights.shape)


def _number(tensor: Tensor) -> int:
    """When a tensor was computed, in the graph's own count."""
    node, _ = edge(tensor)
    return int(node._sequence_nr())


def _gradients(score: Tensor, nodes: Sequence[Any]) -> Sequence[Tensor | None]:
    if not nodes:
        return []
    edges = [GradientEdge(node, 0) for node in nodes]
    with graphs():
        return torch.autograd.grad(score.sum(), edges, retain_graph=True, allow_unused=True)
