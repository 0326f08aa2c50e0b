"""Ablation-CAM against brute force and the reference, and what it costs."""

from __future__ import annotations

import pytest
import torch

import seewhy
from networks import Branching, Cnn, images, replaced, seeded
from reference import relative_error
from seewhy import Method, Probe
from seewhy.core.targets import Probability
from seewhy.methods.ablation_cam import falls
from seewhy.methods.cam import weighted
from strange import Recurrent
from untouched import assert_same, state


def brute_force(model, x, layer, activations, score_of):
    """Falls of the score (B, K) by one pass of the whole network per channel."""
    found = []
    for k in range(activations.shape[1]):
        without = activations.clone()
        without[:, k] = 0
        found.append(score_of(replaced(model, layer, x, without)))
    with torch.no_grad():
        return score_of(model(x))[:, None] - torch.stack(found, 1)


@pytest.mark.parametrize(
    ("factory", "layer"),
    [
        *((Cnn, layer) for layer in ("conv1", "bn1", "conv2", "relu")),
        *((Branching, layer) for layer in ("conv1", "bn1", "conv2")),
    ],
)
@pytest.mark.parametrize("of_probability", [False, True])
def test_falls_equal_those_of_the_whole_network(factory, layer, of_probability):
    model, x = seeded(factory, "inplace").double(), images().double()
    target = Probability(2) if of_probability else 2
    probe = Probe(model, x, target, layer)
    score_of = (lambda y: y.softmax(1)[:, 2]) if of_probability else (lambda y: y[:, 2])
    handed = probe.activations()
    if layer == "relu":  # shared by two stages: the last call is the layer

        def head(a):
            return model.head(a.mean((2, 3)))

        expected = score_of(head(handed))[:, None] - torch.stack(
            [score_of(head(handed.index_fill(1, torch.tensor(k), 0))) for k in range(8)], 1
        )
    else:
        expected = brute_force(model, x, layer, handed, score_of)
    assert torch.allclose(falls(probe, probe.layers[0]), expected, atol=1e-12)


def test_a_tail_with_what_cannot_be_batched():
    """torch.vmap knows no LSTM: its versions run one by one."""
    torch.manual_seed(0)
    model, x = Recurrent().eval().double(), images(2).double()
    probe = Probe(model, x, 2, "conv")

    def score_of(outputs):
        return outputs[:, 2]

    expected = brute_force(model, x, "conv", probe.activations(), score_of)
    assert torch.allclose(falls(probe, *probe.layer_calls), expected, atol=1e-12)


@pytest.mark.parametrize(
    "name", ["pgc_tiny_resnet_basic_x65x57_layer4", "pgc_tiny_vgg_x64_b3_features-9"]
)
@pytest.mark.parametrize("precision", ["tol_f64", "tol_f32"])
def test_reference_numbers(oracles, name, precision):
    """The reference divides by the score, not by its size: negative scores turn its map around."""
    case = oracles[f"cam/{name}"]
    dtype = torch.float64 if precision == "tol_f64" else torch.float32
    probe = Probe(
        oracles.model(case, dtype),
        oracles.inputs(case, dtype)[case["params"]["images"]],
        case["targets"],
        case["params"]["layer"],
    )
    sign = probe.score.sign()[:, None, None]
    raw = oracles.tensors(case)["raw.AblationCAM.f64"]
    maps = Method("ablation_cam")(probe)
    # Its weights were rounded to float32.
    tolerance = max(
        case["tensors"][f"{kind}.AblationCAM.f64"][precision] for kind in ("raw", "weights")
    )
    assert relative_error(maps, (sign * raw).relu()) <= tolerance


def test_negative_layers_are_set_to_zero_where_the_reference_writes_a_huge_value(oracles):
    case = oracles["cam/pgc_tiny_densenet_x64_b3_features-denseblock2"]
    model, x = oracles.model(case), oracles.inputs(case)
    probe = Probe(model, x, case["targets"], case["params"]["layer"])
    assert probe.activations().min() < 0
    rows = torch.arange(3)
    expected = brute_force(
        model, x, case["params"]["layer"], probe.activations(), lambda y: y[rows, case["targets"]]
    )
    maps = Method("ablation_cam")(probe)
    by_hand = weighted(expected / probe.score.abs()[:, None], probe.activations())
    assert relative_error(maps, by_hand) < 1e-9
    assert relative_error(maps, oracles.tensors(case)["raw.AblationCAM.f64"].relu()) > 0.1


def test_tokens(oracles):
    """The class token keeps its channels: a map has no place for it."""
    case = oracles["cam/pgc_tiny_vit_x64_b3_blocks-1-norm1"]
    model, x = oracles.model(case), oracles.inputs(case)[:2]
    layer = case["params"]["layer"]
    probe = Probe(model, x, [3, 5], layer)
    kept = {}
    handle = model.get_submodule(layer).register_forward_hook(lambda m, a, y: kept.update(y=y))
    with torch.no_grad():
        scores = model(x)[[0, 1], [3, 5]]
    handle.remove()
    expected = []
    for k in range(kept["y"].shape[2]):
        tokens = kept["y"].clone()
        tokens[:, 1:, k] = 0
        expected.append(scores - replaced(model, layer, x, tokens)[[0, 1], [3, 5]])
    assert torch.allclose(falls(probe, layer), torch.stack(expected, 1), atol=1e-12)


class Passes:
    """How many images each module was called on."""

    def __init__(self, model, *names):
        self.counts = dict.fromkeys(names, 0)
        for name in names:
            model.get_submodule(name).register_forward_hook(
                lambda m, args, y, name=name: self.add(name, len(args[0]))
            )

    def add(self, name, images):
        self.counts[name] += images


@pytest.mark.parametrize("layer", [None, "conv1", "conv2", ["bn1", "bn2"]])
@pytest.mark.parametrize("target", [1, Probability(1)])
def test_nothing_before_the_layer_runs_again(layer, target):
    model, x = seeded(Cnn), images(2)
    passes = Passes(model, "conv1", "conv2")
    seewhy.explain(model, x, "ablation_cam", target, layer=layer)
    assert passes.counts == {"conv1": 2, "conv2": 2}


def test_maps_depend_neither_on_other_images_nor_on_the_chunks():
    model, x = seeded(Cnn).double(), images(3).double()
    together = seewhy.explain(model, x, "ablation_cam", [0, 2, 4], layer="conv1")
    for i, target in enumerate([0, 2, 4]):
        alone = seewhy.explain(model, x[i : i + 1], "ablation_cam", target, layer="conv1")
        assert torch.allclose(together[i : i + 1], alone, rtol=1e-9, atol=1e-12)
    small = seewhy.explain(model, x, "ablation_cam(batch_size=6)", [0, 2, 4], layer="conv1")
    assert torch.allclose(small, together)


@pytest.mark.parametrize("target", [0, 1])
def test_a_negative_score_does_not_turn_the_map_around(target):
    """Without the falls' sign the map would show what speaks against the class."""
    model, x = seeded(Cnn).double(), images(1).double()
    with torch.no_grad():
        model.head.bias -= 100
    probe = Probe(model, x, target, "bn2")
    assert probe.score < 0
    found = Method("ablation_cam")(probe)
    with torch.no_grad():
        model.head.bias += 200
    other = Probe(model, x, target, "bn2")
    expected = Method("ablation_cam")(other) * other.score.abs() / probe.score.abs()
    assert torch.allclose(found, expected)


def test_the_model_is_left_as_it_was():
    model = seeded(Cnn, "inplace").train()
    before = state(model)
    seewhy.explain(model, images(), "ablation_cam", layer="conv1")
    assert_same(before, state(model))
