"""The probe: passes counted, the model left as it was, and gradients equal to autograd's."""

from __future__ import annotations

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

import seewhy
from networks import Cnn, Failing, Segmenter, Wrapped, images, seeded
from seewhy import Probe
from seewhy.core.targets import Probability
from untouched import Calls, assert_same, state

CAMS = [
    "grad_cam",
    "grad_cam_plus_plus",
    "xgrad_cam",
    "hires_cam",
    "layer_cam",
    "eigen_cam",
    "eigen_grad_cam",
    "global_guidance",
]


# ---------------------------------------------------------------------- passes


@pytest.mark.parametrize("layer", [None, "relu", "conv2", ["conv1", "bn2"]])
def test_all_methods_share_one_forward(layer):
    model = seeded(Cnn)
    calls = Calls(model)
    seewhy.explain(model, images(), CAMS, layer=layer)
    assert calls.count == 1
    seewhy.explain(model, images(), CAMS, layer=layer)
    assert calls.count == 2


def test_targets_share_the_forward_pass():
    model = seeded(Cnn)
    calls = Calls(model)
    probe = Probe(model, images())
    for target in range(5):
        probe.with_target(target).gradients()
    assert calls.count == 1


def test_methods_together_equal_separate_calls():
    model, x = seeded(Cnn), images()
    together = seewhy.explain(model, x, CAMS, 4)
    assert list(together) == CAMS
    for name, maps in together.items():
        assert torch.equal(maps, seewhy.explain(model, x, name, 4))


def test_a_layer_asked_for_later_costs_one_more_pass_and_is_right():
    model, x = seeded(Cnn), images()
    probe = Probe(model, x, 1, "conv2")
    probe.gradients()
    calls = Calls(model)
    late = probe.gradients("conv1")
    probe.gradients("conv2")
    assert calls.count == 1
    assert torch.allclose(late, Probe(model, x, 1, "conv1").gradients())


def test_a_module_with_two_names_is_one_layer():
    model, x = seeded(Cnn), images()
    model.alias = model.conv2
    probe = Probe(model, x, 1, "conv2")
    expected = probe.gradients()
    calls = Calls(model)
    assert torch.equal(probe.gradients("alias"), expected)
    assert calls.count == 0


def test_nothing_before_the_layer_keeps_a_graph():
    probe = Probe(seeded(Cnn), images(), 0, "bn2")
    probe.logits  # noqa: B018 - runs the pass
    kept = probe._recording.calls["bn2", 1].tensor
    assert kept.is_leaf
    assert kept.requires_grad


# ---------------------------------------------------------------------- values


def reference_gradient(model: Cnn, x: torch.Tensor, target: int, stage: str):
    """The gradient at one of the two batch norms, by plain autograd."""
    y = model.bn1(model.conv1(x))
    if stage == "bn1":
        y = y.detach().requires_grad_()
    kept = y
    z = model.bn2(model.conv2(y.relu()))
    if stage == "bn2":
        kept = z = z.detach().requires_grad_()
    scores = model.head(z.relu().mean((2, 3)))
    return kept.detach(), torch.autograd.grad(scores[:, target].sum(), kept)[0]


@pytest.mark.parametrize("relu", ["module", "inplace", "functional"])
@pytest.mark.parametrize("stage", ["bn1", "bn2"])
def test_gradients_equal_autograd_whatever_the_relu(relu, stage):
    model, x = seeded(Cnn, relu), images().double()
    model.double()
    activations, gradients = reference_gradient(seeded(Cnn).double(), x, 3, stage)
    probe = Probe(model, x, 3, stage)
    assert torch.allclose(probe.activations(), activations)
    assert torch.allclose(probe.gradients(), gradients)


def test_several_layers_and_the_input_in_one_pass():
    model, x = seeded(Cnn, "inplace").double(), images().double()
    probe = Probe(model, x, 3, ["bn1", "bn2"]).expect("input")
    calls = Calls(model)
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(seeded(Cnn).double()(leaf)[:, 3].sum(), leaf)
    assert torch.allclose(probe.input_gradient, expected)
    for stage in ("bn1", "bn2"):
        expected = reference_gradient(seeded(Cnn).double(), x, 3, stage)[1]
        assert torch.allclose(probe.gradients(stage), expected)
    assert calls.count == 1


