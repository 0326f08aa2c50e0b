"""The same question always gets the same answer, and it is the one that plain autograd gives.

For about eighty networks: the first call, later ones, a fresh copy, other sizes and targets in
between, and Grad-CAM by a plain hook and `torch.autograd.grad` at the layer that is reported.
"""

from __future__ import annotations

import copy
from collections import UserDict
from contextlib import nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import seewhy
from architectures import NETWORKS, Network
from every import EVERY, OF_ATTENTION
from networks import Attending, Cnn
from seewhy import Probe, targets
from seewhy.core import probe as probing
from seewhy.core.layers import first_tensor, with_first_tensor
from seewhy.maps import upsample
from seewhy.naming import parse
from strange import (
    CASES,
    Alias,
    Checkpointed,
    Counting,
    Depth,
    Detector,
    Frozen,
    HeadsOfClasses,
    SharedWithGate,
    Siamese,
    Tutorial,
    TwoHeads,
    Yolo,
)
from untouched import Calls, assert_same, state


def made(build, seed: int = 0) -> nn.Module:
    """A network with fixed random weights in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build().eval()


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def plain(model: nn.Module, x: Tensor, target: int, probe: Probe) -> tuple[Tensor, Tensor]:
    """Maps and gradients at the probe's layer by a hook on the module and autograd over it all."""
    name, _, number = probe.layers[0].partition("#")
    outputs = []

    def keep(module, args, output):
        outputs.append(first_tensor(output))
        return with_first_tensor(output, outputs[-1].clone())  # what follows in place is a copy's

    handle = model.get_submodule(name).register_forward_hook(keep)
    try:
        with torch.enable_grad():
            scores = targets.Class(target)(model(x.clone().requires_grad_()))
            kept = outputs[int(number or 1) - 1]
            (gradient,) = torch.autograd.grad(scores.sum(), kept)
    finally:
        handle.remove()
    layout = probe.layout()
    return layout.to_maps(kept.detach()), layout.to_maps(gradient)


def alike(a: Tensor, b: Tensor, tolerance: float = 1e-4) -> bool:
    return bool((a - b).abs().max() <= tolerance * b.abs().max().clamp_min(1e-12))


def check(model: nn.Module, x: Tensor, other: Tensor | None) -> Probe:
    first = seewhy.explain(model, x, "grad_cam", 1)
    fresh = copy.deepcopy(model)
    if other is not None:
        elsewhere = seewhy.explain(model, other, "grad_cam", 0)
    seewhy.explain(model, x, "grad_cam", 0)
    assert torch.equal(seewhy.explain(model, x, "grad_cam", 1), first)
    if other is not None:
        assert torch.equal(seewhy.explain(fresh, other, "grad_cam", 0), elsewhere)
    assert torch.equal(seewhy.explain(fresh, x, "grad_cam", 1), first)
    probe = Probe(model, x, 1)
    maps, gradients = plain(model, x, 1, probe)
    assert gradients.any()
    assert alike(probe.activations(), maps)
    assert alike(probe.gradients(), gradients)
    expected = torch.einsum("bk,bk...->b...", gradients.flatten(2).mean(2), maps).relu()
    assert torch.allclose(
        first, upsample(expected, x.shape[2:]), atol=1e-4 * float(maps.abs().max())
    )
    return probe


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_architectures(network: Network) -> None:
    model = network.build()
    x = drawn(1, 3, network.size, network.size)
    other = None if network.fixed else drawn(1, 3, network.size + 32, network.size + 64, seed=2)
    check(model, x, other)


@pytest.mark.parametrize("name", CASES)
def test_strange_networks(name: str) -> None:
    case = CASES[name]
    model = made(case.build)
    x, other = (drawn(2, *size) for size in case.sizes)
    if name == "frozen":  # plain autograd finds nothing there
        probe = Probe(model, x, 1)
        scores = (model.fc.weight[1] / 1)[:, None, None] * probe.activations()
        assert alike(
            seewhy.explain(model, x, "hires_cam", 1, size="layer") * 49, scores.sum(1).relu()
        )
    else:
        probe = check(model, x, other)
    assert probe.layers == (case.layer,)
    # Named, it is the same.
    named = seewhy.explain(model, x, "grad_cam", 1, layer=case.layer)
    assert alike(named, seewhy.explain(model, x, "grad_cam", 1))
    alone = torch.cat([seewhy.explain(model, one[None], "grad_cam", 1) for one in x])
    assert alike(named, alone)


# ---------------------------------------------------------------------- a layer is a call


def test_each_call_of_a_shared_module_is_a_layer():
    model, x = made(Tutorial), drawn(2, 3, 32, 32)
    every = {
        number: seewhy.explain(model, x, "grad_cam", 1, layer=f"relu#{number}", size="layer")
        for number in (1, 2)
    }
    assert every[1].shape[1:] == (28, 28)
    assert every[2].shape[1:] == (10, 10)
    # Without a number: the last call whose output holds maps.
    plainly = Probe(model, x, 1, "relu")
    assert plainly.layers == ("relu#2",)
    with pytest.raises(ValueError, match="called 4 times in this pass, not 5"):
        seewhy.explain(model, x, "grad_cam", 1, layer="relu#5")
    with pytest.raises(ValueError, match="holds no maps"):
        seewhy.explain(model, x, "grad_cam", 1, layer="relu#3")


