"""Small networks that misbehave in the ways that real ones do."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Cnn(nn.Module):
    """Two convolutional stages, global pooling and a Linear; ReLUs as the test wants them."""

    def __init__(self, relu: str = "module", channels: int = 3, classes: int = 5) -> None:
        super().__init__()
        self.relu_kind = relu
        self.conv1 = nn.Conv2d(channels, 6, 3, stride=2, padding=1)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.bn2 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=relu == "inplace")  # shared by both stages
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(8, classes)

    def activate(self, x: Tensor) -> Tensor:
        return F.relu(x) if self.relu_kind == "functional" else self.relu(x)

    def features(self, x: Tensor) -> Tensor:
        x = self.activate(self.bn1(self.conv1(x)))
        return self.activate(self.bn2(self.conv2(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.features(x)).mean((2, 3)))


class Branching(Cnn):
    """A skip around the layer, a batch size remembered from the start, and writing in place."""

    def forward(self, x: Tensor) -> Tensor:
        batch = len(x)
        early = self.activate(self.bn1(self.conv1(x)))
        late = self.bn2(self.conv2(early))
        late += F.avg_pool2d(early, 2).mean(1, keepdim=True)
        late.relu_()
        return self.head(self.dropout(late).mean((2, 3)).view(batch, -1))


class Pair(NamedTuple):
    logits: Tensor
    aux: Tensor


class Wrapped(nn.Module):
    """A network whose output is not a plain tensor."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.net = Cnn()

    def forward(self, x: Tensor) -> object:
        y = self.net(x)
        return {
            "tuple": lambda: (y, x),
            "list": lambda: [y, x],
            "dict": lambda: {"aux": x, "logits": y},
            "out": lambda: OrderedDict(out=y, aux=x),
            "namedtuple": lambda: Pair(y, x),
        }[self.kind]()


class Failing(nn.Module):
    """Runs half-way, then raises."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Cnn()

    def forward(self, x: Tensor) -> Tensor:
        self.net(x)
        raise RuntimeError("the network broke")


class Segmenter(nn.Module):
    """One score per class and pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.ReLU())
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": F.interpolate(self.head(self.body(x)), x.shape[-2:], mode="bilinear")}


class Attending(nn.Module):
    """A small vision transformer with a class token: patches of 8 pixels, two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, 12))
        self.norms = nn.ModuleList(nn.LayerNorm(12) for _ in range(2))
        self.qkv = nn.ModuleList(nn.Linear(12, 36) for _ in range(2))
        self.mlps = nn.ModuleList(nn.Linear(12, 12) for _ in range(2))
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), patches], 1)
        for norm, qkv, mlp in zip(self.norms, self.qkv, self.mlps, strict=True):
            q, k, v = qkv(norm(x)).unflatten(2, (3, 3, 4)).permute(2, 0, 3, 1, 4)
            x = x + F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
            x = x + F.gelu(mlp(x))
        return self.head(x[:, 0])


def images(count: int = 3, size: tuple[int, int] = (32, 32), channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(count, channels, *size, generator=generator)


def seeded(factory: type[nn.Module], *args: object, **kwargs: object) -> nn.Module:
    """A network with fixed random weights and batch-norm statistics, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = factory(*args, **kwargs)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    return model.eval()


def replaced(model: nn.Module, layer: str, x: Tensor, output: Tensor) -> Tensor:
    """The network's scores with another output of a layer, by an ordinary hook."""
    handle = model.get_submodule(layer).register_forward_hook(lambda *_: output.clone())
    try:
        with torch.no_grad():
            return model(x)
    finally:
        handle.remove()
