"""Networks as strangers write them, each of which breaks a habit that a tool may have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Tutorial(nn.Module):
    """PyTorch's CIFAR tutorial with one ReLU for all, behind the Linears too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
        self.pool, self.relu = nn.MaxPool2d(2, 2), nn.ReLU()
        self.squeeze = nn.AdaptiveAvgPool2d(5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 32), nn.Linear(32, 24), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu(self.conv1(x)))
        x = self.pool(self.relu(self.conv2(x)))
        x = self.squeeze(x).flatten(1)
        return self.fc3(self.relu(self.fc2(self.relu(self.fc1(x)))))


class SharedWithGate(nn.Module):
    """A ReLU shared with a squeeze-and-excitation block."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2)
        self.relu = nn.ReLU(inplace=True)
        self.down, self.up = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
        self.last = nn.Conv2d(8, 12, 3, stride=2)
        self.fc = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.conv(x))
        gate = self.up(self.relu(self.down(x.mean((2, 3), keepdim=True)))).sigmoid()
        x = self.last(x * gate)
        gate = self.relu(x.mean((2, 3), keepdim=True))
        return self.fc((x * gate).mean((2, 3)))


class PassThrough(nn.Module):
    """A branch through a module that hands on what it was given."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.conv, self.through = nn.Conv2d(8, 8, 3, padding=1), module
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(self.conv(x) + self.through(x))
        return self.fc(x.mean((2, 3)))


class LoRA(nn.Module):
    """A convolution with a low-rank side branch behind a dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU())
        self.base = nn.Conv2d(8, 8, 3, padding=1)
        self.lora_dropout = nn.Dropout(0.1)
        self.a, self.b = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.base(x) + 2 * self.b(self.a(self.lora_dropout(x)))
        return self.fc(F.relu(x).mean((2, 3)))


class TwoHeads(nn.Module):
    """Two heads at two resolutions, with a name each; the first reads no part of the second."""

    def __init__(self, first: str = "coarse") -> None:
        super().__init__()
        self.first = first
        self.trunk = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU())
        self.fine = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.coarse = nn.Sequential(nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.ReLU())
        self.of_fine, self.of_coarse = nn.Linear(8, 3), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.trunk(x)
        outputs = {}
        for name in ("coarse", "fine") if self.first == "coarse" else ("fine", "coarse"):
            outputs[name] = getattr(self, f"of_{name}")(getattr(self, name)(x).mean((2, 3)))
        return outputs


class HeadsOfClasses(nn.Module):
    """Classes whose scores come from different branches."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU())
        self.a = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.b = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.of_a, self.of_b = nn.Linear(8, 2), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.trunk(x)
        return torch.cat([self.of_a(self.a(x).mean((2, 3))), self.of_b(self.b(x).mean((2, 3)))], 1)


class Siamese(nn.Module):
    """Scores of two images by one backbone."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 12, 3, stride=2), nn.ReLU()
        )
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        mine, theirs = self.backbone(x).mean((2, 3)), self.backbone(other).mean((2, 3))
        return self.head((mine - theirs).abs())


class Detector(nn.Module):
    """Queries over the tokens of a grid, as in DETR; a list of dicts, one for each image."""

    def __init__(self, queries: int = 100, listed: bool = False) -> None:
        super().__init__()
        self.listed = listed
        self.backbone = nn.Sequential(nn.Conv2d(3, 16, 8, stride=8), nn.ReLU())
        self.encoder = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.decoder = nn.TransformerDecoderLayer(16, 2, 32, batch_first=True)
        self.queries = nn.Parameter(torch.randn(queries, 16))
        self.classes, self.boxes = nn.Linear(16, 7), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Any:
        tokens = self.encoder(self.backbone(x).flatten(2).transpose(1, 2))
        found = self.decoder(self.queries.expand(len(x), -1, -1), tokens)
        logits, boxes = self.classes(found), self.boxes(found).sigmoid()
        if self.listed:
            return [{"scores": s, "boxes": b} for s, b in zip(logits, boxes, strict=True)]
        return {"detections": {"logits": logits, "boxes": boxes}}


class Yolo(nn.Module):
    """Predictions of three grids as one row per image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.SiLU())
        self.down = nn.ModuleList(nn.Conv2d(8, 8, 3, stride=2, padding=1) for _ in range(2))
        self.heads = nn.ModuleList(nn.Conv2d(8, 9, 1) for _ in range(3))
        self.join = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.stem(x)]
        for down in self.down:
            maps.append(F.silu(down(maps[-1])))
        rows = [head(m).flatten(2) for head, m in zip(self.heads, maps, strict=True)]
        return self.join(torch.cat(rows, 2).transpose(1, 2))