def test_the_input_gradient_on_a_network_seen_for_the_first_time():
    x = images().double()
    model = seeded(Cnn).double()
    calls = Calls(model)
    probe = Probe(model, x, 3).expect("input")
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(seeded(Cnn).double()(leaf)[:, 3].sum(), leaf)
    assert torch.allclose(probe.gradients(), Probe(seeded(Cnn).double(), x, 3).gradients())
    assert torch.allclose(probe.input_gradient, expected)
    assert calls.count == 1


@pytest.mark.parametrize("method", CAMS)
def test_a_map_does_not_depend_on_the_other_images(method):
    model, x = seeded(Cnn).double(), images(4).double()
    together = seewhy.explain(model, x, method, [0, 2, 3, 4])
    for i, target in enumerate([0, 2, 3, 4]):
        alone = seewhy.explain(model, x[i : i + 1], method, target)
        assert torch.allclose(together[i : i + 1], alone, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("frozen", [False, True])
def test_gradient_contexts_and_frozen_parameters(context, frozen):
    model, x = seeded(Cnn), images()
    expected = seewhy.explain(model, x, CAMS, 4)
    model.requires_grad_(not frozen)
    with context():
        inside = seewhy.explain(model, x.clone(), CAMS, 4)
        assert torch.is_grad_enabled() == (context is torch.enable_grad)
    for name in CAMS:
        assert torch.equal(inside[name], expected[name])
        assert not inside[name].requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precisions(dtype):
    model, x = seeded(Cnn), images()
    expected = seewhy.explain(model, x, CAMS, 4)
    maps = seewhy.explain(model.to(dtype), x.to(dtype), CAMS, 4)
    for name in CAMS:
        assert maps[name].dtype == dtype
        assert torch.isfinite(maps[name]).all()
    # Eight bits of mantissa and two convolutions: a loose bound, but a wrong map would break it.
    error = (maps["grad_cam"].float() - expected["grad_cam"]).abs().max()
    assert error < 0.05 * expected["grad_cam"].max()


def test_tensors_of_a_class_of_their_own():
    """As other libraries have them, for images with their metadata."""

    class Image(torch.Tensor):
        pass

    model, x = seeded(Cnn), images()
    for name in ("grad_cam", "tsgb", "gradient", "auto(effort='quick')", "rise(masks=9)"):
        found = seewhy.explain(model, x.as_subclass(Image), name, 1)
        assert type(found) is torch.Tensor
        assert torch.equal(found, seewhy.explain(model, x, name, 1)), name


@pytest.mark.parametrize("size", [(33, 47), (31, 31), (5, 64)])
@pytest.mark.parametrize("channels", [1, 3, 7])
def test_odd_sizes_and_any_number_of_channels(size, channels):
    model = seeded(Cnn, channels=channels)
    for layer in ("conv1", "bn2"):
        maps = seewhy.explain(model, images(2, size, channels), CAMS, layer=layer)
        assert all(found.shape == (2, *size) for found in maps.values())


@pytest.mark.parametrize("kind", ["tuple", "list", "dict", "out", "namedtuple"])
def test_outputs_of_any_kind(kind):
    model, x = seeded(Wrapped, kind), images()
    expected = seewhy.explain(model.net, x, "grad_cam", 4)
    assert torch.equal(seewhy.explain(model, x, "grad_cam", 4), expected)


def test_a_compiled_network_is_explained_by_its_original():
    model, x = seeded(Cnn), images()
    compiled = torch.compile(model, backend="eager")
    assert torch.equal(
        seewhy.explain(compiled, x, "grad_cam", 4), seewhy.explain(model, x, "grad_cam", 4)
    )
    named = seewhy.explain(compiled, x, "grad_cam", 4, layer=model.conv2)
    assert torch.equal(named, seewhy.explain(model, x, "grad_cam", 4, layer="conv2"))


def test_what_lies_around_a_compiled_network_is_part_of_the_question():
    class Around(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def __getattr__(self, name):  # as wrappers do that pass for what they hold
            try:
                return super().__getattr__(name)
            except AttributeError:
                return getattr(super().__getattr__("module"), name)

        def forward(self, x):
            return self.module(x.flip(-1))

    model, x = seeded(Cnn), images()
    plain, compiled = (Around(one) for one in (model, torch.compile(model, backend="eager")))
    found, expected = (seewhy.explain(one, x, "grad_cam", 4) for one in (compiled, plain))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("kind", [torch.jit.script, lambda m: torch.jit.trace(m, images())])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_networks_hide_their_layers(kind):
    with pytest.raises(ValueError, match="compiled or scripted"):
        seewhy.explain(kind(seeded(Cnn)), images(), "grad_cam")


def test_segmentation_network():
    x = images(2)
    maps = seewhy.explain(seeded(Segmenter), x, "grad_cam", seewhy.targets.Segment(1), layer="body")
    assert maps.shape == x.shape[:1] + x.shape[2:]
    with pytest.raises(
        ValueError, match=r"Segment\(class\) where they are one per class and pixel"
    ):
        seewhy.explain(seeded(Segmenter), x, "grad_cam", 1)


def test_derived_probes_keep_the_question():
    model, x = seeded(Cnn), images()
    probe = Probe(model, x)
    other = probe.with_inputs(torch.randn_like(x))
    assert other.target == probe.target
    assert other.layers == probe.layers
    bigger = probe.at_scale(2)
    assert bigger.inputs.shape == (3, 3, 64, 64)
    assert bigger.target == probe.target


# ---------------------------------------------------------------------- the model is sacred


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("layer", [None, "conv1"])
def test_no_trace_on_the_model(training, layer):
    model, x = seeded(Cnn, "inplace"), images()
    expected = seewhy.explain(model, x, CAMS, layer=layer)
    model.train(training)
    model.bn2.eval()  # a frozen batch norm, as in fine-tuning
    model.conv1.weight.requires_grad_(False)
    before, image = state(model), x.clone()
    maps = seewhy.explain(model, x, CAMS, layer=layer)
    assert_same(before, state(model))
    assert torch.equal(x, image)
    assert all(torch.equal(maps[name], expected[name]) for name in CAMS)


@pytest.mark.parametrize("layer", [None, "net.conv1"])
def test_no_trace_after_an_error_inside_the_model(layer):
    model = seeded(Failing).train()
    before = state(model)
    with pytest.raises(RuntimeError, match="the network broke"):
        seewhy.explain(model, images(), "grad_cam", layer=layer)
    assert_same(before, state(model))
    assert torch.is_grad_enabled()


def test_no_trace_after_a_bad_target():
    model = seeded(Cnn).train()
    before = state(model)
    with pytest.raises(ValueError, match="5 classes"):
        seewhy.explain(model, images(), "grad_cam", 5)
    assert_same(before, state(model))


def test_gradients_of_the_caller_are_left_alone():
    model = seeded(Cnn)
    x = images().requires_grad_()
    loss = model(x).sum()
    seewhy.explain(model, x, "grad_cam")
    loss.backward()
    expected = images().requires_grad_()
    seeded(Cnn)(expected).sum().backward()
    assert torch.equal(x.grad, expected.grad)


def test_threads_share_a_model_in_train_mode():
    model = seeded(Cnn, "inplace").train()
    batches = [images(2) + i for i in range(8)]
    layers = ["conv1", "bn1", "conv2", "bn2"] * 2
    expected = [
        seewhy.explain(model, x, "hires_cam", 4, layer=layer)
        for x, layer in zip(batches, layers, strict=True)
    ]
    before = state(model)
    barrier = threading.Barrier(8)

    def work(i: int) -> torch.Tensor:
        barrier.wait()
        for _ in range(10):
            maps = seewhy.explain(model, batches[i], "hires_cam", 4, layer=layers[i])
        return maps

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(8)))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert_same(before, state(model))


