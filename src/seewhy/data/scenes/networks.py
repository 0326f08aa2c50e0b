"""The networks trained on scenes: plain PyTorch, laid out as torchvision and timm lay out theirs.

They take (B, 3, H, W) in about -1 to 1 and give one logit per category, (B, 18).
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

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

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 24, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(24)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(Block(24, 32))
        self.layer2 = nn.Sequential(Block(32, 64, 2), Block(64, 64))
        self.layer3 = nn.Sequential(Block(64, 128, 2), Block(128, 128))
        self.layer4 = nn.Sequential(Block(128, 192))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(192, len(CATEGORIES))

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) to logits (B, 18)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return logits


class VGG(nn.Module):
    """Plain 3x3 convolutions with bias, max pooling, three fully-connected layers.

    The last convolution has stride 16.
    """

    def __init__(self) -> None:
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
            nn.Linear(256, len(CATEGORIES)),
        )
        # Without batch norm, a deep stack learns only where each layer keeps its input's variance.
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) to logits (B, 18)."""
        logits: Tensor = self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))
        return logits


class Attention(nn.Module):
    """Multi-head self-attention over tokens (B, N, width)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, width) to the same."""
        b, n, width = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        found: Tensor = self.proj(mixed.transpose(1, 2).reshape(b, n, width))
        return found


class Encoder(nn.Module):
    """Attention, then two linear layers; each behind a layer norm and added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, width) to the same."""
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class ViT(nn.Module):
    """Vision transformer (Dosovitskiy et al. 2021) with a class token, 8 x 8 patches of an image.

    It is a small hybrid, as in section 3.1 there: patches are embedded by the first stages of the
    bundled ResNet, with which a few thousand steps are enough. Other image sizes get interpolated
    position embeddings.
    """

    def __init__(self) -> None:
        super().__init__()
        width, stages = 128, ResNet()
        self.patch_embed = nn.Sequential(
            stages.conv1, stages.bn1, stages.relu, stages.maxpool, stages.layer1, stages.layer2,
            nn.Conv2d(64, width, 2, 2),
        )  # fmt: skip
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + 8 * 8, width) * 0.02)
        self.blocks = nn.Sequential(*(Encoder(width, heads=4) for _ in range(6)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, len(CATEGORIES))

    def tokens(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) to the class token and one for each patch, (B, 1 + N, width)."""
        grid = self.patch_embed(x)
        first, positions = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        if grid.shape[2:] != (8, 8):
            at = positions.transpose(1, 2).reshape(1, -1, 8, 8)
            at = F.interpolate(at, grid.shape[2:], mode="bicubic", align_corners=False)
            positions = at.flatten(2).transpose(1, 2)
        patches = grid.flatten(2).transpose(1, 2) + positions
        first = (self.cls_token + first).expand(len(x), -1, -1)
        found: Tensor = self.norm(self.blocks(torch.cat([first, patches], 1)))
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 3, H, W) to logits (B, 18)."""
        logits: Tensor = self.head(self.tokens(x)[:, 0])
        return logits


PREPROCESS = Preprocess(resize=(128, 128), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
"""How the bundled networks take pictures."""

ARCHITECTURES: dict[str, type[nn.Module]] = {"resnet": ResNet, "vgg": VGG, "vit": ViT}


def build(name: str) -> nn.Module:
    """The untrained network `resnet`, `vgg` or `vit`, one logit per category of the scenes."""
    if name not in ARCHITECTURES:
        known = ", ".join(f"scenes:{known}" for known in ARCHITECTURES)
        raise ValueError(f"no bundled network is called {name!r}; there are {known}")
    return ARCHITECTURES[name]()


def weights(name: str) -> Path:
    """The file in the package that holds the weights of a bundled network."""
    return Path(__file__).parent / "weights" / f"{name}.safetensors"


def load_network(name: str) -> tuple[nn.Module, tuple[str, ...], Preprocess]:
    """A bundled network in eval mode, what its outputs mean, and how it takes pictures.

    Raises ValueError for a name other than `scenes:resnet`, `scenes:vgg` and `scenes:vit`.
    """
    short = name.removeprefix("scenes:")
    network = build(short)
    network.load_state_dict(load_file(weights(short)))
    return network.eval(), CATEGORIES, PREPROCESS