@pytest.mark.parametrize(
    "method",
    ["grad_cam+smooth(samples=2)", "gig_cam(steps=3)", "integrated_grad_cam(steps=3)", "tsgb",
     "grad_cam+gradual", "score_cam", "ablation_cam", "layer_cam+refine_cam"],
)  # fmt: skip
@pytest.mark.parametrize("build", [Tutorial, SharedWithGate])
def test_methods_on_shared_modules(build, method):
    model, x = made(build), drawn(2, 3, 32, 32)
    first = seewhy.explain(model, x, method, 1)
    assert torch.equal(seewhy.explain(model, x, method, 1), first)
    assert torch.isfinite(first).all()


def test_reading_changes_nothing():
    model, x = made(SharedWithGate), drawn(2, 3, 32, 32)
    expected = seewhy.explain(model, x, "grad_cam", 1, size="layer")
    probe = Probe(model, x, 1)
    probe.activations("conv")
    probe.gradients("relu#1")
    assert probe.layers == ("last",)
    assert torch.equal(seewhy.Method("grad_cam")(probe), expected)
    assert torch.equal(probe.gradients("conv"), Probe(model, x, 1, "conv").gradients())
    named = Probe(model, x, 1, "conv")
    named.activations("last")
    named.stages  # noqa: B018
    assert named.layers == ("conv",)


# ---------------------------------------------------------------------- heads and outputs


@pytest.mark.parametrize("first", ["coarse", "fine"])
def test_each_head_has_a_layer_of_its_own(first):
    model, x = made(lambda: TwoHeads(first)), drawn(2, 3, 32, 32)
    for _ in range(2):
        for head in ("fine", "coarse", "fine"):
            target = targets.Of(head, 1)
            assert Probe(model, x, target).layers == (head,)
            maps = seewhy.explain(model, x, ["grad_cam", "tsgb", "gradient"], target)
            assert all(torch.isfinite(found).all() and found.any() for found in maps.values())
    probe = Probe(model, x, targets.Of("fine", 1))
    assert probe.with_target(targets.Of("coarse", 1)).layers == ("coarse",)
    assert probe.layers == ("fine",)


def test_one_of_several_heads_takes_any_target():
    model, x = made(TwoHeads), drawn(2, 3, 32, 32)
    scores = model(x)["fine"]
    of = {
        "predicted": (None, scores.max(1).values),
        "class": (2, scores[:, 2]),
        "each": ([0, 1], scores[[0, 1], [0, 1]]),
        "contrast": (targets.Contrast(0, 1), scores[:, 0] - scores[:, 1]),
        "probability": (targets.Probability(1), scores.softmax(1)[:, 1]),
        "second": (targets.Predicted(2), scores.topk(2).values[:, 1]),
        "function": (lambda head: head.sum(1), scores.sum(1)),
    }
    for target, expected in of.values():
        assert torch.allclose(Probe(model, x, targets.Of("fine", target)).score, expected)
    assert Probe(model, x, targets.Of("fine")).logits.shape == (2, 3)
    with pytest.raises(ValueError, match="no part 'age'"):
        seewhy.explain(model, x, "grad_cam", targets.Of("age", 1))
    with pytest.raises(ValueError, match="no part 'T': at 'T' there is Tensor"):
        targets.Of("T", 1)(scores)
    with pytest.raises(ValueError, match="no part 'age': at 'age' there is SimpleNamespace"):
        targets.Of("age", 1)(SimpleNamespace(fine=scores))


def test_methods_that_balance_the_classifier_take_the_one_that_the_score_reads():
    model, x = made(TwoHeads), drawn(2, 3, 32, 32)

    class Fine(nn.Module):
        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            return self.net.of_fine(self.net.fine(self.net.trunk(x)).mean((2, 3)))

    for method in (
        "tsgb",
        "contrastive_excitation_backprop",
        "finer_cam(references=2)",
        "shapley_cam",
    ):
        found = seewhy.explain(model, x, method, targets.Of("fine", 1))
        assert alike(found, seewhy.explain(Fine(model).eval(), x, method, 1)), method


@pytest.fixture(params=["at once", "late"])
def answers(request, monkeypatch):
    """Whether the choice of the layer is confirmed at once, or afterwards as on an accelerator."""
    if request.param == "late":
        monkeypatch.setattr(probing, "_answers_late", lambda _: True)


@pytest.mark.usefixtures("answers")
def test_a_batch_whose_classes_read_different_layers():
    model, x = made(HeadsOfClasses), drawn(3, 3, 32, 32)
    together = seewhy.explain(model, x, ["grad_cam", "gradient"], [0, 3, 1])
    for i, target in enumerate((0, 3, 1)):
        for method, maps in together.items():
            assert alike(maps[i : i + 1], seewhy.explain(model, x[i : i + 1], method, target))
    with pytest.raises(ValueError, match="'a'"):
        Probe(model, x, [0, 3, 1]).layers  # noqa: B018


class InParts(nn.Module):
    """Gives its images to another network one by one, or a few at a time."""

    def __init__(self, network: nn.Module, images: int) -> None:
        super().__init__()
        self.network, self.images = network, images

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.network(part) for part in x.split(self.images)])


