"""Global guidance: the product of feature maps and gradient maps rectifies the aggregation."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from seewhy.maps import means
from seewhy.methods.cam import cam_method, grad_cam_plus_plus_weights, weighted


@cam_method(
    "Fahim et al. 2022, Rethinking gradient weights' influence over saliency map estimation"
)
def global_guidance(
    activations: Tensor,
    gradients: Tensor,
    *,
    guidance: Literal["global", "channel", "weights"] = "global",
    weights: Literal["mean", "plus_plus"] = "mean",
) -> Tensor:
    """relu(Σ_k w_k M ⊙ A_k): a CAM guided by M = relu(Σ_k A_k ⊙ G_k), one map for all channels.

    M has no negative values, so this is M ⊙ relu(Σ_k w_k A_k): with the "mean" weights it is
    Grad-CAM's map times the guidance map. With global average pooling and one Linear it is
    Grad-CAM's map squared, up to scale.

    guidance: "global" is that one map; "channel" gives each channel its own, M_k = relu(A_k ⊙ G_k).
        "weights" lets M rectify the weights instead: relu(Σ_k w_k cos(M, A_k) A_k).
    weights: "mean" gradients as in Grad-CAM, or "plus_plus" as in Grad-CAM++.

    The paper's abstract says only that the element-wise product of feature maps and gradient maps
    rectifies the weighted aggregation. This is our reading of it, not yet compared with the
    equations in the paper's text; the documentation explains how it was chosen.
    """
    product = activations * gradients
    guide = (product if guidance == "channel" else product.sum(1, keepdim=True)).relu()
    if weights == "mean":
        w = means(gradients)
    else:
        w = grad_cam_plus_plus_weights(activations, gradients)
    if guidance == "weights":
        tiny = torch.finfo(guide.dtype).tiny
        m, a = (F.normalize(maps.flatten(2), dim=2, eps=tiny) for maps in (guide, activations))
        return weighted(w * (m * a).sum(2), activations)
    return weighted(w, guide * activations)
