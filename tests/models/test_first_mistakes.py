"""What people do to a network before they have read how: each mistake is told."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import seewhy
from seewhy import targets
from seewhy.data.preprocess import Preprocess
from seewhy.models import LoadedModel, ModelError, load_model
from seewhy.notes import Note

INPUT = Preprocess(16, (16, 16), (0.0,) * 3, (1.0,) * 3)
PHOTO = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def network(outputs: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, outputs)
    ).eval()


@pytest.mark.parametrize(
    ("outputs", "names"),
    [
        (3, ("background", "ant", "bee", "cat")),
        (3, ("ant", "bee")),
        (3, ("crack",)),
        (1, tuple("abc")),
    ],
)
def test_names_that_are_not_as_many_as_the_outputs_are_refused(outputs, names):
    """A list with a name for the background too would call every class by its neighbour's name."""
    model = LoadedModel(network(outputs), INPUT, names)
    with pytest.raises(ValueError, match=f"{len(names)} names for the {outputs} outputs"):
        seewhy.explain_photos(model, PHOTO)


def test_such_names_are_not_graded_either():
    model = LoadedModel(network(3), INPUT, ("background", "bird", "clock", "cup"))
    found = seewhy.evaluate(model, "scenes:4", ["random"], ["average_drop"])
    assert not found.rows
    assert {"4 names for the 3 outputs" in str(one.reason) for one in found.failures} == {True}


@pytest.mark.parametrize(
    ("outputs", "names"), [(3, ("ant", "bee", "cat")), (3, ()), (1, ("crack",)), (1, ("no", "yes"))]
)
def test_names_that_are_as_many_are_used(outputs, names):
    (answer,) = seewhy.explain_photos(LoadedModel(network(outputs), INPUT, names), PHOTO)
    assert not answer.failures
    assert len(answer.top) == max(outputs, 2)


def test_a_network_without_a_name_is_called_something():
    model = LoadedModel(nn.Sequential(network(2), nn.Softmax(1)), INPUT, ("ant", "bee"))
    with pytest.raises(ModelError, match=r"^the network has no class 'cat' among its 2"):
        model.class_index("cat")
    with pytest.raises(ModelError, match=r"^class 2 does not exist in the network; give 0 to 1"):
        model.class_index(2)
    with pytest.warns(Note, match=r"^the network ends with a softmax of its own"):
        seewhy.explain_photos(model, PHOTO)


def test_a_network_is_no_name_of_one():
    with pytest.raises(TypeError, match=r"model is a Sequential; .* seewhy\.LoadedModel\(module"):
        load_model(network(2))


@pytest.mark.parametrize("path", ["net.pt", "runs/last.ckpt", "./mobile.net.safetensors"])
def test_a_file_of_weights_is_no_name_of_a_network(path):
    with pytest.raises(ModelError, match=r"is a file of weights; .* \(--weights FILE\)"):
        load_model(path)


def test_any_callable_is_no_preprocessing():
    for make in (
        lambda: LoadedModel(network(2), nn.Identity()),
        lambda: load_model("scenes:resnet", preprocess=nn.Identity()),
    ):
        with pytest.raises(TypeError, match=r"preprocess is a Identity; give a seewhy\.Preprocess"):
            make()


def test_the_other_class_of_a_single_output_is_told():
    model, x = network(1), torch.rand(1, 3, 16, 16)
    with pytest.raises(ValueError, match=r"single output, which is target 0; .*targets\.Not\(0\)"):
        seewhy.explain(model, x, "gradient", target=1)
    up, down = (seewhy.explain(model, x, "input_x_gradient", one) for one in (0, targets.Not(0)))
    assert torch.equal(up, -down)


class Squeezing(nn.Module):
    """A network that takes the axis of the images from a single one."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.body = network(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x).squeeze()


@pytest.mark.parametrize("method", ["grad_cam", "occlusion(patch=8)", "gig_cam(steps=2)"])
def test_a_squeezed_logit_of_a_single_image_is_its_score(method):
    x = torch.rand(2, 3, 16, 16)
    expected = seewhy.explain(network(1), x, method, 0)
    assert torch.equal(seewhy.explain(Squeezing(1), x, method, 0), expected)
    alone = seewhy.explain(Squeezing(1), x[:1], method, 0)
    assert torch.allclose(alone, expected[:1], atol=1e-6)


@pytest.mark.parametrize("target", [None, 2])
def test_squeezed_classes_of_a_single_image_are_told(target):
    x = torch.rand(1, 3, 16, 16)
    with pytest.raises(ValueError, match=r"shape \(3,\) for 1 images; .* squeeze\(-1\) keeps it"):
        seewhy.explain(Squeezing(3), x, "gradient", target)


def test_a_function_is_no_network():
    with pytest.raises(TypeError, match=r"a torch\.nn\.Module, whose forward calls this function"):
        seewhy.explain(lambda x: network(2)(x), torch.rand(1, 3, 16, 16))
    with pytest.raises(TypeError, match=r"a torch\.nn\.Module$"):
        seewhy.explain(nn.Linear, torch.rand(1, 3, 16, 16))
