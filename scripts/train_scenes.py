"""Trains and measures the bundled networks.

    python scripts/train_scenes.py                train all, write the weights, measure them
    python scripts/train_scenes.py --evaluate     measure the bundled weights

Training scenes are rendered once, from a seed of their own; the measurement is on scenes of seed 0,
which no training sees.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.progress import Progress, track
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from seewhy.data.scenes import networks
from seewhy.data.scenes.dataset import Scenes
from seewhy.data.scenes.objects import CATEGORIES

TRAIN_SEED, TEST_SEED = 1, 0
SIZE = 128
_RECIPE = {"resnet": (8, 4e-3), "vgg": (9, 8e-4), "vit": (3, 1.5e-3)}  # epochs, highest rate
NOTHING = 255  # in the map of categories


def _scene(index: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A scene's image with a fourth channel: which category each pixel shows."""
    scene = Scenes(index + 1, seed, SIZE)[index]
    shown = np.full((SIZE, SIZE, 1), NOTHING, np.uint8)
    for label, mask in zip(scene.labels, scene.masks, strict=True):
        shown[mask] = CATEGORIES.index(label)
    return np.concatenate([np.asarray(scene.image), shown], 2), scene.target


def render(count: int, seed: int, store: Path | None = None) -> tuple[Tensor, Tensor]:
    """The first `count` scenes of a seed: images uint8 (N, 128, 128, 4), targets (N, 18).

    Rendered by all cores; kept in and taken from the folder `store` where one is given.
    """
    kept = store / f"scenes-{seed}-{count}-4.npz" if store else None
    if kept and kept.exists():
        with np.load(kept) as file:
            return torch.from_numpy(file["images"]), torch.from_numpy(file["targets"])
    images = np.empty((count, SIZE, SIZE, 4), np.uint8)
    targets = np.empty((count, len(CATEGORIES)), np.float32)
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        made = pool.imap(partial(_scene, seed=seed), range(count), chunksize=50)
        for i, (image, target) in enumerate(track(made, f"rendering seed {seed}", total=count)):
            images[i], targets[i] = image, target
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, images=images, targets=targets)
    return torch.from_numpy(images), torch.from_numpy(targets)


