"""Seewhy methods as an `explain_func` of Quantus."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seewhy.core.requests import LayerLike
from seewhy.explaining import explain
from seewhy.naming import Method


def explain_func(
    model: nn.Module,
    inputs: Tensor | NDArray[Any],
    targets: Tensor | NDArray[Any] | int | None = None,
    *,
    method: str | Method | None = None,
    layer: LayerLike = None,
    device: str | torch.device | None = None,
    **_: Any,
) -> NDArray[np.float32]:
    """Maps as Quantus takes them: (B, 1, H, W), float32.

    For a metric of Quantus: `metric(model, x_batch, y_batch, explain_func=explain_func,
    explain_func_kwargs={"method": "grad_cam"})`.

    inputs: (B, C, H, W).
    targets: (B,) class indices.
    method, layer: as in `seewhy.explain`.
    device: device of the inputs; by default that of the model. Other arguments of Quantus are
        ignored.
    """
    parameter = next(model.parameters(), torch.zeros(()))
    images = torch.as_tensor(inputs, device="cpu").to(device or parameter.device, parameter.dtype)
    classes = targets if targets is None else torch.as_tensor(targets, device="cpu").long()
    maps = explain(model, images, method, classes, layer=layer)
    return maps[:, None].float().cpu().numpy()