class Recurrent(nn.Module):
    """An LSTM over the rows of a convolution's maps."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU())
        self.lstm = nn.LSTM(8 * 16, 20, batch_first=True)
        self.fc = nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.conv(x).movedim(2, 1).flatten(2)
        return self.fc(self.lstm(rows)[0][:, -1])


class Resized(nn.Module):
    """A network that brings its images to one size, whatever their proportions."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 12, 3, stride=2), nn.ReLU()
        )
        self.fc = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(x, (32, 32), mode="bilinear")
        return self.fc(self.body(x).mean((2, 3)))


class Wide(nn.Module):
    """Strides that leave as many channels as rows."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, stride=(1, 4), padding=1), nn.ReLU())
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x).mean((2, 3)))


class Depth(nn.Module):
    """One number per pixel, at the size of the image."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.ReLU())
        self.decoder = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.head = nn.Conv2d(8, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.head(self.decoder(self.encoder(x)))
        return F.interpolate(maps, x.shape[-2:], mode="bilinear")


class Encoder(nn.Module):
    """torch's own transformer over patches, behind a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 16, 8, stride=8)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1)
        return self.fc(self.encoder(tokens).mean(1))


class Checkpointed(nn.Module):
    """A part that is run again for the backward pass."""

    def __init__(self, reentrant: bool = False) -> None:
        super().__init__()
        self.reentrant = reentrant
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU())
        self.block = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Dropout(0.3), nn.ReLU()
        )
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = checkpoint(self.block, self.stem(x), use_reentrant=self.reentrant)
        return self.fc(x.mean((2, 3)))


class Frozen(nn.Module):
    """A backbone under no_grad, as for linear probing."""

    def __init__(self, context: Callable[[], Any] = torch.no_grad) -> None:
        super().__init__()
        self.context = context
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 12, 3, stride=2), nn.ReLU()
        )
        self.fc = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        with self.context():
            x = self.backbone(x)
        return self.fc(x.mean((2, 3)).clone())


class Functional(nn.Module):
    """A residual block that adds and rectifies in place, by functions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        y = self.norm(self.conv(x))
        y += x
        return self.fc(F.relu_(y).mean((2, 3)))


class Alias(nn.Module):
    """A ReLU in place whose result is read by the name that it had before."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(inplace=True)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        self.relu(x)
        return self.fc(x.mean((2, 3)))


class Counting(nn.Module):
    """Buffers that change in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU())
        self.fc = nn.Linear(8, 5)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        x = self.conv(x)
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean((0, 2, 3))
        return self.fc(x.mean((2, 3)))


def signal(**_: Any) -> nn.Module:
    """A convolutional network for signals (B, C, L)."""
    return nn.Sequential(
        nn.Conv1d(3, 8, 5, stride=2), nn.BatchNorm1d(8), nn.ReLU(),
        nn.Conv1d(8, 12, 5, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(12, 5),
    )  # fmt: skip


def volume(**_: Any) -> nn.Module:
    """A convolutional network for volumes (B, C, D, H, W)."""
    return nn.Sequential(
        nn.Conv3d(3, 8, 3, stride=2, padding=1), nn.BatchNorm3d(8), nn.ReLU(),
        nn.Conv3d(8, 12, 3, stride=2, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(12, 5),
    )  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A network, inputs of two sizes that it takes, and the layer that is the one to explain."""

    build: Callable[[], nn.Module]
    layer: str
    sizes: tuple[tuple[int, ...], ...] = ((3, 32, 32), (3, 48, 64))


CASES = {
    "tutorial": Case(Tutorial, "relu#2"),
    "shared_with_gate": Case(SharedWithGate, "last"),
    "identity": Case(lambda: PassThrough(nn.Identity()), "conv"),
    "dropout": Case(lambda: PassThrough(nn.Dropout()), "conv"),
    "dropout_in_place": Case(lambda: PassThrough(nn.Dropout(0.5, True)), "conv"),
    "lora": Case(LoRA, "b"),
    "recurrent": Case(Recurrent, "conv", ((3, 32, 32), (3, 48, 32))),
    "resized": Case(Resized, "body.3", ((3, 24, 32), (3, 64, 40))),
    "wide": Case(Wide, "body", ((3, 64, 256), (3, 32, 64))),
    "encoder": Case(Encoder, "encoder"),
    "checkpointed": Case(Checkpointed, "block"),
    "functional": Case(Functional, "norm"),
    "alias": Case(Alias, "relu"),
    "counting": Case(Counting, "conv"),
    "signal": Case(signal, "4", ((3, 64), (3, 100))),
    "volume": Case(volume, "4", ((3, 8, 16, 16), (3, 16, 16, 24))),
    "frozen": Case(Frozen, "backbone.3"),
}