def _inputs(images: Tensor, device: torch.device) -> Tensor:
    """uint8 (B, H, W, 4) to what the networks take: (B, 3, H, W) in -1 to 1, channels last."""
    return images[..., :3].to(device).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def _augmented(images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Mirrored and shifted pictures, and a gain and an offset for each of their channels.

    All of it leaves every label true.
    """
    n, h, w, _ = images.shape
    dy, dx = (int(v) for v in torch.randint(-6, 7, (2,), generator=generator))
    rows, columns = (torch.arange(h) + dy).clamp(0, h - 1), (torch.arange(w) + dx).clamp(0, w - 1)
    images = images[:, rows][:, :, columns]
    mirrored = torch.rand(n, generator=generator, dtype=torch.float32) < 0.5
    images[mirrored] = images[mirrored].flip(2)
    gain, offset = torch.rand(2, n, 3, 1, 1, generator=generator, dtype=torch.float32)
    return images, 0.8 + 0.4 * gain, 0.3 * offset - 0.15


class Whole(nn.Module):
    """The loss of a network that is asked for the categories of the whole image."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, targets: Tensor, shown: Tensor) -> Tensor:
        """The loss of images (B, 3, H, W)."""
        return F.binary_cross_entropy_with_logits(self.network(x).float(), targets)


class Patches(nn.Module):
    """The loss of a ViT whose patches are asked, too, what they show (Jiang et al. 2021).

    A small transformer learns much faster so. The second head is thrown away after the training.
    The convolutions start as those of the bundled ResNet, and stay as they are.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        assert isinstance(network, networks.ViT)
        trained, _, _ = networks.load_network("resnet")
        for own, other in zip(network.patch_embed[:-1], trained.children(), strict=False):
            if list(own.parameters()):
                own.load_state_dict(other.state_dict())
                own.requires_grad_(False)
        self.network = network
        self.head = nn.Linear(network.norm.normalized_shape[0], len(CATEGORIES))

    def forward(self, x: Tensor, targets: Tensor, shown: Tensor) -> Tensor:
        """The loss of images (B, 3, H, W) and maps of categories (B, H, W)."""
        tokens = self.network.tokens(x)
        whole = F.binary_cross_entropy_with_logits(self.network.head(tokens[:, 0]).float(), targets)
        cells = shown[:, 2::4, 2::4].long()
        cells = torch.where(cells == NOTHING, len(CATEGORIES), cells)
        share = F.one_hot(cells, len(CATEGORIES) + 1).float()[..., :-1]
        share = F.avg_pool2d(share.permute(0, 3, 1, 2), 4).flatten(2).transpose(1, 2)
        return whole + F.binary_cross_entropy_with_logits(self.head(tokens[:, 1:]).float(), share)


def fit(
    objective: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    epochs: int,
    rate: float,
    seed: int,
    checkpoint: Path,
) -> None:
    """Train in place: AdamW, one cycle of the learning rate; bfloat16 where that is faster.

    objective: (images, targets, maps of categories) -> loss.
    The state after each epoch lies in the file `checkpoint`, from which training goes on.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bfloat16 = device.type == "cuda" or torch.cpu._is_amx_tile_supported()
    objective.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    batch = 128
    steps = len(images) // batch
    learning = [p for p in objective.parameters() if p.requires_grad]
    # Biases and batch norms are not decayed.
    groups = [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": 0.03},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=epochs * steps, pct_start=0.15
    )
    generator = torch.Generator().manual_seed(seed)
    first = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        objective.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        generator.set_state(state["generator"])
        first = state["epoch"]
    with Progress() as progress:
        task = progress.add_task(checkpoint.stem, total=(epochs - first) * steps)
        for epoch in range(first, epochs):
            total = torch.zeros((), device=device)
            for chosen in torch.randperm(len(images), generator=generator).split(batch)[:steps]:  # type: ignore[no-untyped-call]
                seen, gain, offset = _augmented(images[chosen], generator)
                x = _inputs(seen, device).mul_(gain.to(device)).add_(offset.to(device))
                shown = seen[..., 3].to(device)
                with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                    loss = objective(x, targets[chosen].to(device), shown)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(learning, 1.0)
                optimizer.step()
                schedule.step()
                total += loss.detach()
                progress.advance(task)
            progress.print(f"{checkpoint.stem} epoch {epoch + 1}: loss {total / steps:.4f}")
            state = {
                "network": objective.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "generator": generator.get_state(),
                "epoch": epoch + 1,
            }
            torch.save(state, checkpoint)
    objective.to("cpu").eval()


def _half(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor


def average_precision(scores: Tensor, targets: Tensor) -> Tensor:
    """The area under each category's precision-recall curve: scores and targets (N, C), to (C,)."""
    order = scores.argsort(dim=0, descending=True)
    hits = targets.gather(0, order).double()
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1).unsqueeze(1)
    return (precision * hits).sum(0) / hits.sum(0)


@torch.no_grad()
def scores(network: nn.Module, images: Tensor) -> Tensor:
    """The logits of uint8 images (N, H, W, 3): (N, C), by a network in eval mode."""
    device = next(network.parameters()).device
    return torch.cat([network(_inputs(part, device)).cpu() for part in images.split(128)])  # type: ignore[no-untyped-call]


def main(
    network: Annotated[list[str], typer.Option(help="Which to train or measure.")] = [  # noqa: B006
        *networks.ARCHITECTURES
    ],
    scenes: Annotated[int, typer.Option(help="How many scenes to train on.")] = 40000,
    seed: Annotated[int, typer.Option(help="Of the first weights and of the order.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 for all.")] = 0,
    evaluate: Annotated[bool, typer.Option(help="Only measure the bundled weights.")] = False,
    test: Annotated[int, typer.Option(help="How many unseen scenes to measure on.")] = 5000,
    work: Annotated[Path, typer.Option(help="Where scenes and checkpoints are kept.")] = Path(
        "runs/scenes"
    ),
) -> None:
    """Train the bundled networks (or, with --evaluate, measure them) and print their accuracy."""
    if threads:
        torch.set_num_threads(threads)
    work.mkdir(parents=True, exist_ok=True)
    if not evaluate:
        images, targets = render(scenes, TRAIN_SEED, work)
        for name in network:
            torch.manual_seed(seed)
            made = networks.build(name)
            epochs, rate = _RECIPE[name]
            objective = Patches if name == "vit" else Whole
            start = time.perf_counter()
            fit(
                objective(made), images, targets, epochs=epochs, rate=rate, seed=seed,
                checkpoint=work / f"{name}.pt",
            )  # fmt: skip
            print(f"{name}: trained in {(time.perf_counter() - start) / 60:.1f} minutes")
            networks.weights(name).parent.mkdir(exist_ok=True)
            save_file(
                {k: _half(v).contiguous() for k, v in made.state_dict().items()},
                networks.weights(name),
            )
    images, targets = render(test, TEST_SEED, work)
    table = {
        name: average_precision(scores(networks.load_network(name)[0], images), targets)
        for name in network
    }
    for k, category in enumerate(CATEGORIES):
        print(f"{category:12}", *(f"{ap[k]:.4f}" for ap in table.values()))
    print(f"{'mean':12}", *(f"{ap.mean():.4f}" for ap in table.values()), f"({test} unseen scenes)")


if __name__ == "__main__":
    typer.run(main)