@pytest.mark.parametrize(
    ("build", "method"),
    [*((Cnn, method) for method in EVERY), *((Attending, method) for method in OF_ATTENTION)],
)
def test_a_network_that_takes_its_images_in_parts(build, method):
    network, x = made(build), drawn(3, 3, 32, 32)
    expected = seewhy.explain(network, x, method, [0, 2, 1])
    for images in (1, 2):
        found = seewhy.explain(InParts(network, images), x, method, [0, 2, 1])
        assert alike(found, expected), images


@pytest.mark.parametrize("method", ["guided_grad_cam", "grad_cam+detail"])
def test_contrasts_of_a_network_that_takes_its_images_in_parts(method):
    """Where several are asked of it, one for each image."""
    network, x = made(Cnn), drawn(2, 3, 16, 16)
    target = targets.Contrast([0, 2], [1, 3])
    expected = seewhy.explain(network, x, method, target)
    assert alike(seewhy.explain(InParts(network, 1), x, method, target), expected)


class Shuffled(nn.Module):
    """Gives its images to another network in another order."""

    def __init__(self, network: nn.Module, kind: str = "index") -> None:
        super().__init__()
        self.network, (self.there, self.back) = network, MOVES[kind]

    def forward(self, x: Tensor) -> Tensor:
        return self.back(self.network(self.there(x))) if len(x) > 1 else self.network(x)


def turned(x: Tensor, by: int) -> Tensor:
    return torch.arange(len(x)).roll(by)


MOVES = {
    "index": (lambda x: x[turned(x, 1)], lambda y: y[turned(y, -1)]),
    "select": (
        lambda x: x.index_select(0, turned(x, 1)),
        lambda y: y.index_select(0, turned(y, -1)),
    ),
    "flip": (lambda x: x.flip(0), lambda y: y.flip(0)),
    "roll": (lambda x: x.roll(1, 0), lambda y: y.roll(-1, 0)),
    "cat": (lambda x: torch.cat([x[1:], x[:1]]), lambda y: torch.cat([y[-1:], y[:-1]])),
    "stack": (lambda x: x.flip(0), lambda y: torch.stack([*y][::-1])),
}


@pytest.mark.parametrize(
    ("build", "method"),
    [*((Cnn, method) for method in EVERY),
     *((Attending, method) for method in OF_ATTENTION)],
)  # fmt: skip
def test_a_network_that_shuffles_its_images(build, method):
    network, x = made(build), drawn(3, 3, 32, 32)
    expected = seewhy.explain(network, x, method, [0, 2, 1])
    assert alike(seewhy.explain(Shuffled(network), x, method, [0, 2, 1]), expected)


@pytest.mark.usefixtures("answers")
@pytest.mark.parametrize("kind", MOVES)
@pytest.mark.parametrize("layer", [None, "conv1"])
def test_ways_to_shuffle(kind, layer):
    network, x = made(Cnn), drawn(3, 3, 32, 32)
    expected = seewhy.explain(network, x, "grad_cam", 1, layer=layer)
    model, named = Shuffled(network, kind), layer and f"network.{layer}"
    assert alike(seewhy.explain(model, x, "grad_cam", 1, layer=named), expected)


