"""Gradual Extrapolation against the author's numbers, and on networks of several kinds."""

from __future__ import annotations

import pytest
import torch

import seewhy
from networks import Cnn, images, seeded
from reference import relative_error
from seewhy import Method, Probe, Refinement
from seewhy.maps import upsample
from seewhy.refine.gradual import brightness, extrapolate, gradual, standardized

CASES = ["tiny_densenet_x65x57", "tiny_resnet_basic_x64_b3", "tiny_vgg_x64_b3", "tiny_vgg_x65x57"]


PRECISIONS = {"f64": torch.float64, "f32": torch.float32}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", CASES)
def test_reference_numbers_from_end_to_end(oracles, name, precision):
    """By the public name: the author's maps of Grad-CAM, image by image as he makes them."""
    case = oracles[f"ge/{name}"]
    expected, targets = oracles.tensors(case), case["targets"]
    dtype = PRECISIONS[precision]
    layer = case["params"]["heatmap"].split(":")[0].removeprefix("own Grad-CAM at ")
    for inplace in (False, True):
        model, inputs = oracles.model(case, dtype, inplace=inplace), oracles.inputs(case, dtype)
        for key, method in (
            (f"up_single.{precision}", "grad_cam+gradual"),
            (f"rgb_single.{precision}", "grad_cam+gradual(standardize=True)"),
        ):
            found = seewhy.explain(model, inputs, method, targets, layer=layer, size="layer")
            tolerance = max(case["tensors"][key][f"tol_{precision}"], 1e-10)
            assert relative_error(found, expected[key][:, 0]) <= tolerance, (key, inplace)


def excitations(model, inputs, names):
    """What the author's code records: the first module's input, and every output."""
    found = []
    modules = [model.get_submodule(name) for name in names]
    handles = [
        modules[0].register_forward_pre_hook(lambda _, args: found.append(args[0].clone())),
        *(m.register_forward_hook(lambda _, args, out: found.append(out.clone())) for m in modules),
    ]
    with torch.no_grad():
        model(inputs)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("precision", ["f64", "f32"])
@pytest.mark.parametrize("name", CASES)
def test_reference_numbers(oracles, name, precision):
    case = oracles[f"ge/{name}"]
    expected = oracles.tensors(case)
    dtype = PRECISIONS[precision]
    model, inputs = oracles.model(case, dtype, inplace=False), oracles.inputs(case, dtype)
    recorded = excitations(model, inputs, case["params"]["hooked_modules"])
    factors = [brightness(each) for each in recorded]
    for index, factor in enumerate(factors):
        assert relative_error(factor, expected[f"factor_single.{index}"][:, 0]) <= 1e-5
    maps = extrapolate(expected[f"heatmap.{precision}"][:, 0], factors[::-1])
    for key, found in (("up_single", maps), ("rgb_single", standardized(maps))):
        tolerance = case["tensors"][f"{key}.{precision}"][f"tol_{precision}"]
        assert relative_error(found, expected[f"{key}.{precision}"][:, 0]) <= tolerance, key


def test_constant_activations_leave_the_upsampled_map():
    maps = torch.rand(2, 3, 4).double()
    factors = [brightness(torch.full((2, 5, 3 * n, 4 * n), 0.7).double()) for n in (2, 4, 8)]
    found = extrapolate(maps, factors)
    stepwise = maps
    for n in (2, 4, 8):
        stepwise = upsample(stepwise, (3 * n, 4 * n)) * 5
    assert torch.allclose(found, stepwise)
    # Of constant maps nothing remains but the constants.
    flat = extrapolate(torch.ones(2, 3, 4).double(), factors)
    assert torch.allclose(flat, torch.full_like(flat, 5**3))


def test_standardized_by_numpy():
    maps = torch.randn(2, 6, 7).double() * 3 + 1
    for image, found in zip(maps.numpy(), standardized(maps).numpy(), strict=True):
        scores = ((image - image.mean()) / image.std(ddof=1)).clip(-1, 1)
        expected = (scores - scores.min()) / (scores.max() - scores.min())
        assert abs(found - expected).max() < 1e-12
    assert torch.equal(standardized(torch.full((1, 3, 3), 2.0)), torch.zeros(1, 3, 3))


