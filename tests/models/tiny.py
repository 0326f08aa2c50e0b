"""A network small enough to compare its weights one by one."""

from __future__ import annotations

import torch
from torch import nn


class Tiny(nn.Module):
    """Two layers, enough to tell weights apart."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(x).mean((2, 3)))