class Experts(Cnn):
    """Behind the first layer each image has one of two layers of its own."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.experts = nn.ModuleList([nn.Conv2d(6, 8, 3, padding=1) for _ in range(2)])

    def features(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        which = (x.sum((1, 2, 3)) * 1000).long().tolist()
        parts = [self.experts[k % 2](x[i : i + 1]) for i, k in enumerate(which)]
        return self.bn2(torch.cat(parts)).relu() if self.relu_kind == "late" else torch.cat(parts)


@pytest.mark.usefixtures("answers")
@pytest.mark.parametrize("kind", ["late", "early"])
@pytest.mark.parametrize("method", ["grad_cam", "excitation_backprop", "auto(effort='quick')"])
def test_a_network_with_layers_for_some_of_its_images(kind, method):
    model, x = made(lambda: Experts(kind)), drawn(4, 3, 32, 32)
    found = seewhy.explain(model, x, method, 1)
    for i in range(len(x)):
        assert alike(found[i : i + 1], seewhy.explain(model, x[i : i + 1], method, 1))


@pytest.mark.usefixtures("answers")
def test_layers_of_a_network_that_takes_its_images_in_parts():
    network, x = made(Cnn), drawn(3, 3, 32, 32)
    for layer in (None, "conv1", ["conv1", "conv2"]):
        expected = seewhy.explain(network, x, "layer_cam", 1, layer=layer)
        names = [f"network.{name}" for name in layer] if isinstance(layer, list) else layer
        names = f"network.{names}" if isinstance(names, str) else names
        found = seewhy.explain(InParts(network, 1), x, "layer_cam", 1, layer=names)
        assert alike(found, expected), layer
    with pytest.raises(ValueError, match=r"'network\.conv1' handed out no tensor"):
        Probe(InParts(network, 1), x, 1, "network.conv1").layers  # noqa: B018


@pytest.mark.usefixtures("answers")
@pytest.mark.parametrize(
    "method", ["grad_cam", "gig_cam(steps=2)", "grad_cam+multiscale", "eigen_cam"]
)
def test_a_last_layer_without_gradient_is_passed_over(method):
    model, x = made(HeadsOfClasses), drawn(2, 3, 32, 32)
    found = seewhy.explain(model, x, method, 1)  # of branch a; b runs after it
    assert alike(found, seewhy.explain(model, x, method, 1, layer="a"))


@pytest.mark.usefixtures("answers")
def test_an_error_of_a_method_is_its_own():
    model, x = made(HeadsOfClasses), drawn(2, 3, 32, 32)
    with pytest.raises(ValueError, match="steps"):
        seewhy.explain(model, x, "integrated_gradients(steps=1, rule='trapezoid')", 1)


class HeadFirst(nn.Module):
    """What is called last is defined first, and what is called twice lies in neither."""

    def __init__(self) -> None:
        super().__init__()
        self.classify = nn.Linear(8, 4)
        self.head = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.tools = nn.ModuleDict({"mix": nn.Conv2d(8, 8, 1)})
        convs = [nn.Conv2d(3 if i == 0 else 8, 8, 3, 2 if i < 3 else 1, 1) for i in range(20)]
        self.body = nn.Sequential(*convs)
        self.after = "head"

    def forward(self, x: Tensor) -> Tensor:
        x = self.body[0](x)
        for part in self.body[1:]:
            x = part(self.tools["mix"](x) if part in self.body[4:7] or part is self.body[19] else x)
        return self.classify(getattr(self, self.after)(x).mean((2, 3)))


@pytest.mark.parametrize("after", ["head", "mixes"])
def test_what_is_defined_first_and_called_last(after):
    model, x = made(HeadFirst), drawn(2, 3, 32, 32)
    model.after = after
    model.mixes = lambda x: model.tools["mix"](x)
    chosen = "head" if after == "head" else "tools.mix#5"
    assert Probe(model, x, 1).layers == (chosen,)
    assert Probe(model, x, 1).expect("name").layers == (chosen,)
    probe = Probe(model, x, 1, layer="body.19")
    assert (probe.layers, probe.calls["tools.mix"]) == (("body.19",), 4 + (after == "mixes"))
    maps, gradients = plain(model, x, 1, probe)
    assert alike(probe.activations(), maps)
    assert alike(probe.gradients(), gradients)
    with pytest.raises(ValueError, match=r"called [45] times in this pass, not 9"):
        Probe(model, x, 1, layer="tools.mix#9").layers  # noqa: B018


def convolutions(count: int, given: int = 3) -> nn.Sequential:
    blocks = [
        nn.Sequential(nn.Conv2d(given if i == 0 else 8, 8, 3, 1 + (i == 0), 1), nn.BatchNorm2d(8))
        for i in range(count)
    ]
    return nn.Sequential(*[part for block in blocks for part in (*block, nn.ReLU())])


class Around(nn.Module):
    """Calls another module, which it holds or keeps out of sight, and changes what that returns."""

    def __init__(self, inner: nn.Module, hides: bool) -> None:
        super().__init__()
        self.held = [inner] if hides else nn.ModuleList([inner])
        self.mix = nn.Conv2d(8, 8, 1) if hides else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(self.held[0](x) - 0.1).sigmoid()


class Wrapped(nn.Module):
    """What calls a part is defined after it, or before it and without holding it."""

    def __init__(self, hides: bool) -> None:
        super().__init__()
        features = convolutions(10)
        if not hides:
            self.features = features
        self.encoder = nn.Sequential(Around(features, hides))
        self.features = features
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.encoder(x).mean((2, 3)))


class Hourglass(nn.Module):
    """Down, up again, and a pool, which has no lower resolution than the bottleneck."""

    def __init__(self) -> None:
        super().__init__()
        down = [nn.Conv2d(3 if i == 0 else 8, 8, 3, 2, 1) for i in range(3)]
        up = [part for _ in range(3) for part in (nn.Upsample(scale_factor=2), *convolutions(3, 8))]
        self.body = nn.Sequential(*down, nn.ReLU(), *up)
        self.pool = nn.AdaptiveAvgPool2d(7)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.body(x)).mean((2, 3)))


class HardSwish(nn.Module):
    """An activation with a part."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x + 3) / 6


class Swishing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(convolutions(10), nn.Sequential(nn.Conv2d(8, 8, 1), HardSwish()))
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x).mean((2, 3)))


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize(
    ("build", "layer", "passes"),
    [
        (lambda: Wrapped(hides=False), "encoder", 1),
        (lambda: Wrapped(hides=True), "encoder", 2),
        (Hourglass, "pool", 1),
        (Swishing, "body", 1),
    ],
)
def test_the_layer_is_that_of_a_pass_that_sees_all(build, layer, passes, images):
    model, x = made(build), drawn(images, 3, 32, 32)
    calls = Calls(model)
    probe = Probe(model, x, 1)
    found = probe.activations()
    assert calls.count == passes
    assert probe.layers == Probe(model, x, 1).expect("name").layers
    assert probe.layers[0].startswith(layer)
    assert alike(found, Probe(model, x, 1).expect("name").activations())


@pytest.mark.usefixtures("answers")
def test_an_interrupted_question_is_put_anew():
    model, x = made(HeadsOfClasses), drawn(2, 3, 32, 32)

    def interrupt(probe: Probe) -> Tensor:
        probe.activations()
        raise KeyboardInterrupt

    probe = Probe(model, x, 1)
    with pytest.raises(KeyboardInterrupt):
        probe._trusting(lambda: interrupt(probe))
    assert probe.layers == ("a",)