class Uneven(Cnn):
    """Three resolutions; the maps are 4 pixels wide."""

    def __init__(self, relu="module"):
        super().__init__(relu)
        self.conv3 = torch.nn.Conv2d(8, 8, 3, stride=2, padding=1)

    def features(self, x):
        return self.activate(self.conv3(super().features(x)))


def test_stages_are_those_of_the_recorded_pass():
    """By hand: shared functional ReLUs hide nothing, and nothing depends on layer types."""
    model, x = seeded(Uneven, "functional"), images(2)
    probe = Probe(model, x, 1)
    grids = [tuple(maps.shape[-2:]) for maps in probe.stages.values()]
    assert grids == [(16, 16), (8, 8)]
    assert [*probe.stages] == ["bn1", "bn2"]
    expected = model.bn1(model.conv1(x))
    assert torch.allclose(probe.stages["bn1"], expected)
    assert not any(maps.requires_grad for maps in probe.stages.values())


LAST = "grad_cam+gradual(stages='last')"


def climbed(coarse, factors):
    maps = coarse
    for factor in factors:
        scale = factor.flatten(1).max(1).values[:, None, None]
        maps = upsample(maps, factor.shape[-2:]) * factor.sum(1) / scale
    return maps


def test_last_stages_by_hand():
    model, x = seeded(Uneven), images(2)
    probe = Probe(model, x, 1)
    expected = climbed(Method("grad_cam")(probe), (*reversed(probe.stages.values()), x))
    assert torch.allclose(seewhy.explain(model, x, LAST, 1), expected, rtol=1e-5)


class Pooled(Cnn):
    """Strides and pools of every kind that the author takes, and some that he does not."""

    def __init__(self):
        super().__init__("functional")
        self.pool1 = torch.nn.MaxPool2d(2)
        self.same = torch.nn.MaxPool2d(3, stride=1, padding=1)
        self.aside = torch.nn.Conv2d(8, 8, 3, stride=(1, 2), padding=1)
        self.average = torch.nn.AvgPool2d((1, 2), ceil_mode=True)

    def features(self, x):
        maps = self.same(self.pool1(super().features(x)))
        return self.average(maps).relu() + self.aside(maps).relu_()


def test_author_stages_by_hand():
    model, x = seeded(Pooled), images(2)
    hooked = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.MaxPool2d)
        or (isinstance(module, torch.nn.Conv2d) and max(module.stride) > 1)
    ]
    assert {"pool1", "same", "aside"} <= {*hooked}
    recorded = excitations(model, x, hooked)
    found = Probe(model, x, 1).excitations
    assert len(found) == len(recorded)
    assert all(torch.equal(a, b) for a, b in zip(found, recorded, strict=True))
    for options, factors in (
        ("", recorded[::-1]),
        ("(image=False)", recorded[:0:-1]),
        ("(depth=2)", recorded[:-3:-1]),
        ("(rectified=True)", [each.clamp_min(0) for each in recorded[::-1]]),
    ):
        expected = climbed(Method("grad_cam")(Probe(model, x, 1, "aside")), factors)
        found = seewhy.explain(
            model, x, f"grad_cam+gradual{options}", 1, layer="aside", size="layer"
        )
        assert torch.allclose(found, expected, rtol=1e-5, atol=1e-7), options


def test_a_power_by_hand():
    """Negative activations, of a batch norm here, count as 0."""
    model, x = seeded(Uneven), images(2)
    probe = Probe(model, x, 1)
    maps = Method("grad_cam")(probe)
    for stage in reversed(probe.stages.values()):
        positive = stage.clamp_min(0)
        scale = positive.flatten(1).max(1).values[:, None, None]
        maps = upsample(maps, stage.shape[-2:]) * (positive.sum(1) / scale) ** 0.3
    options = {"stages": "last", "rectified": True, "power": 0.3, "image": False}
    found = gradual(Probe(model, x, 1), Method("grad_cam"), **options)
    assert torch.allclose(found, maps, rtol=1e-5)


