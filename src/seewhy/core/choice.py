"""Choosing the layer to explain: by what a recorded pass shows, never by a table of names."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from seewhy.core.layers import Layer
from seewhy.core.observing import graphs
from seewhy.core.recording import Recorded
from seewhy.core.replay import mixes_nothing
from seewhy.core.rules import kind_of, nearest

Candidate = tuple[Layer, Recorded]


class OneByOneError(ValueError):
    """The images of a batch cannot be explained together, but each may be alone."""


@dataclass(frozen=True)
class Choice:
    """The layer, and the score's gradient there.

    certain: whether the score of every image depends on it; as a tensor where nobody has waited for
        the answer. Otherwise it is the best among these candidates, and earlier ones may be better.
    """

    layer: Layer
    recorded: Recorded
    gradient: Tensor
    certain: bool | Tensor


def choose(
    candidates: Sequence[Candidate], score: Tensor, of_classes: bool, trusting: bool = False
) -> Choice | None:
    """The last layer with maps on which the score depends; None where it depends on none.

    Skipped are the projections inside a transformer's block; sequences in which tokens and not
    images come first; layers whose maps the score no longer reads, such as the patches of a last
    block of which only the class token is used; a single map, which most often is a gate for what
    was there before; and the output itself, that is maps behind which nothing learned lies, where
    the score is one of classes (`of_classes`), reads one channel of them or makes probabilities of
    them.

    Where no image has a gradient anywhere, it is the last layer to which the graph leads; where
    there is nothing but single maps or the output, the last of these.

    trusting: take the first layer in question as that of all images, and do not wait for an
        accelerator's answer whether it is; that is `certain`, as a tensor.

    Raises OneByOneError where the score depends on other layers for some images than for
    others. Images whose score has no gradient anywhere take no part in this.
    """
    chosen: Choice | None = None
    connected: Choice | None = None
    last: Choice | None = None
    undecided = set(range(len(score)))
    for (layer, recorded), gradient in _gradients(candidates, score):
        if gradient is None or layer.projects or not images_first(recorded.tensor, lambda: score):
            continue
        this = Choice(layer, recorded, gradient, certain=False)
        maps = layer.layout.to_maps(gradient)
        reads_output = of_classes or int(maps.flatten(2).any(2).sum(1).max()) == 1
        single = layer.layout.channels == 1
        if single or mixes_nothing(score, recorded.tensor, softly=not reads_output):
            last = last or this
            continue
        connected = connected or this
        depends = maps.flatten(1).any(1)
        if trusting:
            return replace(this, certain=depends.all())
        alive = undecided & {index for index, reads in enumerate(depends.tolist()) if reads}
        if not alive:
            continue
        if chosen is not None:
            names = [found.calls[-1].name for found in (chosen.layer, layer)]
            raise OneByOneError(
                f"some images of this batch would be explained at {names[0]!r} and some at "
                f"{names[1]!r}, since their scores depend on different parts of the network; "
                "explain them one by one, or name the layer"
            )
        chosen = this
        undecided -= alive
        if not undecided:
            return replace(chosen, certain=True)
    return chosen or connected or last


def images_first(tensor: Tensor, score: Callable[[], Tensor]) -> bool:
    """Whether the rows of a tensor are the images of the batch.

    In the sequences of `nn.TransformerEncoder` tokens come first, which shows in their shape unless
    there are as many tokens as images. Then the last image's score tells, which reads one row.
    """
    if tensor.ndim != 3 or tensor.shape[0] != tensor.shape[1]:
        return True
    with graphs():
        last = score()[-1:]
    (gradient,) = gradients_of(last, [tensor])
    return gradient is None or not gradient[:-1].any()


def check_order(
    score: Tensor,
    node: Any,
    gradient_of: Callable[[Tensor], Tensor | None],
    doubtful: bool = False,
) -> None:
    """Raise OneByOneError where the scores of several images read each other's rows of a tensor.

    A network may sort its images, say. That is tried where a step behind the tensor may move rows,
    or where the order of its rows is `doubtful` by itself.

    node: what made the tensor. gradient_of: the gradient there of such scores.
    """
    count = len(score)
    met = nearest(score, lambda one: one is node or may_move_rows(one))
    if not doubtful and all(one is node for one in met):
        return
    with graphs():
        weights = 0.5 + (0.618 * torch.arange(count, device=score.device)).frac().to(score)
        own, weighted = gradient_of(score), gradient_of(score * weights)
    if own is None or weighted is None:
        return
    own, weighted = own.reshape(count, -1), weighted.reshape(count, -1)
    far = (weighted - weights[:, None] * own).abs().amax(1)
    if (far > 0.02 * weighted.abs().amax(1)).any():
        raise OneByOneError(
            "the network puts the images of this batch in another order; explain them one by one"
        )


# What may put rows in another order: a part of them alone, as `select` takes, does not.
_MOVING = frozenset((
    "Cat", "Flip", "Gather", "Index", "IndexAdd", "IndexCopy", "IndexPut", "IndexSelect", "Roll",
    "Scatter", "Sort", "Stack",
))  # fmt: skip


def may_move_rows(node: Any) -> bool:
    """Whether a node of the graph moves something along the axis of images."""
    if kind_of(node) not in _MOVING:
        return False
    dims, indices = getattr(node, "_saved_dims", None), getattr(node, "_saved_indices", None)
    return (
        getattr(node, "_saved_dim", None) == 0
        or (dims is not None and (not dims or 0 in dims))
        or (isinstance(indices, tuple) and indices[0] is not None)
    )


def _gradients(
    candidates: Sequence[Candidate], score: Tensor
) -> Iterator[tuple[Candidate, Tensor | None]]:
    """The candidates from the last one on, with their gradients; few backward passes, and short."""
    end = len(candidates)
    size = 1  # the choice nearly always falls on the last one, or on one of the last few
    while end > 0:
        part = candidates[max(0, end - size) : end]
        gradients = gradients_of(score, [recorded.tensor for _, recorded in part])
        yield from zip(reversed(part), reversed(gradients), strict=True)
        end, size = end - size, 4 * size


def gradients_of(
    score: Tensor, tensors: Sequence[Tensor], differentiable: bool = False
) -> Sequence[Tensor | None]:
    """Gradients of each image's score; None for a tensor on which no score depends."""
    wanted = [tensor for tensor in tensors if tensor.requires_grad]
    if not score.requires_grad or not wanted:
        return [None] * len(tensors)
    with graphs():
        found = torch.autograd.grad(
            score.sum(), wanted, retain_graph=True, create_graph=differentiable, allow_unused=True
        )
    left = iter(found)
    return [next(left) if tensor.requires_grad else None for tensor in tensors]
