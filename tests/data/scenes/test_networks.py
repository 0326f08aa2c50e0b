"""The bundled networks are accurate and small, and look at the objects."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import nn

from seewhy.data.scenes import CATEGORIES, Scenes, effect, load_network, train
from seewhy.data.scenes.networks import weights
from seewhy.data.scenes.train import average_precision

NAMES = ("scenes:resnet", "scenes:vgg")


@pytest.fixture(scope="module")
def scenes():
    return list(Scenes(64))


@pytest.mark.parametrize("name", NAMES)
def test_names_nearly_everything_in_unseen_scenes(name: str, scenes):
    network, classes, preprocess = load_network(name)
    assert classes == CATEGORIES
    assert not network.training
    with torch.no_grad():
        logits = network(torch.stack([preprocess(s.image) for s in scenes]))
    target = np.stack([s.target for s in scenes])
    assert average_precision_score(target, logits.numpy(), average="micro") > 0.93
    assert ((logits.numpy() > 0) == target).mean() > 0.97


def test_parts_that_methods_look_for():
    resnet, vgg = (load_network(name)[0] for name in NAMES)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in resnet.modules()) > 8
    assert sum(isinstance(m, nn.Linear) for m in resnet.modules()) == 1
    assert sum(isinstance(m, nn.Linear) for m in vgg.modules()) == 3
    assert all(m.bias is not None for m in vgg.modules() if isinstance(m, nn.Conv2d))
    for size, cells in ((128, 8), (192, 12)):
        for network in (resnet, vgg):
            shapes = []
            for module in network.modules():
                if isinstance(module, nn.Conv2d):
                    module.register_forward_hook(
                        lambda _m, _i, out, to=shapes: to.append(out.shape)
                    )
            assert network(torch.zeros(1, 3, size, size)).shape == (1, len(CATEGORIES))
            assert shapes[-1][2:] == (cells, cells)


def test_both_together_are_small():
    assert sum(weights(name.split(":")[1]).stat().st_size for name in NAMES) < 8_000_000


@pytest.mark.parametrize("name", NAMES)
def test_removing_the_object_is_what_matters(name: str, scenes):
    network, _, _ = load_network(name)
    right = []
    for scene in scenes[:16]:
        if len(set(scene.labels)) == len(scene.labels) > 1:
            for i, label in enumerate(scene.labels):
                change = effect(network, scene, label)
                right.append(int(change.abs().argmax()) == i)
    assert len(right) > 10
    assert np.mean(right) > 0.9


def test_effect_is_the_difference_of_two_logits(scenes):
    network, _, preprocess = load_network("scenes:resnet")
    scene = next(s for s in scenes if len(s.labels) >= 2)
    with torch.no_grad():
        a, b = (network(preprocess(s.image)[None])[0, 3] for s in (scene, scene.without(1)))
    change = effect(network, scene, 3)
    assert change.shape == (len(scene.labels),)
    torch.testing.assert_close(change[1], a - b, rtol=1e-4, atol=1e-4)
    assert torch.equal(effect(network, scene, CATEGORIES[3]), change)


def test_effect_leaves_the_network_as_it_was(scenes):
    network, _, _ = load_network("scenes:resnet")
    expected = effect(network, scenes[0], 0)
    network.train()
    before = copy.deepcopy(network.state_dict())
    assert torch.equal(effect(network, scenes[0], 0), expected)
    assert all(m.training for m in network.modules())
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


def test_unknown_names_are_told(scenes):
    with pytest.raises(ValueError, match="scenes:resnet and scenes:vgg"):
        load_network("scenes:alexnet")
    network, _, _ = load_network("scenes:vgg")
    with pytest.raises(ValueError, match="'zebra' is not one of"):
        effect(network, scenes[0], "zebra")
    with pytest.raises(ValueError, match="outputs 0 to 17"):
        effect(network, scenes[0], 18)


def test_average_precision_agrees_with_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 5, generator=generator)
    targets = (torch.rand(200, 5, generator=generator) < 0.2).float()
    expected = average_precision_score(targets.numpy(), logits.numpy(), average=None)
    np.testing.assert_allclose(average_precision(logits, targets).numpy(), expected, atol=1e-9)


def test_training_goes_on_where_it_was_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    images = torch.randint(0, 256, (256, 16, 16, 3), dtype=torch.uint8)
    # Something to learn: is it bright?
    images[::2] //= 2
    targets = (images.float().mean(dim=(1, 2, 3)) > 96).float()[:, None]

    def trained(checkpoint: Path) -> nn.Module:
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        network.append(nn.Linear(4, 1))
        train.fit(network, images, targets, epochs=3, rate=0.1, seed=0, checkpoint=checkpoint)
        return network

    whole = trained(tmp_path / "whole.pt")
    assert not whole.training
    assert average_precision(train.scores(whole, images), targets) > 0.95

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
    images = torch.zeros(64, 32, 32, 3, dtype=torch.uint8)
    images[:, 12:16, 20:26] = 255
    seen, gain, offset = train._augmented(images, torch.Generator().manual_seed(3))
    assert seen.shape == images.shape
    assert (seen.sum(dim=(1, 2, 3)) == images.sum(dim=(1, 2, 3))).all()
    left = torch.tensor([int(picture.any(dim=(0, 2)).nonzero()[0]) for picture in seen])
    assert len(set(left.tolist())) == 2  # the pictures of a batch are shifted alike, or mirrored
    assert gain.shape == offset.shape == (64, 3, 1, 1)
    assert 0.8 <= gain.min() <= gain.max() <= 1.2
    assert offset.abs().max() <= 0.15