def test_no_further_pass_once_the_stages_are_known():
    model, x = seeded(Uneven), images(2)
    seewhy.explain(model, x, "grad_cam+gradual", 1)
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    seewhy.explain(model, x, ["grad_cam", "grad_cam+gradual", LAST, "layer_cam+gradual"], 1)
    assert len(calls) == 1
    probe = Probe(model, x, 1)
    Method("grad_cam")(probe)
    (Method("grad_cam") + Refinement("gradual"))(probe)
    assert len(calls) == 3  # too late to record them in the same pass


def test_stages_of_a_network_that_changed():
    model, x = seeded(Uneven), images(2)
    seewhy.explain(model, x, LAST, 1)
    model.bn2 = torch.nn.Sequential(model.bn2, torch.nn.Identity())
    model.bn1 = torch.nn.Sequential()
    found = seewhy.explain(model, x, LAST, 1)
    fresh = seeded(Uneven)
    fresh.load_state_dict(
        {k.replace("bn2.0", "bn2"): v for k, v in model.state_dict().items()}, strict=False
    )
    fresh.bn1 = torch.nn.Identity()
    assert torch.allclose(found, seewhy.explain(fresh, x, LAST, 1))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stages": "last"},
        {"depth": 1},
        {"power": 0.5, "rectified": True},
        {"image": False},
        {"standardize": True},
    ],
)
def test_maps_are_those_of_each_image_alone(options):
    model, x = seeded(Uneven), images(3)
    method = Method("grad_cam") + Refinement("gradual", **options)
    together = seewhy.explain(model, x, method, 1)
    assert together.isfinite().all()
    for index in range(3):
        alone = seewhy.explain(model, x[index : index + 1], method, 1)
        assert torch.allclose(
            together[index], alone[0], rtol=1e-4, atol=1e-6 * float(alone.abs().max())
        )


def test_depth_climbs_from_the_deepest():
    model, x = seeded(Uneven), images(2)
    one = Probe(model, x, 1)
    for depth, side in ((1, 8), (2, 16), (3, 32), (None, 32)):
        found = gradual(one, Method("grad_cam"), stages="last", depth=depth)
        assert found.shape[-2:] == (side, side)
    assert gradual(one, Method("grad_cam"), stages="last", image=False).shape[-2:] == (16, 16)


def test_half_precision_stays_finite():
    """Products of many sums are beyond what float16 holds."""
    model, x = seeded(Uneven), 40 * images(2)
    model.conv1.weight.data *= 30
    wanted = seewhy.explain(model, x, "grad_cam+gradual", 1)
    found = seewhy.explain(model.half(), x.half(), "grad_cam+gradual", 1).float()
    assert found.isfinite().all()
    assert torch.corrcoef(torch.stack([found.flatten(), wanted.flatten()]))[0, 1] > 0.99


def test_says_why_it_cannot_apply(oracles):
    with pytest.raises(ValueError, match="already have the resolution of the input"):
        seewhy.explain(seeded(Cnn), images(), "gradient+gradual", 1)
    case = next(c for c in oracles.cases.values() if "vit" in c["model"]["builder"])
    model = oracles.model(case, torch.float32)
    for options, what in (("", "max pools"), ("(stages='last')", "stages")):
        with pytest.raises(ValueError, match=f"no {what}.* of a higher resolution"):
            seewhy.explain(model, images(1, (64, 64)), f"grad_cam+gradual{options}", 1)
    for options in ("stages='all'", "depth=0", "depth=-1", "power=0", "power=0.5"):
        with pytest.raises(ValueError, match=options):
            seewhy.explain(seeded(Cnn), images(), f"grad_cam+gradual({options})", 1)


def test_functional_pools_alone_say_which_stages_to_take():
    class Functional(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 5, 3)

        def forward(self, x):
            return self.last(torch.nn.functional.max_pool2d(self.first(x), 2)).mean((2, 3))

    model = seeded(Functional)
    with pytest.raises(ValueError, match=r"functional .*stages='last'"):
        seewhy.explain(model, images(), "grad_cam+gradual", 1, layer="last")
    assert seewhy.explain(model, images(), "grad_cam+gradual(stages='last')", 1, layer="last").any()


def test_maps_of_several_layers_say_to_name_one():
    with pytest.raises(ValueError, match="name one layer at most"):
        seewhy.explain(seeded(Cnn), images(), "grad_cam+gradual", 1, layer=["bn1", "bn2"])
