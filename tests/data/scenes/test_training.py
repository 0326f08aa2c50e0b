"""The script that trains the bundled networks."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import nn

from seewhy.data.scenes.networks import build

ROOT = Path(__file__).parents[3]
spec = importlib.util.spec_from_file_location("train_scenes", ROOT / "scripts/train_scenes.py")
train = importlib.util.module_from_spec(spec)
spec.loader.exec_module(train)


def test_average_precision_agrees_with_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 5, generator=generator)
    targets = (torch.rand(200, 5, generator=generator) < 0.2).float()
    expected = average_precision_score(targets.numpy(), logits.numpy(), average=None)
    np.testing.assert_allclose(
        train.average_precision(logits, targets).numpy(), expected, atol=1e-9
    )


def test_training_goes_on_where_it_was_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    images = torch.randint(0, 256, (256, 16, 16, 4), dtype=torch.uint8)
    # Something to learn: is it bright?
    images[::2] //= 2
    targets = (images[..., :3].float().mean(dim=(1, 2, 3)) > 96).float()[:, None]

    def trained(checkpoint: Path) -> nn.Module:
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        network.append(nn.Linear(4, 1))
        train.fit(
            train.Whole(network), images, targets, epochs=3, rate=0.1, seed=0, checkpoint=checkpoint
        )
        return network

    whole = trained(tmp_path / "whole.pt")
    assert not whole.training
    assert train.average_precision(train.scores(whole, images), targets) > 0.95

    save = torch.save

    def save_and_stop(state: dict[str, object], path: Path) -> None:
        save(state, path)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "cut.pt")
    resumed = trained(tmp_path / "cut.pt")
    for expected, found in zip(
        whole.state_dict().values(), resumed.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(found, expected)


def test_augmentation_only_moves_and_mirrors():
    images = torch.zeros(64, 32, 32, 4, dtype=torch.uint8)
    images[:, 12:16, 20:26] = 255
    seen, gain, offset = train._augmented(images, torch.Generator().manual_seed(3))
    assert seen.shape == images.shape
    assert (seen.sum(dim=(1, 2, 3)) == images.sum(dim=(1, 2, 3))).all()
    left = torch.tensor([int(picture.any(dim=(0, 2)).nonzero()[0]) for picture in seen])
    assert len(set(left.tolist())) == 2  # the pictures of a batch are shifted alike, or mirrored
    assert gain.shape == offset.shape == (64, 3, 1, 1)
    assert 0.8 <= gain.min() <= gain.max() <= 1.2
    assert offset.abs().max() <= 0.15


def test_patches_are_asked_for_what_they_show():
    """The loss is the lower, the better the patches know; the convolutions are the ResNet's."""
    torch.manual_seed(0)
    asked = train.Patches(build("vit")).eval()
    assert not any(p.requires_grad for p in asked.network.patch_embed[:-1].parameters())
    x, targets = torch.randn(2, 3, 128, 128), torch.zeros(2, 18)
    shown = torch.full((2, 128, 128), train.NOTHING, dtype=torch.uint8)
    shown[:, :16, :16] = 4  # the first patch shows all of category 4
    nn.init.zeros_(asked.head.weight)
    nn.init.constant_(asked.head.bias, -30)
    whole = nn.functional.binary_cross_entropy_with_logits(asked.network(x), targets)
    wrong = 30 / (64 * 18)  # only that one is missed
    assert asked(x, targets, shown).item() == pytest.approx(whole.item() + wrong, rel=1e-4)