@pytest.mark.usefixtures("answers")
def test_an_interrupt_leaves_what_was_found_before():
    model, x = made(Tutorial), drawn(2, 3, 32, 32)

    def interrupted() -> Tensor:
        raise KeyboardInterrupt

    probe = Probe(model, x, 1)
    methods = [parse("grad_cam"), parse("rise(masks=4)")]
    found = probe.maps(methods)
    with pytest.raises(KeyboardInterrupt):
        probe._trusting(interrupted)
    calls = Calls(model)
    assert all(map(torch.equal, probe.maps(methods), found))
    assert calls.count == 0


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("queries", [16, 100])
def test_queries_are_no_patches(listed, queries):
    model, x = made(lambda: Detector(queries, listed)), drawn(2, 3, 64, 48)

    def score(outputs):
        if listed:
            return torch.stack([each["scores"][:, 2].max() for each in outputs])
        return outputs["detections"]["logits"][:, :, 2].max(1).values

    probe = Probe(model, x, score)
    assert probe.activations().shape[2:] == (8, 6)
    assert probe.layers == ("encoder",)
    methods = ["grad_cam", "gradient", "occlusion(patch=16)", "rise(masks=20)", "score_cam"]
    methods += ["gig_cam(steps=3)", "guided_integrated_gradients(steps=3)"]
    together = seewhy.explain(model, x, methods, score)
    for method, maps in together.items():
        alone = torch.cat([seewhy.explain(model, one[None], method, score) for one in x])
        assert alike(maps, alone), method
        assert maps.any()


@pytest.mark.parametrize("reads", [(), ("input",), ("name",), ("stages",)])
@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("queries", [48, 49, 64])
def test_as_many_queries_as_patches(queries, trained, reads):
    """Or up to 16 more, as if class and register tokens came before the patches."""
    model, x = made(lambda: Detector(queries)).requires_grad_(trained), drawn(2, 3, 64, 48)

    def score(outputs):
        return outputs["detections"]["logits"][:, 3, 2]

    for images in (x, x[:1]):
        probe = Probe(model, images, score).expect(*reads)
        assert probe.layers == ("encoder",)
        assert {*probe.stages} <= {"backbone"}
        maps = [one.among_patches for one in probe.attentions()]
        assert queries == 48 or maps == [True, False]


class TokensFirst(nn.Module):
    """A transformer whose sequences are (tokens, images, features), torch's default."""

    def __init__(self, class_token: bool = False) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 8, stride=8)
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(16, 2, 32) for _ in range(2))
        self.token = nn.Parameter(torch.randn(1, 1, 16)) if class_token else None
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).permute(2, 0, 1)
        if self.token is not None:
            tokens = torch.cat([self.token.expand(-1, len(x), -1), tokens])
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(tokens.mean(0) if self.token is None else tokens[0])


@pytest.mark.parametrize("class_token", [False, True])
def test_as_many_images_as_tokens(class_token):
    """Their sequences have the shape that those with images first would have."""
    model, x = made(lambda: TokensFirst(class_token)), drawn(16 + class_token, 3, 32, 32)
    methods = ["grad_cam", "layer_cam", "score_cam"]
    together = seewhy.explain(model, x, methods, 1)
    for index in (0, 9, -1):
        alone = seewhy.explain(model, x[index][None], methods, 1)
        assert all(alike(together[name][index][None], alone[name]) for name in methods)
    assert Probe(model, x, 1).layers == ("patches",)
    for images in (x, x[:3]):
        with pytest.raises(ValueError, match=r"blocks.0' handed out no tensor with one entry per"):
            seewhy.explain(model, images, "grad_cam", 1, layer="blocks.0")
        with pytest.raises(ValueError, match="take"):
            seewhy.explain(model, images, "le_grad", 1)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_the_order_of_rows_is_told_in_any_gradient_mode(context):
    """Of a network that shuffles its images, and of one with as many tokens as images."""
    shuffled, attending = Shuffled(made(Cnn)), Shuffled(made(Attending))
    model, x = made(TokensFirst), drawn(16, 3, 32, 32)
    with context():
        with pytest.raises(ValueError, match="another order"):
            Probe(shuffled, x, 1).gradients()
        with pytest.raises(ValueError, match="another order"):
            Probe(attending, x, 1).attentions()
        assert Probe(model, x, 1).layers == ("patches",)


def test_as_many_channels_as_signals():
    model = made(lambda: nn.Sequential(nn.Conv1d(2, 6, 3), nn.Flatten(), nn.Linear(108, 4)))
    x = drawn(6, 2, 20)
    for method in ("grad_cam", "tsgb", "excitation_backprop"):
        together = seewhy.explain(model, x, method, 1, layer="0")
        alone = [seewhy.explain(model, one[None], method, 1, layer="0") for one in x]
        assert alike(together, torch.cat(alone)), method


def test_rows_of_predictions_are_no_maps():
    model, x = made(Yolo), drawn(2, 3, 64, 64)
    probe = Probe(model, x, lambda rows: rows[:, :, 3].logsumexp(1))
    assert probe.activations().shape[2:] == (4, 4)
    assert not probe.layers[0].startswith("heads")


@pytest.mark.parametrize("channels", [1, 3])
def test_the_output_itself_is_not_explained(channels):
    model, x = made(lambda: Depth(channels)), drawn(2, 3, 32, 32)
    with torch.no_grad():  # some pixels of each kind
        model.head.bias -= model(x).median()
    for target in (targets.Segment(0), lambda out: out[:, 0].mean((1, 2))):
        assert Probe(model, x, target).layers == ("decoder",)
    segment = targets.Segment(0).resolve(model(x))
    mask = model(x)[:, 0] > 0 if channels == 1 else model(x).argmax(1) == 0
    assert torch.equal(segment.region, mask)


