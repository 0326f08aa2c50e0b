"""Ablation-CAM: channels weighted by what the score loses without them."""

import torch
from torch import Tensor

from seewhy.core.layers import Call
from seewhy.core.probe import Probe
from seewhy.maps import sums
from seewhy.methods.cam import weighted_layers
from seewhy.naming import method
from seewhy.progress import BatchSize, in_chunks


@method(
    "Desai & Ramaswamy 2020, Ablation-CAM",
    "F + h where the score is affine in A, else F + h + K tails",
    reads=("tail",),
)
def ablation_cam(probe: Probe, *, batch_size: BatchSize = "auto") -> Tensor:
    """relu(Σ_k w_k A_k), w_k the relative fall of the score when channel k is set to zero.

    Where the score is an affine function of A, such as a logit behind pooling + Linear, the fall is
    exactly Σ_ij G_k ⊙ A_k, and no channel needs a pass. Elsewhere the part of the network behind
    the layer, and nothing before it, runs once per channel.

    The fall is relative to |score|. Dividing by the score itself, as published, would invert the
    map if the score is negative; pytorch-grad-cam does so. It also sets channels to -1e7 instead of
    zero if the layer has negative values.
    """
    scale = probe.score.abs()
    scale = torch.where(scale > 0, scale, 1)[:, None]
    return weighted_layers(probe, lambda layer: falls(probe, layer, batch_size) / scale)


def falls(probe: Probe, layer: Call, batch_size: BatchSize = "auto") -> Tensor:
    """How far the score falls without each channel: (B, K)."""
    activations = probe.activations(layer)
    if probe.affine(layer):
        return sums(probe.gradients(layer) * activations)
    scores_of = probe.tail(layer)

    def without(part: slice) -> Tensor:
        count = part.stop - part.start
        maps = activations.repeat(count, *[1] * activations.ndim)
        maps[range(count), :, range(part.start, part.stop)] = 0
        return scores_of(maps)

    parts = in_chunks("Ablation-CAM", without, activations.shape[1], activations, batch_size)
    return probe.score[:, None] - torch.cat([*parts]).T
