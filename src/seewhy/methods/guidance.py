"""Global guidance: the product of feature maps and gradient maps rectifies the aggregation."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from seewhy.maps import means
from seewhy.methods.cam import cam_method, grad_cam_plus_plus_weights


@cam_method(
    "Fahim et al. 2022, Rethinking gradient weights' influence over saliency map estimation"
)
def global_guidance(
    activations: Tensor,
    gradients: Tensor,
    *,
    guidance: Literal["global", "channel"] = "global",
    weights: Literal["mean", "plus_plus"] = "mean",
) -> Tensor:
    """relu(Σ_k w_k M ⊙ A_k): a CAM guided by M = relu(Σ_k A_k ⊙ G_k), one map for all channels.

    guidance: "global" is that one map; "channel" gives each channel its own, M_k = relu(A_k ⊙ G_k).
    weights: "mean" gradients as in Grad-CAM, or "plus_plus" as in Grad-CAM++.

    The paper's abstract fixes only that the element-wise product of feature maps and gradient
    maps rectifies the weighted aggregation; the documentation says how the reading was chosen.
    """
    if guidance not in ("global", "channel"):
        raise ValueError(f"guidance must be 'global' or 'channel', not {guidance!r}")
    if weights not in ("mean", "plus_plus"):
        raise ValueError(f"weights must be 'mean' or 'plus_plus', not {weights!r}")
    product = activations * gradients
    guide = (product if guidance == "channel" else product.sum(1, keepdim=True)).relu()
    if weights == "mean":
        w = means(gradients)
    else:
        w = grad_cam_plus_plus_weights(activations, gradients)
    return torch.einsum("bk,bk...->b...", w, guide * activations).relu()
