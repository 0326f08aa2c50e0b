"""The bundled networks are accurate and small, and look at the objects."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import nn

from seewhy.data.scenes import CATEGORIES, Scenes, effect, load_network
from seewhy.data.scenes.networks import weights

NAMES = ("scenes:resnet", "scenes:vgg", "scenes:vit")


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
    resnet, vgg, vit = (load_network(name)[0] for name in NAMES)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in resnet.modules()) > 8
    assert sum(isinstance(m, nn.Linear) for m in resnet.modules()) == 1
    assert sum(isinstance(m, nn.Linear) for m in vgg.modules()) == 3
    assert all(m.bias is not None for m in vgg.modules() if isinstance(m, nn.Conv2d))
    for size, cells in ((128, 8), (192, 12)):
        for network in (resnet, vgg, vit):
            shapes = []
            for module in network.modules():
                if isinstance(module, nn.Conv2d):
                    module.register_forward_hook(
                        lambda _m, _i, out, to=shapes: to.append(out.shape)
                    )
            assert network(torch.zeros(1, 3, size, size)).shape == (1, len(CATEGORIES))
            assert shapes[-1][2:] == (cells, cells)


def test_each_is_small():
    assert all(weights(name.split(":")[1]).stat().st_size < 4_000_000 for name in NAMES)


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
    with pytest.raises(ValueError, match="scenes:resnet, scenes:vgg, scenes:vit"):
        load_network("scenes:alexnet")
    network, _, _ = load_network("scenes:vgg")
    with pytest.raises(ValueError, match="'zebra' is not one of"):
        effect(network, scenes[0], "zebra")
    with pytest.raises(ValueError, match="outputs 0 to 17"):
        effect(network, scenes[0], 18)