def test_probabilities_of_one_channel():
    scores = torch.tensor([[0.1, 0.6], [0.4, 0.9]])[None, None]
    region = targets.Segment(0).resolve(scores).region
    assert region.tolist() == [[[False, True], [False, True]]]


# ---------------------------------------------------------------------- several inputs


def test_the_call_that_depends_on_the_explained_input_counts():
    model, x, other = made(Siamese), drawn(2, 3, 32, 32), drawn(2, 3, 32, 32, seed=5)

    class Against(nn.Module):
        """The same network of one input; its backbone runs once."""

        def __init__(self, first: bool) -> None:
            super().__init__()
            self.net, self.first = model, first

        def forward(self, image: Tensor) -> Tensor:
            mine = self.net.backbone(image).mean((2, 3))
            with torch.no_grad():
                there = other if self.first else x
                body = self.net.backbone
                for layer in body:
                    there = layer.forward(there)  # past all hooks
            return self.net.head((mine - there.mean((2, 3))).abs())

    for explained, given in ((0, x), (1, other)):
        for layer in (None, "backbone.3"):
            maps = seewhy.explain(
                model, (x, other), "grad_cam", 1, explained=explained, layer=layer
            )
            expected = seewhy.explain(Against(explained == 0).eval(), given, "grad_cam", 1)
            assert alike(maps, expected)
    probe = Probe(model, (x, other), 1, explained=1)
    assert probe.layers == ("backbone.3#2",)
    with pytest.raises(ValueError, match=r"several of the inputs.*0: \(2, 3, 32, 32\)"):
        seewhy.explain(model, (x, other), "grad_cam", 1)
    with pytest.raises(ValueError, match="explained=2"):
        seewhy.explain(model, (x, other), "grad_cam", 1, explained=2)
    alone = torch.cat([
        seewhy.explain(model, (a[None], b[None]), "rise(masks=10)", 1, explained=0)
        for a, b in zip(x, other, strict=True)
    ])  # fmt: skip
    assert alike(seewhy.explain(model, (x, other), "rise(masks=10)", 1, explained=0), alone)


@pytest.mark.parametrize("explained", [0, 1])
def test_what_is_read_beside_a_named_call_is_of_the_same_image(explained):
    model, pair = made(Siamese), (drawn(2, 3, 32, 32), drawn(2, 3, 32, 32, seed=5))
    late, first = (f"backbone.{layer}#{explained + 1}" for layer in (2, 1))

    def asked(*reads):
        return Probe(model, pair, 1, late, explained=explained).expect(*reads)

    for probe in (asked(), asked("stages", "excitations")):
        assert probe.score.isfinite().all()  # the pass is made before more of it is read
        assert [*probe.stages] == [first]
        assert torch.equal(probe.stages[first], probe.activations(first))
        assert torch.equal(probe.excitations[0], pair[explained])
        assert len(probe.excitations) == 3
    for stages in ("author", "last"):
        name = f"grad_cam+gradual(stages='{stages}')"
        maps, expected = (
            seewhy.explain(model, pair, name, 1, layer=layer, explained=explained)
            for layer in (late, "backbone.2")
        )
        assert maps.any()
        assert torch.equal(maps, expected)


class Classifying(nn.Module):
    """A classifier, and a decoder beside it, which climbs through the classifier's resolutions."""

    def __init__(self, decodes: bool) -> None:
        super().__init__()
        self.decodes = decodes
        self.e1, self.e2, self.e3 = (
            nn.Sequential(nn.Conv2d(k, 8, 3, stride=2, padding=1), nn.ReLU()) for k in (3, 8, 8)
        )
        self.fc = nn.Linear(8, 5)
        self.d2, self.d1, self.out = (nn.ConvTranspose2d(8, k, 2, stride=2) for k in (8, 8, 4))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.e3(self.e2(self.e1(x)))
        outputs = {"classes": self.fc(x.mean((2, 3)))}
        if self.decodes:
            outputs["pixels"] = self.out(self.d1(self.d2(x)))
        return outputs


def test_a_decoder_beside_a_classifier_changes_nothing():
    """The classifier's score reads nothing of it, nor has it stages that are the classifier's."""
    plain, beside = made(lambda: Classifying(False)), made(lambda: Classifying(True))
    x, target = drawn(2, 3, 64, 48), targets.Of("classes", 1)
    for layer in (None, "e3"):
        assert [*Probe(beside, x, target, layer).stages] == ["e1", "e2"]
        expected = seewhy.explain(plain, x, EVERY, target, layer=layer)
        for name, maps in seewhy.explain(beside, x, EVERY, target, layer=layer).items():
            assert torch.equal(maps, expected[name]), name
    name = "grad_cam+gradual(stages='last')"
    expected = seewhy.explain(plain, x, name, target)
    assert torch.equal(seewhy.explain(beside, x, name, target), expected)


@dataclass(frozen=True)
class Answer:
    """What torch knows nothing of; the scores, and as many words as there may be images."""

    scores: Tensor
    words: int = 7


class Said(UserDict):
    """A mapping of one's own."""


class Attributes(dict):
    """A dictionary as many write it."""

    __getattr__ = dict.__getitem__


