"""What every method and every refinement owes, whatever it computes."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch

import seewhy
from every import EVERY, OF_ATTENTION, SHORT, short
from networks import Attending, Cnn, Failing, Wrapped, images, seeded
from seewhy import Method, Probe, metrics
from seewhy.core.recording import Read
from seewhy.naming import METHODS, REFINEMENTS, parse
from untouched import Calls, assert_same, state

WITHOUT_A_NETWORK = ("random", "center_gaussian", "edges")


EACH = [*EVERY, *OF_ATTENTION]


def network_for(name):
    return seeded(Attending if name in OF_ATTENTION else Cnn)


def maps_of(model, x, target=4, **kwargs):
    return seewhy.explain(model, x, EVERY, target, **kwargs)


@pytest.fixture(scope="module")
def expected():
    of_attention = seewhy.explain(seeded(Attending), images(), OF_ATTENTION, 4)
    return maps_of(seeded(Cnn), images()) | of_attention


def alike(a, b, tolerance=1e-5):
    return a.shape == b.shape and (a - b).abs().max() <= tolerance * b.abs().max()


@pytest.mark.parametrize("name", EACH)
def test_finite_maps_of_the_inputs_size(name, expected):
    assert expected[name].shape == (3, 32, 32)
    assert expected[name].isfinite().all()
    assert expected[name].any()
    assert not expected[name].requires_grad


@pytest.mark.parametrize("name", EACH)
def test_a_map_is_that_of_the_image_alone(name, expected):
    model, x = network_for(name), images()
    for i in range(3):
        alone = seewhy.explain(model, x[i : i + 1], name, 4)
        assert alike(expected[name][i : i + 1], alone, 1e-4), i


@pytest.mark.parametrize("name", EACH)
def test_the_same_again(name):
    """On the same probe, on a fresh one, and on one that others have read before."""
    model, x, method = network_for(name), images(), parse(name)
    probe = Probe(model, x, 4)
    first = method(probe)
    assert torch.equal(method(probe), first)
    assert torch.equal(method(Probe(model, x, 4)), first)
    read = Probe(model, x, 4)
    read.activations("patches" if name in OF_ATTENTION else "conv1")
    read.input_gradient  # noqa: B018
    read.stages  # noqa: B018
    parse("grad_cam")(read.with_target(1))
    assert alike(method(read), first)


SEEDED = [name for name, entry in (METHODS | REFINEMENTS).items() if "seed" in entry.options]


@pytest.mark.parametrize("name", SEEDED)
def test_another_seed_draws_other_noise(name):
    model, x = seeded(Cnn), images()
    # At the last layer the gradients of this network are the same for all images.
    first, again, other = (
        seewhy.explain(model, x, drawn(name, seed), 4, layer="conv1") for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not alike(first, other, 1e-3)


def drawn(name, seed):
    """The method, or Grad-CAM with the refinement, with all that it can draw."""
    options = [SHORT[name]] if name in SHORT else []
    options += ["baseline='random'"] if "baseline" in (METHODS | REFINEMENTS)[name].options else []
    term = f"{name}({', '.join([*options, f'seed={seed}'])})"
    return term if name in METHODS else f"grad_cam+{term}"


def under_another_default_dtype(run):
    torch.set_default_dtype(torch.float64)
    try:
        return run()
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_default_dtype_says_nothing(expected):
    model, x = seeded(Cnn), images()
    found = under_another_default_dtype(lambda: maps_of(model, x))
    for name in EVERY:
        assert found[name].dtype == torch.float32, name
        assert alike(found[name], expected[name]), name


def test_the_default_dtype_says_nothing_to_metrics():
    model, x, maps = seeded(Cnn), images(), images(channels=1)[:, 0]
    score = metrics.class_probability(model, [1, 2, 3])

    def values():
        def explain(images, index):
            return images.mean(1)

        cascade = metrics.randomization_cascade(
            model, lambda net: Method("grad_cam")(Probe(net, x, 1))
        )
        return [
            metrics.max_sensitivity(explain, x, maps),
            metrics.infidelity(score, x, maps),
            cascade.correlation,
            *metrics.road_curves(score, x, maps, removed=(0.3, 0.6))[1:],
            *metrics.insertion_deletion(score, x, maps, steps=3),
        ]

    for found, expected in zip(under_another_default_dtype(values), values(), strict=True):
        assert found.dtype == expected.dtype
        assert alike(found, expected)


# How the map answers to a score of s times the size: with s ** degree. The others are no powers:
# those with eps or squares beside cubes, and those that ask for probabilities.
DEGREES = {
    0: [
        "ablation_cam", "attention_rollout", "center_gaussian", "contrastive_excitation_backprop",
        "edges", "eigen_cam",
        "excitation_backprop", "full_grad", "random", "grad_cam+detail", "grad_cam+multiscale",
        "grad_cam+refine_cam",
    ],
    1: [
        "attention_x_gradient", "le_grad",
        "cam", "deconvnet", "eigen_grad_cam", "finer_cam", "gig_cam", "grad_cam", "gradient",
        "guided_backprop", "guided_integrated_gradients", "hires_cam", "input_x_gradient",
        "integrated_grad_cam", "integrated_gradients", "layer_cam", "linear_approximation",
        "occlusion", "rise", "shapley_cam(utility='score')", "tsgb", "xgrad_cam",
        "grad_cam+gradual", "grad_cam+smooth",
    ],
    2: ["global_guidance", "guided_grad_cam"],
}  # fmt: skip
NO_POWER = [
    "attention_gradient",
    "auto", "grad_cam_plus_plus", "is_cam", "score_cam", "shapley_cam", "smooth_grad_cam_plus_plus",
    "ss_cam", "sharpen",
]  # fmt: skip


@pytest.mark.parametrize(
    ("degree", "name"), [(degree, name) for degree, names in DEGREES.items() for name in names]
)
def test_the_size_of_the_score(degree, name):
    """The last Linear four times as large: a power of two, so that rounding stays the same."""
    model, x = network_for(name), images()
    name = "+".join(map(short, name.split("+")))
    before = seewhy.explain(model, x, name, 4)
    with torch.no_grad():
        model.head.weight *= 4
        model.head.bias *= 4
    assert alike(seewhy.explain(model, x, name, 4), 4**degree * before)


def test_all_are_known_to_be_powers_or_none():
    known = {name.split("+")[-1].split("(")[0] for names in DEGREES.values() for name in names}
    assert known | set(NO_POWER) == {*seewhy.list_methods(), *seewhy.list_refinements()}


# ---------------------------------------------------------------------- scores without evidence

# Maps of the image alone, and those whose weights are a softmax: equal scores weigh all alike.
ALWAYS = ("random", "center_gaussian", "edges", "eigen_cam", "score_cam", "ss_cam", "is_cam")
SILENT = [name for name in EVERY if not name.startswith(ALWAYS)]


@pytest.mark.parametrize("name", SILENT)
def test_a_class_that_reads_nothing_has_no_evidence(name):
    model = seeded(Cnn)
    model.head.weight.data[4] = 0
    assert not seewhy.explain(model, images(), name, 4).any()


@pytest.mark.parametrize("name", SILENT)
def test_a_saturated_probability_has_no_evidence(name):
    model = seeded(Cnn)
    model.head.bias.data[4] = 1e4
    target = seewhy.targets.Probability(4, "sigmoid")
    if name.startswith(("cam", "finer_cam", "shapley_cam")):
        with pytest.raises(ValueError, match=r"logit|class"):
            seewhy.explain(model, images(), name, target)
    else:
        assert not seewhy.explain(model, images(), name, target).any()


# ---------------------------------------------------------------------- what a method reads


def runs(probe: Probe, name: str) -> int:
    """Forward passes of Grad-CAM and a method, which comes second."""
    calls = Calls(probe.model)
    probe.maps([parse("grad_cam"), parse(name)])
    return calls.count


def surplus(name: str) -> int:
    """Passes that a method would have saved, had it declared all that it reads."""
    expecting = Probe(network_for(name), images(), 4).expect(*get_args(Read))
    return runs(Probe(network_for(name), images(), 4), name) - runs(expecting, name)


@pytest.mark.parametrize("name", EACH)
def test_what_a_method_reads_is_declared(name):
    # It reads the input's gradient only where no layer was named. Were that declared, a question
    # about a named layer would cost a backward pass to the input.
    assert surplus(name) == (name == "linear_approximation")


def undeclare(monkeypatch, name):
    entries = METHODS if name in METHODS else REFINEMENTS
    monkeypatch.setitem(entries, name, replace(entries[name], reads=()))


@pytest.mark.parametrize("name", ["gradient", "excitation_backprop", "gradual", "refine_cam"])
def test_what_is_not_declared_is_noticed(name, monkeypatch):
    undeclare(monkeypatch, name)
    assert surplus(name if name in METHODS else f"grad_cam+{name}") == 1


def test_what_ablation_cam_does_not_declare_is_noticed(monkeypatch):
    """The part behind the layer is only run where the score is not affine in it."""
    model = seeded(Cnn)
    names = dict.fromkeys(("conv1",))  # behind it there are ReLUs

    def passes() -> int:
        calls = Calls(model)
        Probe(model, images(), 4, *names).maps([parse("ablation_cam")])
        return calls.count

    assert passes() == 1
    undeclare(monkeypatch, "ablation_cam")
    assert passes() == 2


def test_nothing_is_declared_that_is_not_read(monkeypatch):
    """What a pass records for nobody costs memory."""
    for name in (*METHODS, *REFINEMENTS):
        entry = METHODS.get(name) or REFINEMENTS[name]
        if entry.reads and name != "ablation_cam":
            undeclare(monkeypatch, name)
            assert surplus(short(name) if name in METHODS else f"grad_cam+{short(name)}") > 0, name


# ---------------------------------------------------------------------- the user's things


@pytest.mark.parametrize("relu", ["module", "inplace", "functional"])
def test_the_model_is_left_as_it_was(relu):
    model = seeded(Cnn, relu).train()
    model.bn1.eval()
    model.conv1.requires_grad_(False)
    before = state(model)
    # A functional ReLU is no layer, and behind another there is no CAM.
    methods = [name for name in EVERY if name != "cam" or relu != "functional"]
    seewhy.explain(model, images(), methods, 1)
    assert_same(before, state(model))


@pytest.mark.parametrize("method", [name for name in EACH if name not in WITHOUT_A_NETWORK])
def test_a_network_that_breaks_is_left_as_it_was(method):
    model = seeded(Failing).train()
    before = state(model)
    with pytest.raises(RuntimeError, match="the network broke"):
        seewhy.explain(model, images(), method, 1)
    assert_same(before, state(model))


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_gradient_contexts_and_frozen_parameters(context, expected):
    model, x = seeded(Cnn, "inplace"), images()
    model.requires_grad_(False)
    with context():
        inside = maps_of(model, x.clone())
    for name in EVERY:
        assert alike(inside[name], expected[name], 1e-4), name
        assert not inside[name].requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision(dtype):
    maps = maps_of(seeded(Cnn).to(dtype), images().to(dtype))
    for name, found in maps.items():
        # What gradual multiplies would leave the range of halves.
        assert found.dtype == (torch.float32 if "gradual" in name else dtype), name
        assert torch.isfinite(found).all(), name
        assert found.any(), name


@pytest.mark.parametrize(("size", "channels"), [((33, 47), 1), ((31, 30), 7)])
def test_odd_sizes_and_any_number_of_channels(size, channels):
    model = seeded(Cnn, channels=channels)
    maps = maps_of(model, images(2, size, channels))
    assert all(found.shape == (2, *size) for found in maps.values())


def test_outputs_that_are_no_tensor():
    model = seeded(Wrapped, "dict")
    found, inside = maps_of(model, images()), maps_of(model.net, images())
    for name in EVERY:
        assert alike(found[name], inside[name]), name


def test_the_inputs_are_not_changed():
    x = images()
    copy = x.clone()
    maps_of(seeded(Cnn, "inplace"), x)
    assert torch.equal(x, copy)