def test_no_memory_growth():
    """A probe that is gone leaves no tensor behind."""
    import gc

    model, x = seeded(Cnn), images()

    def living() -> int:
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    seewhy.explain(model, x, CAMS)
    before = living()
    for _ in range(5):
        seewhy.explain(model, x, CAMS)
    assert living() <= before


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"inputs": torch.zeros(3, 8, 8)}, r"\(B, C, H, W\)"),
        ({"inputs": torch.zeros(1, 3, 8, 8, dtype=torch.uint8)}, "floating-point"),
        ({"inputs": torch.zeros(0, 3, 8, 8)}, "at least one image"),
        ({"layer": "conv3"}, "did you mean conv2"),
        ({"layer": nn.ReLU()}, "not one of the model's submodules"),
        ({"layer": "head"}, "holds no maps"),
        ({"target": [0, 1]}, "2 classes for 3 images"),
        ({"target": 5}, "5 classes, 0 to 4"),
        ({"target": -1}, "out of range"),
        ({"target": lambda y: y}, r"shape \(3,\)"),
        ({"method": "grad_camm"}, "did you mean 'grad_cam'"),
        ({"method": []}, "empty list"),
        ({"inputs": images().movedim(1, 3)}, r"permute\(0, 3, 1, 2\)"),
        ({"size": "large"}, "'input' or 'layer'"),
        ({"layer": ["conv1", "conv2"], "size": "layer"}, "one layer"),
    ],
)
def test_clear_errors(kwargs, message):
    arguments = {"model": seeded(Cnn), "inputs": images(), "method": "grad_cam"} | kwargs
    with pytest.raises(ValueError, match=message):
        seewhy.explain(**arguments)


