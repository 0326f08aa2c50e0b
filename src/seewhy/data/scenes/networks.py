"""The two networks trained on scenes: plain PyTorch, laid out as torchvision lays out its own.

Both take (B, 3, H, W) in about -1 to 1 and give one logit per category, (B, 18).
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from seewhy.data.preprocess import Preprocess
from seewhy.data.scenes.objects import CATEGORIES


class Block(nn.Module):
    """Two 3x3 convolutions with batch norm, added to their input (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += x if self.downsample is None else self.downsample(x)
        activated: Tensor = self.relu(out)
        return activated


class ResNet(nn.Module):
    """Residual network: a stem, four stages, global average pooling, one Linear. Stride 16."""

    def __init__(self, classes: int, widths: tuple[int, ...] = (24, 32, 64, 128, 192)) -> None:
        super().__init__()
        stem, *stages = widths
        self.conv1 = nn.Conv2d(3, stem, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(Block(stem, stages[0]))
        self.layer2 = nn.Sequential(Block(stages[0], stages[1], 2), Block(stages[1], stages[1]))
        self.layer3 = nn.Sequential(Block(stages[1], stages[2], 2), Block(stages[2], stages[2]))
        self.layer4 = nn.Sequential(Block(stages[2], stages[3]))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(stages[3], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) to logits (B, classes)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return logits


class VGG(nn.Module):
    """Plain 3x3 convolutions with bias, max pooling, three fully-connected layers.

    The last convolution has stride 16.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for stage in ((24,), (48, 48), (96, 96), (160, 192)):
            for outputs in stage:
                # The very first convolution halves the picture, to save time.
                stride = 2 if inputs == 3 else 1
                layers += [nn.Conv2d(inputs, outputs, 3, stride, 1), nn.ReLU(inplace=True)]
                inputs = outputs
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(4)
        self.classifier = nn.Sequential(
            nn.Linear(inputs * 16, 384),
            nn.ReLU(inplace=True),
            nn.Dropout(0.2),
            nn.Linear(384, 256),
            nn.ReLU(inplace=True),
            nn.Dropout(0.2),
            nn.Linear(256, classes),
        )
        # Without batch norm, a deep stack learns only where each layer keeps its input's variance.
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) to logits (B, classes)."""
        logits: Tensor = self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))
        return logits


PREPROCESS = Preprocess(resize=(128, 128), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
"""How the bundled networks take pictures."""

_ARCHITECTURES: dict[str, type[ResNet] | type[VGG]] = {"resnet": ResNet, "vgg": VGG}


def build(name: str) -> nn.Module:
    """The untrained network `resnet` or `vgg`, one logit per category of the scenes."""
    if name not in _ARCHITECTURES:
        known = " and ".join(f"scenes:{known}" for known in _ARCHITECTURES)
        raise ValueError(f"no bundled network is called {name!r}; there are {known}")
    return _ARCHITECTURES[name](len(CATEGORIES))


def weights(name: str) -> Path:
    """The file in the package that holds the weights of `resnet` or `vgg`."""
    return Path(__file__).parent / "weights" / f"{name}.safetensors"


def load_network(name: str) -> tuple[nn.Module, tuple[str, ...], Preprocess]:
    """A bundled network in eval mode, what its outputs mean, and how it takes pictures.

    Raises ValueError for a name other than `scenes:resnet` and `scenes:vgg`.
    """
    short = name.removeprefix("scenes:")
    network = build(short)
    network.load_state_dict(load_file(weights(short)))
    return network.eval(), CATEGORIES, PREPROCESS
