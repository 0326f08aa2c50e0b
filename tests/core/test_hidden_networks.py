"""Networks that hide their layers, their functions or their weights say so in plain words."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import seewhy
from every import EVERY
from networks import Cnn, images, seeded
from seewhy.core.observing import outputs_of


def script(model):
    return torch.jit.script(model)


def freeze(model):
    return torch.jit.freeze(torch.jit.script(model))


def trace(model):
    return torch.jit.trace(model, images())


pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*")
REFUSED = r"found no layer|be differentiated|in the last Linear|one resolution|pooling and one"
SCRIPTED = pytest.mark.parametrize("hide", [script, freeze, trace])


@SCRIPTED
def test_scripted_networks_give_what_needs_no_layer(hide):
    model, x = seeded(Cnn), images()
    methods = ["gradient", "integrated_gradients(steps=3)", "occlusion(patch=8)", "rise(masks=20)"]
    expected = seewhy.explain(model, x, methods, 1)
    for name, maps in seewhy.explain(hide(model), x, methods, 1).items():
        assert torch.allclose(maps, expected[name], atol=1e-4), name


@SCRIPTED
@pytest.mark.parametrize(
    ("method", "layer", "error", "message"),
    [
        ("grad_cam", None, ValueError, "scripted as a whole. Explain the original"),
        ("gig_cam", None, ValueError, "scripted as a whole. Explain the original"),
        ("grad_cam", "conv1", ValueError, "explain the original module"),
        ("tsgb", None, TypeError, "explain the module that it was made from"),
        ("guided_backprop", None, TypeError, "explain the module that it was made from"),
        ("auto", None, ValueError, "scripted as a whole. Explain the original"),
    ],
)
def test_scripted_networks_say_what_they_hide(hide, method, layer, error, message):
    with pytest.raises(error, match=message):
        seewhy.explain(hide(seeded(Cnn)), images(), method, 1, layer=layer)


@pytest.mark.parametrize("method", ["grad_cam", "tsgb", "occlusion", "integrated_gradients"])
@pytest.mark.parametrize("target", [1, None])
def test_tensors_without_values(method, target):
    model, x = seeded(Cnn), images()
    with pytest.raises(ValueError, match="inputs are on the device 'meta'"):
        seewhy.explain(model, x.to("meta"), method, target)
    with pytest.raises(ValueError, match="weights of the model are on the device 'meta'"):
        seewhy.explain(seeded(Cnn).to("meta"), x, method, target)
    half = seeded(Cnn)
    half.head.to("meta")
    with pytest.raises(ValueError, match="load them first"):
        seewhy.explain(half, x, method, target)


@pytest.mark.parametrize("layer", [None, "act", "body.29"])
def test_a_scripted_part_without_weights_changes_nothing(layer):
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(*[nn.Conv2d(3, 3, 3, padding=1) for _ in range(30)])
            self.act = nn.ReLU()
            self.fc = nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.act(self.body(x)).mean((2, 3)))

    model, x = Net().eval(), torch.randn(2, 3, 16, 16)
    expected = seewhy.explain(model, x, "grad_cam", 1, layer=layer)
    model.act = torch.jit.script(model.act)
    assert torch.equal(seewhy.explain(model, x, "grad_cam", 1, layer=layer), expected)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("count", [1, 3])
def test_quantised_networks_have_no_gradients(count):
    """torch's backward pass hands on undefined gradients there, which are no zeros."""
    model, x = seeded(Cnn), images(count)
    quantised = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    without = ("occlusion", "rise", "random", "center_gaussian", "edges")
    for layer in (None, "relu#1"):
        of_layer = ("score_cam", "is_cam", "ss_cam") if layer else ()
        for name in EVERY:
            if not name.startswith(without + of_layer):
                with pytest.raises(ValueError, match=REFUSED):
                    seewhy.explain(quantised, x, name, 1, layer=layer)
    found = seewhy.explain(quantised, x, "score_cam", 1, layer="relu")
    assert torch.allclose(found, seewhy.explain(model, x, "score_cam", 1), rtol=0.05, atol=0.01)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("method", ["grad_cam", "gradient", "full_grad", "ablation_cam"])
def test_weights_made_in_inference_mode(context, method):
    """They can have no part in a graph; methods without gradients take them as any others."""
    with torch.inference_mode():
        model = seeded(Cnn)
    with context():
        with pytest.raises(ValueError, match=r"were made inside torch\.inference_mode[^;]*[^.];"):
            seewhy.explain(model, images(), method, 1)
        found = seewhy.explain(model, images(), "occlusion(patch=8)", 1)
    assert torch.equal(found, seewhy.explain(seeded(Cnn), images(), "occlusion(patch=8)", 1))


@pytest.mark.parametrize("method", ["grad_cam", "gradient", "rise(masks=4)", None])
def test_lazy_networks_are_not_given_weights(method):
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    with pytest.raises(ValueError, match=r"layer '0' \(LazyConv2d\) has no weights yet"):
        seewhy.explain(model, images(), method)
    with pytest.raises(ValueError, match="no weights yet"):
        outputs_of(model, images())
    assert all(nn.parameter.is_lazy(weights) for weights in model.parameters())
    model(images())
    assert seewhy.explain(model, images(), "gradient").isfinite().all()


@pytest.mark.parametrize("change", [torch.Tensor.to_sparse, torch.Tensor.to_mkldnn])
def test_inputs_that_are_not_dense(change):
    with pytest.raises(ValueError, match=r"of the layout \w+; it should be a dense one"):
        seewhy.explain(seeded(Cnn), change(images()), "gradient")
    for layout, named in [(torch.jagged, "jagged"), (torch.strided, "nested")]:
        together = torch.nested.nested_tensor([*images()], layout=layout)
        with pytest.raises(ValueError, match=f"of the layout {named}"):
            seewhy.explain(seeded(Cnn), together, "gradient")


def test_a_single_image_that_fails_behind_the_convolutions():
    """Which take it, as they take signals."""

    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

        def forward(self, x):
            return self.head(self.conv(x).mean((2, 3)))

    with pytest.raises(ValueError, match=r"a single image is inputs\[None\]"):
        seewhy.explain(seeded(Plain), images()[0], "grad_cam", 1)


def test_transforms_of_torch_func_around_an_explanation():
    model = seeded(Cnn)
    with pytest.raises(ValueError, match=r"inside a transform of torch\.func"):
        torch.vmap(lambda image: seewhy.explain(model, image[None], "grad_cam", 1)[0])(images())


class Ensemble(nn.Module):
    """Several networks at once, by torch.vmap, and then one of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleList([seeded(Cnn), seeded(Cnn, classes=5)])

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.func.stack_module_state(list(self.members))
        member = self.members[0]
        return torch.vmap(lambda p, b: torch.func.functional_call(member, (p, b), x))(
            *weights
        ).mean(0)


def test_parts_under_vmap_are_no_layers():
    model, x = Ensemble(), images()
    with pytest.raises(ValueError, match="found no layer with maps"):
        seewhy.explain(model, x, "grad_cam", 1)
    expected = torch.stack(
        [seewhy.explain(member, x, "input_x_gradient", 1) for member in model.members]
    )
    found = seewhy.explain(model, x, "input_x_gradient", 1)
    assert torch.allclose(found, expected.mean(0), atol=1e-5)
    assert seewhy.explain(model, x, None, 1).isfinite().all()  # the first method that works