@pytest.mark.parametrize("channels", [1, 4])
def test_the_wrong_number_of_channels_is_said_in_these_words(channels):
    inputs = images()[:, :1].expand(-1, channels, -1, -1)
    with pytest.raises(ValueError, match=rf"takes 3 channels, and .* have {channels}: give"):
        seewhy.explain(seeded(Cnn), inputs, "grad_cam")


@pytest.mark.parametrize("target", [1.5, "tabby", True, [0.5], object()])
def test_targets_of_the_wrong_type(target):
    with pytest.raises(TypeError, match="class index"):
        seewhy.explain(seeded(Cnn), images(), "grad_cam", target)


def test_a_score_that_does_not_depend_on_the_layer():
    class Detached(Cnn):
        def forward(self, x):
            return self.head(self.features(x).detach().mean((2, 3)))

    with pytest.raises(ValueError, match="does not depend on layer 'conv2'"):
        seewhy.explain(seeded(Detached), images(), "grad_cam", layer="conv2")


def test_probability_targets_have_softmax_gradients():
    model, x = seeded(Cnn).double(), images().double()
    a, _ = reference_gradient(model, x, 0, "bn2")
    leaf = a.requires_grad_()
    scores = model.head(leaf.relu().mean((2, 3))).softmax(1)
    (expected,) = torch.autograd.grad(scores[:, 2].sum(), leaf)
    assert torch.allclose(Probe(model, x, Probability(2), "bn2").gradients(), expected)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda probe: pickle.loads(pickle.dumps(probe))])
def test_a_copy_of_a_used_probe_asks_the_same(copied):
    probe = Probe(seeded(Cnn), images(), layer="conv2").expect("input", "tail")
    gradients, at_input = probe.gradients(), probe.input_gradient
    other = copied(probe)
    assert other.model is not probe.model
    assert torch.equal(other.gradients(), gradients)
    assert torch.equal(other.input_gradient, at_input)
    derived = copied(probe.with_inputs(2 * images()))
    assert torch.equal(derived.gradients(), probe.with_inputs(2 * images()).gradients())


@pytest.mark.parametrize("method", ["full_grad", "score_cam", "gig_cam", "auto", "grad_cam+detail"])
def test_errors_name_the_images_that_are_not_finite(method):
    x = images().clone()
    x[1, 0, 3, 3], x[2, 1] = torch.nan, torch.inf
    with pytest.raises(ValueError, match=r"finite.*; the inputs of images \[1, 2\] are not finite"):
        seewhy.explain(seeded(Cnn), x, method, 1)
