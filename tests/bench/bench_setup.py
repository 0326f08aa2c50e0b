"""A small benchmark in a folder of its own: networks that misbehave, a few pictures, a config."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from typer.testing import CliRunner

from seewhy.cli import app

NETWORKS = """
import ctypes, os, signal, time
from pathlib import Path

import torch
from torch import nn

from seewhy.data.preprocess import Preprocess
from seewhy.models import LoadedModel


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU()
        )
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


class OnWhite(Small):
    def __init__(self, act):
        super().__init__()
        self.act = act

    def forward(self, x):
        if (x.amin((1, 2, 3)) >= 1).any():
            self.act()
        return super().forward(x)


def loaded(network):
    preprocess = Preprocess(resize=(24, 24), mean=(0.0,) * 3, std=(1.0,) * 3)
    return LoadedModel(network, preprocess, ("ant", "bee", "cat"))


def small():
    return loaded(Small())


def fussy():
    def complain():
        raise RuntimeError("too bright")
    return loaded(OnWhite(complain))


def deadly():
    return loaded(OnWhite(lambda: os.kill(os.getpid(), signal.SIGKILL)))


def looping():
    def loop():
        while True:
            pass
    return loaded(OnWhite(loop))


def deaf():
    def hang():
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(one, signal.SIG_IGN)
        ctypes.PyDLL(None).sleep(1000)  # in C, with Python's lock
    return loaded(OnWhite(hang))


def stopped():
    return loaded(OnWhite(lambda: os.kill(os.getpid(), signal.SIGSTOP)))


def slow():
    return loaded(OnWhite(lambda: time.sleep(1)))


def blind():
    network = Small()
    with torch.no_grad():
        network.head.weight.fill_(float("nan"))
    return loaded(network)


def deadly_once():
    def die():
        if not Path(__file__).with_name("died").exists():
            Path(__file__).with_name("died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return loaded(OnWhite(die))
"""


def write_bench(folder: Path, **changes: object) -> Path:
    """Write networks, six pictures of two categories and a config; return the config's path.

    Of the pictures photos/bee/1.png is white. Three shards of two pictures.
    """
    (folder / "bench_nets.py").write_text(NETWORKS)
    sys.modules.pop("bench_nets", None)  # another folder's, which an earlier test imported
    noise = np.random.default_rng(0)
    for label in ("ant", "bee"):
        (folder / "photos" / label).mkdir(parents=True, exist_ok=True)
        for place in range(3):
            pixels = noise.integers(1, 255, (30, 40, 3), dtype=np.uint8)
            white = label == "bee" and place == 1
            path = folder / "photos" / label / f"{place}.png"
            Image.fromarray(pixels | np.uint8(255 * white)).save(path)
    content = {
        "name": "tiny",
        "networks": [{"model": "bench_nets:small"}],
        "datasets": [{"dataset": "folder:photos"}],
        "methods": ["grad_cam", "gradient", "random"],
        "metrics": ["average_drop", "insertion", "deletion", "gini"],
        "steps": 4,
        "batch_size": 2,
        "shard": 2,
        **changes,
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def write_bench_without(folder: Path) -> Path:
    """The same on the network that does not kill; the empty picture stays."""
    config = write_bench(folder, networks=[{"model": "bench_nets:small", "name": "it"}], shard=3)
    (folder / "photos/bee/1.png").write_bytes(b"")
    return config


def bench(config: Path, *options: str, code: int = 0) -> str:
    """Run `seewhy bench` in this process, without workers, and return what it prints."""
    arguments = ["bench", str(config), "--out", str(config.with_name("run"))]
    result = CliRunner().invoke(app, [*arguments, "--workers", "1", *options])
    assert result.exit_code == code, result.output + str(result.exception)
    return result.output