KINDS = {
    "an object": lambda scores: Answer(scores),
    "a namespace": lambda scores: SimpleNamespace(scores=scores, one=nn.Identity()),
    "a mapping": lambda scores: Said(scores=scores),
    "a dictionary": lambda scores: Attributes(scores=scores),
    "one in another": lambda scores: [{"first": Attributes(scores=[scores])}],
}


class Says(nn.Module):
    """A network that returns its scores in some container."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.net, self.kind = Cnn(), kind

    def forward(self, x: Tensor) -> Any:
        return KINDS[self.kind](self.net(x))


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_in_any_container(kind):
    """Methods that show the network many images at once, or one of several, read them too."""
    path = "0.first.scores.0" if kind == "one in another" else "scores"
    model, x = made(lambda: Says(kind)), drawn(3, 3, 32, 32)
    names = [name for name in EVERY if name != "cam"]
    expected = seewhy.explain(made(Cnn), x, names, [1, 3, 0])
    for name, maps in seewhy.explain(model, x, names, targets.Of(path, [1, 3, 0])).items():
        assert alike(maps, expected[name]), name


def test_scores_whose_images_are_not_first():
    """They can be read where the network sees the batch as it is, and nowhere else."""

    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Cnn()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x).T

    model, x = made(Turned), drawn(3, 3, 32, 32)
    maps = seewhy.explain(model, x, "grad_cam", lambda scores: scores[1])
    assert alike(maps, seewhy.explain(model.net, x, "grad_cam", 1))
    for name in ("rise(masks=9)", "occlusion", "score_cam", "integrated_gradients", "gig_cam"):
        with pytest.raises(ValueError, match="images first"):
            seewhy.explain(model, x, name, lambda scores: scores[1])


def test_inputs_by_keyword():
    class Conditioned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.word = nn.Conv2d(3, 8, 3, stride=2), nn.Embedding(5, 8)
            self.fc = nn.Linear(8, 4)

        def forward(self, pixels: Tensor, words: Tensor) -> Tensor:
            gate = self.word(words).mean(1)[:, :, None, None]
            return self.fc((self.conv(pixels).relu() * gate).mean((2, 3)))

    model, x, words = made(Conditioned), drawn(3, 3, 32, 32), torch.tensor([[1, 2], [0, 4], [3, 3]])
    methods = ["grad_cam", "integrated_gradients(steps=3)", "occlusion(patch=16)", "ablation_cam"]
    together = seewhy.explain(model, {"pixels": x, "words": words}, methods, 1)
    assert list(together) == methods
    for i in range(3):
        inputs = {"pixels": x[i : i + 1], "words": words[i : i + 1]}
        for method, maps in seewhy.explain(model, inputs, methods, 1).items():
            assert alike(maps, together[method][i : i + 1]), method
    with pytest.raises(ValueError, match="none of the inputs"):
        seewhy.explain(model, {"words": words, "more": words}, "grad_cam", 1)


class Matching(nn.Module):
    """Scores of each image and each text."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.word = nn.Conv2d(3, 8, 3, stride=2), nn.Embedding(9, 8)

    def forward(self, pixels: Tensor, words: Tensor) -> dict[str, Tensor]:
        images, texts = self.conv(pixels).relu().mean((2, 3)), self.word(words).mean(1)
        return {"scores": images @ texts.T, "by_text": texts @ images.T}


@pytest.mark.parametrize(
    "target",
    [
        targets.Of("scores", 0),
        targets.Of("scores", 2),
        targets.Of("scores", targets.Probability(1)),
        lambda outputs: outputs["scores"][:, 1] - outputs["scores"][:, 0],
    ],
)
def test_as_many_texts_as_images(target):
    """Each image is compared with all of them, whatever their number."""
    model, x = made(Matching), drawn(3, 3, 24, 24)
    words = torch.tensor([[1, 2], [0, 4], [3, 7]])
    methods = ["grad_cam", "gig_cam(steps=3)", "guided_integrated_gradients(steps=3)"]
    methods += ["integrated_gradients(steps=3)", "occlusion(patch=12)", "rise(masks=9)"]
    together = seewhy.explain(model, (x, words), methods, target)
    for i in range(3):
        alone = seewhy.explain(model, (x[i : i + 1], words), methods, target)
        for method, maps in alone.items():
            assert alike(together[method][i : i + 1], maps, 1e-3), method


def test_pairs_of_images_and_texts():
    model, x = made(Matching), drawn(3, 3, 24, 24)
    words = torch.tensor([[1, 2], [0, 4], [3, 7]])

    def matches(outputs):
        return outputs["scores"].diagonal()

    for method in ("gig_cam(steps=3)", "integrated_gradients(steps=3)", "occlusion(patch=12)"):
        together = seewhy.explain(model, (x, words), method, matches)
        for i in range(3):
            alone = seewhy.explain(model, (x[i : i + 1], words[i : i + 1]), method, matches)
            assert alike(together[i : i + 1], alone, 1e-3), method


# ---------------------------------------------------------------------- the model is left alone


class Observed(Cnn):
    """Writes into buffers past torch's count of writes, as fake quantisation and `.data` do."""

    def __init__(self) -> None:
        super().__init__()
        self.quantize = torch.ao.quantization.FusedMovingAvgObsFakeQuantize()
        self.register_buffer("sum", torch.zeros(()))
        # Which differs from itself, and cannot be written to.
        self.register_buffer("none", torch.full((1,), torch.nan).expand(3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.sum.data += x.detach().sum()
        return super().forward(self.quantize(x))


@pytest.mark.parametrize("build", [Checkpointed, Counting, Alias, Observed])
def test_models_that_write_are_put_back(build):
    model, x = made(build).train(), drawn(2, 3, 32, 32)
    before = state(model)
    for method in ("grad_cam", "guided_backprop", "integrated_gradients(steps=2)"):
        seewhy.explain(model, x, method, 1)
    if build is Checkpointed:
        with pytest.raises(ValueError, match="without the rules"):
            seewhy.explain(model, x, "tsgb", 1)
    else:
        seewhy.explain(model, x, "tsgb", 1)
    assert_same(before, state(model))


@pytest.mark.parametrize("method", ["tsgb", "gradient", "guided_backprop", "full_grad"])
def test_a_score_that_reads_nothing_says_so(method):
    model, x = made(Frozen), drawn(2, 3, 32, 32)
    for target in (1, lambda outputs: outputs.detach()[:, 1]):
        with pytest.raises(ValueError, match="does not depend on the input in a way that can be"):
            seewhy.explain(model, x, method, target)


@pytest.mark.parametrize("method", ["tsgb", "contrastive_excitation_backprop", "ablation_cam"])
def test_a_layer_under_no_grad_is_followed_by_all_that_lies_behind_it(method):
    x, layer = drawn(2, 3, 32, 32), "backbone.3"
    cut, whole = (made(lambda c=c: Frozen(c)) for c in (torch.no_grad, nullcontext))
    expected = seewhy.explain(whole, x, method, 1, layer=layer)
    assert expected.any()
    torch.testing.assert_close(seewhy.explain(cut, x, method, 1, layer=layer), expected)


def test_reentrant_checkpoints_say_so():
    model = made(lambda: Checkpointed(True))
    with pytest.raises(ValueError, match="use_reentrant=False"):
        seewhy.explain(model, drawn(1, 3, 32, 32).requires_grad_(), "gradient", 1)


@pytest.mark.parametrize("layer", [None, "stem"])
@pytest.mark.parametrize("training", [False, True])
def test_reentrant_checkpoints_leave_no_gradients_where_a_walk_meets_them(layer, training):
    model = made(lambda: Checkpointed(True)).train(training)
    with pytest.raises(ValueError, match="gradient checkpointing"):
        seewhy.explain(model, drawn(2, 3, 32, 32), "tsgb", 1, layer=layer)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_inference_mode_inside_says_so():
    model = made(lambda: Frozen(torch.inference_mode))
    with pytest.raises(ValueError, match="inference_mode"):
        seewhy.explain(model, drawn(1, 3, 32, 32), "grad_cam", 1, layer="backbone")


def test_parts_in_inference_mode_are_no_layers():
    x = drawn(1, 3, 32, 32)
    with pytest.raises(ValueError, match=r"found no layer .* inference_mode"):
        seewhy.explain(made(lambda: Frozen(torch.inference_mode)), x, "grad_cam", 1)

    class Probed(Frozen):
        def __init__(self, context: Any) -> None:
            super().__init__(context)
            self.head = nn.Sequential(nn.Conv2d(12, 12, 3), nn.ReLU())

        def forward(self, x: Tensor) -> Tensor:
            with self.context():
                x = self.backbone(x)
            return self.fc(self.head(x.clone()).mean((2, 3)))

    hidden, plain = (made(lambda c=c: Probed(c)) for c in (torch.inference_mode, nullcontext))
    assert Probe(hidden, x, 1).layers == ("head",)
    found, expected = (seewhy.explain(model, x, "grad_cam", 1) for model in (hidden, plain))
    assert torch.equal(found, expected)


def test_numpy_targets():
    import numpy as np

    model, x = made(Tutorial), drawn(2, 3, 32, 32)
    expected = seewhy.explain(model, x, "grad_cam", [3, 4])
    assert torch.equal(seewhy.explain(model, x, "grad_cam", np.array([3, 4])), expected)
    assert torch.equal(seewhy.explain(model, x, "grad_cam", [np.int64(3), np.int64(4)]), expected)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm2d])
@pytest.mark.parametrize("last", [False, True])
def test_an_image_alone_has_the_gradient_that_it_has_in_a_batch(norm, last):
    """Also where PyTorch's is wrong: behind the norm are tokens, with their channels together."""

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv3d(3, 5, 3) if norm is nn.BatchNorm3d else nn.Conv2d(3, 5, 3)
            self.norm, self.head = norm(5), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.norm(self.conv(x)).flatten(2).transpose(1, 2)
            return self.head(torch.tanh(tokens).mean(1))

    model = made(Tokens).double()
    sides = (6,) * (3 if norm is nn.BatchNorm3d else 2)
    x = torch.randn(2, 3, *sides, dtype=torch.double)
    if last and len(sides) == 2:
        x = x.to(memory_format=torch.channels_last)
    for method in ("gradient", "grad_cam", "gradient+smooth(samples=1)"):
        whole = seewhy.explain(model, x, method, 1, layer="conv", size="layer")
        alone = torch.cat(
            [seewhy.explain(model, one[None], method, 1, layer="conv", size="layer") for one in x]
        )
        assert torch.allclose(alone, whole, rtol=1e-9, atol=1e-12), method
