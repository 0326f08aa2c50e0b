"""Path methods against the reference implementations' numbers, and the properties of paths."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import seewhy
from networks import Cnn, images, seeded
from reference import relative_error
from seewhy import Method, Probe
from seewhy.core.targets import Contrast, Probability
from seewhy.fills import blurred, filled
from seewhy.maps import normalize, upsample
from seewhy.methods import paths
from seewhy.progress import watching

IG = ["ig/ig_tiny_vgg_img0", "ig/ig_tiny_resnet_basic_img1"]
GUIDED = ["ig/guided_ig_tiny_vgg_img0", "ig/guided_ig_tiny_resnet_basic_img1"]


def question(oracles, case_id, dtype=torch.float64):
    case = oracles[case_id]
    image = oracles.inputs(case, dtype)
    return Probe(oracles.model(case, dtype), image, case["targets"]), oracles.tensors(case), case


def traced(evidence, probe, start, steps, *options):
    """The probes at the points of a guided path, and the steps from them."""
    points = []

    def noting(at):
        points.append(at)
        return evidence(at)

    path = paths.guided_path(probe, start, steps, noting, *options)
    return points, [step for _, step, _ in path]


# ---------------------------------------------------------------------- reference numbers


@pytest.mark.parametrize("case_id", IG)
@pytest.mark.parametrize("precision", ["f64", "f32"])
def test_integrated_gradients_of_pair(oracles, case_id, precision):
    """PAIR's rule takes N points with both ends, each with the weight 1/N."""
    dtype = {"f64": torch.float64, "f32": torch.float32}[precision]
    probe, expected, case = question(oracles, case_id, dtype)
    for kind in ("black", "random"):
        start = expected[f"baseline.{kind}"].to(dtype)[None]
        for steps in (10, 50):
            key = f"pair_{kind}_s{steps}.{precision}"
            points = torch.linspace(0, 1, steps, dtype=torch.float64)
            weights = torch.full((steps,), 1 / steps, dtype=torch.float64)
            found = paths.integrate(probe, start, points, weights, batch_size=7)
            assert (
                relative_error(found[0], expected[key]) <= case["tensors"][key][f"tol_{precision}"]
            )


@pytest.mark.parametrize("case_id", IG)
def test_integrated_gradients_of_captum(oracles, case_id):
    probe, expected, case = question(oracles, case_id)
    compared = 0
    for rule in (
        "gausslegendre",
        "riemann_trapezoid",
        "riemann_left",
        "riemann_right",
        "riemann_middle",
    ):
        for kind in ("black", "random"):
            key = f"captum_{rule}_n16_{kind}"
            if key not in expected:
                continue
            ours = rule.removeprefix("riemann_").replace("gausslegendre", "gauss_legendre")
            start = expected[f"baseline.{kind}"].double()[None]
            positions, weights = paths.quadrature(ours, 16)
            if ours == "trapezoid":
                weights = weights * 15 / 16  # captum's add up to 15/16, not to 1
            # captum rounds the weights to float32, which changes those of Gauss-Legendre.
            found = paths.integrate(probe, start, positions, weights.float().double())
            assert relative_error(found[0], expected[key]) <= case["tensors"][key]["tol_f64"], key
            compared += 1
    assert compared == 7


@pytest.mark.parametrize("case_id", GUIDED)
def test_guided_integrated_gradients_with_traces(oracles, case_id):
    probe, expected, case = question(oracles, case_id)
    for name, run in case["params"]["runs"].items():
        start = expected[f"baseline.{run['baseline']}"].double()[None]
        steps, fraction, distance = run["x_steps"], run["fraction"], run["max_dist"]
        found = paths.integrate_guided(probe, start, steps, fraction, distance)
        assert relative_error(found[0], expected[f"{name}.f64"]) <= 1e-9, name

        def slope(at):
            return at.expect("input").input_gradient

        points, _ = traced(slope, probe, start, steps, fraction, distance)
        l1 = torch.stack([(probe.inputs - at.inputs).abs().sum() for at in points])
        logits = torch.cat([at.score for at in points])
        assert relative_error(l1, expected[f"{name}.trace.l1"]) <= 1e-9, name
        assert relative_error(logits, expected[f"{name}.trace.logit"]) <= 1e-9, name


@pytest.mark.parametrize("case_id", GUIDED)
def test_guided_integrated_gradients_in_float32(oracles, case_id):
    probe, expected, case = question(oracles, case_id, torch.float32)
    for name, run in case["params"]["runs"].items():
        key = f"{name}.f32"
        if key not in expected:
            continue
        start = expected[f"baseline.{run['baseline']}"][None]
        found = paths.integrate_guided(
            probe, start, run["x_steps"], run["fraction"], run["max_dist"]
        )
        assert relative_error(found[0], expected[key]) <= case["tensors"][key]["tol_f32"], name


GIG = [
    "gig/gig_tiny_vgg_x64_b3_s0_img1",
    "gig/gig_tiny_resnet_basic_x64_b3_s0_img0",
    "gig/gig_tiny_mobilenet_x65x57_s0_img0",
]


@pytest.mark.parametrize("case_id", GIG)
def test_gig_cam_of_the_authors(oracles, case_id):
    """The whole map, and the same among other images of a batch."""
    probe, expected, case = question(oracles, case_id)
    params, layer = case["params"], case["params"]["layer"]
    method = f"gig_cam(steps={params['steps']})"
    (target,) = case["targets"]
    found = seewhy.explain(probe.model, probe.inputs, method, target, layer=layer)
    assert relative_error(found[0], expected["attr.f64"]) <= 1e-8
    batch = torch.cat([probe.inputs.flip(2), probe.inputs, probe.inputs.flip(3)])
    together = seewhy.explain(probe.model, batch, method, target, layer=layer)
    assert torch.equal(together[1], found[0])


@pytest.mark.parametrize("case_id", GIG)
def test_the_path_of_gig_cam(oracles, case_id):
    probe, expected, case = question(oracles, case_id)
    params = case["params"]
    probe = probe.with_layer(params["layer"])
    start = torch.zeros_like(probe.inputs)

    def signed_cam(at):
        cam = (at.activations() * at.gradients().mean((2, 3), keepdim=True)).sum(1)
        return upsample(cam, probe.size)[:, None]

    points, _ = traced(
        signed_cam, probe, start, params["steps"], params["fraction"], params["max_dist"]
    )
    points = [at.inputs for at in points]
    left = torch.stack([(probe.inputs - x).abs().sum() for x in points])
    assert relative_error(left, expected["l1_left.f64"]) <= 1e-9
    for x, key in ((points[1], "x_step1.f64"), (points[-1], "x_last.f64")):
        assert relative_error(x[0].movedim(0, 2), expected[key]) <= 1e-8


# ---------------------------------------------------------------------- properties


class TwoHeads(nn.Module):
    """A network whose score is linear in its last maps, or not."""

    def __init__(self, linear: bool) -> None:
        super().__init__()
        self.net = Cnn()
        self.hidden = nn.Sequential() if linear else nn.Sequential(nn.Linear(8, 8), nn.Tanh())

    def forward(self, x):
        return self.net.head(self.hidden(self.net.features(x).mean((2, 3))))


LINEAR, CURVED = (seeded(TwoHeads, linear).double() for linear in (True, False))
PHOTOS = images(3).double()
CAM_PATHS = ["integrated_grad_cam", "gig_cam"]
ALL_PATHS = [*CAM_PATHS, "integrated_gradients", "guided_integrated_gradients"]


@pytest.mark.parametrize("start", ["darkest", "blurred", "random", 0.0, (0.1, -0.2, 0.3)])
def test_integrated_gradients_are_complete(start):
    method = Method("integrated_gradients", steps=200, baseline=start)
    found = method(Probe(CURVED, PHOTOS, 2)).sum((1, 2))
    scores = [CURVED(x)[:, 2] for x in (PHOTOS, filled(PHOTOS, start))]
    assert torch.allclose(found, scores[0] - scores[1], rtol=0.02, atol=0.02)


@pytest.mark.parametrize("rule", ["middle", "left", "right", "trapezoid", "gauss_legendre"])
def test_quadrature_of_a_known_integral(rule):
    positions, weights = paths.quadrature(rule, 40)
    assert torch.isclose(weights.sum(), torch.tensor(1.0, dtype=torch.float64))
    rough = rule in ("left", "right")
    integral = (weights * positions**3).sum()
    assert abs(integral - 0.25) < (0.013 if rough else 2e-4)
    assert rule != "gauss_legendre" or abs(integral - 0.25) < 1e-12


def test_the_trapezoid_has_two_points_at_least():
    positions, weights = paths.quadrature("trapezoid", 2)
    assert (positions.tolist(), weights.tolist()) == ([0, 1], [0.5, 0.5])
    with pytest.raises(ValueError, match="steps=1; the rule 'trapezoid' needs 2"):
        paths.quadrature("trapezoid", 1)


def test_gausss_rule_does_not_take_all_memory():
    with pytest.raises(ValueError, match="steps=100000; the rule 'gauss_legendre' takes 5000"):
        seewhy.explain(
            CURVED, PHOTOS[:1], "integrated_gradients(rule='gauss_legendre', steps=100000)", 1
        )


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("fraction", [0.01, 0.25, 1.0])
def test_guided_path_arrives_and_falls_linearly(steps, fraction):
    """Also where much of the image is equally salient, and where some is its own baseline."""
    photos = PHOTOS.clone()
    photos[0, :, :9] = 0
    probe = Probe(CURVED, photos, 1)
    start = torch.zeros_like(photos)
    noise = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    points, steps_taken = traced(lambda at: noise, probe, start, steps, fraction)
    ends = torch.stack([*[at.inputs for at in points], points[-1].inputs + steps_taken[-1]])
    distance = (photos - ends).abs().sum((2, 3, 4))
    expected = distance[0] * (1 - torch.arange(steps + 1)[:, None] / steps)
    assert torch.allclose(distance, expected, atol=1e-6 * float(distance[0].max()))
    assert torch.equal(ends[-1], photos)
    # Nobody turns back, and at a small fraction the least salient pixels go first.
    share = (ends[:, :, 0] / torch.where(photos[:, 0] == 0, 1, photos[:, 0])).clamp(0, 1)
    assert (share.diff(dim=0) >= -1e-12).all()
    if steps == 2 and fraction == 0.01:
        early, late = (noise[:, 0] < 0.2) & (photos[:, 0] != 0), noise[:, 0] > 0.9
        assert torch.allclose(share[1][early], torch.ones(()).double())
        assert (share[1][late] == 0).all()


def test_guided_path_ends_in_the_image_of_any_type():
    photos = images(2).float() * 7
    probe = Probe(seeded(Cnn), photos, 0)
    start = filled(photos, "random")
    points, steps_taken = traced(lambda at: photos, probe, start, 9)
    assert torch.allclose(points[-1].inputs + steps_taken[-1], photos)


@pytest.mark.parametrize("difference", [False, True])
def test_integrated_grad_cam_by_loops(difference):
    """As in the authors' demo, or with A(x_0) taken off as in the paper."""
    model, layer, steps = CURVED, "net.conv2", 5
    maps = torch.zeros(3, 8, 8).double()
    origin = Probe(model, torch.zeros_like(PHOTOS), 1, layer).activations()
    for t in range(1, steps + 1) if difference else range(steps):
        probe = Probe(model, PHOTOS * t / steps, 1, layer)
        weights = probe.gradients().mean((2, 3))
        activations = probe.activations() - (origin if difference else 0)
        maps += torch.einsum("bk,bkhw->bhw", weights, activations).relu()
    assert maps.any()
    for batch_size in (1, 7, "auto"):
        method = Method(
            "integrated_grad_cam", steps=steps, batch_size=batch_size, difference=difference
        )
        assert torch.allclose(method(Probe(model, PHOTOS, 1, layer)), maps)


def test_black_pixels_are_what_the_network_takes_for_them():
    black = (-2.0, -1.9, -1.8)
    own = torch.tensor(black, dtype=torch.float64)[:, None, None]
    for name in CAM_PATHS:
        probe = Probe(CURVED, PHOTOS, 1, black=black)
        expected = Method(name, steps=4, baseline=own)(Probe(CURVED, PHOTOS, 1))
        assert expected.any()
        assert torch.equal(Method(name, steps=4)(probe), expected)
        unknown = Method(name, steps=4, baseline=0.0)(Probe(CURVED, PHOTOS, 1))
        assert torch.equal(Method(name, steps=4)(Probe(CURVED, PHOTOS, 1)), unknown)


def test_gig_cam_takes_another_way_than_the_straight_line():
    probe = Probe(CURVED, PHOTOS, 1)
    guided, bound = (
        normalize(Method("gig_cam", steps=6, max_distance=distance)(probe)) for distance in (1, 0)
    )
    assert relative_error(guided, bound) > 0.01
    # Bound to the straight line it is the integrated Grad-CAM of the same points.
    straight = upsample(Method("integrated_grad_cam", steps=6)(probe), (32, 32))
    assert relative_error(bound, normalize(straight)) < 0.1


@pytest.mark.parametrize("name", ALL_PATHS)
@pytest.mark.parametrize(
    "target",
    [None, 3, (0, 1, 2), Contrast((0, 1, 2), 4), Probability(None), lambda out: out[:, 0] ** 2],
)
def test_maps_are_those_of_each_image_alone(name, target):
    method = Method(name, steps=5, baseline="random")
    together = seewhy.explain(CURVED, PHOTOS, method, target)
    for index in range(3):
        own = target
        if isinstance(target, tuple):
            own = target[index]
        elif isinstance(target, Contrast):
            own = Contrast(index, 4)
        alone = seewhy.explain(CURVED, PHOTOS[index : index + 1], method, own)
        assert torch.allclose(together[index], alone[0])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("integrated_gradients", 8),
        ("guided_integrated_gradients", 8),
        ("integrated_grad_cam", 8),
        ("gig_cam", 8),
    ],
)
def test_passes(name, expected):
    """Guided paths go image by image on a CPU."""
    model = seeded(Cnn)
    probe = Probe(model, images(2), [0, 1])
    probe.activations()
    seen = []
    model.register_forward_hook(lambda module, args, out: seen.append(len(args[0])))
    Method(name, steps=8)(probe)
    assert sum(seen) == 2 * expected
    assert len(seen) == (16 if name in ("gig_cam", "guided_integrated_gradients") else 1)


def test_progress_is_reported_to_those_who_watch():
    reports = []
    with watching(lambda *report: reports.append(report)):
        Method("gig_cam", steps=4)(Probe(CURVED, PHOTOS[:1], 1))
        Method("integrated_gradients", steps=4, batch_size=6)(Probe(CURVED, PHOTOS, 1))
    Method("gig_cam", steps=4)(Probe(CURVED, PHOTOS, 1))
    named = [(done, total) for what, done, total in reports if what]
    assert [done for done, _ in named] == [1, 2, 3, 4, 2, 4]
    assert {total for _, total in named} == {4}


@pytest.mark.parametrize("name", ["gig_cam", "guided_integrated_gradients"])
def test_what_is_not_finite_ends_at_once(name):
    with pytest.raises(ValueError, match="not finite"):
        seewhy.explain(seeded(Cnn), images(1), f"{name}(baseline=1e39)", 1)
    assert seewhy.explain(seeded(Cnn), images(1), f"{name}(baseline=1e38, steps=3)", 1).shape
    broken = seeded(Cnn)
    broken.conv2.weight.data[0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        seewhy.explain(broken, images(1), name, 1)


def test_whoever_watches_may_end_a_path():
    """Also inside of a step, where a small fraction makes many rounds."""
    calls = []

    def impatient(*_):
        calls.append(1)
        if len(calls) > 20:
            raise TimeoutError("too long")

    with watching(impatient), pytest.raises(TimeoutError):
        seewhy.explain(CURVED, PHOTOS[:1], "gig_cam(steps=3, fraction=0.01, max_distance=1)", 1)
    assert len(calls) == 21


def test_smaller_parts_after_running_out_of_memory():
    """Simulated: passes over more than four images do not fit."""
    model = seeded(Cnn).double()
    seen = []

    def hook(module, args, out):
        if len(args[0]) > 4:
            raise torch.cuda.OutOfMemoryError("full")
        seen.append(len(args[0]))

    model.register_forward_hook(hook)
    with pytest.warns(RuntimeWarning, match="out of memory"):
        found = seewhy.explain(model, PHOTOS[:2], Method("integrated_gradients", steps=9), 1)
    assert max(seen) == 4
    assert (
        sum(seen) == 18
    )  # nine points; the class is given, so the question needs no pass of its own
    whole = seewhy.explain(
        seeded(Cnn).double(), PHOTOS[:2], Method("integrated_gradients", steps=9), 1
    )
    assert torch.allclose(found, whole)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        seewhy.explain(model, PHOTOS, Method("integrated_gradients", steps=9, batch_size=6), 1)


def test_a_part_that_ran_out_of_memory_counts_once(monkeypatch):
    """Simulated: memory ends behind the first of two layers, whose maps are known by then."""
    model, weighted, calls = seeded(Cnn).double(), paths._weighted, []

    def flaky(at, layer, maps):
        calls.append(layer)
        if len(calls) == 2:
            raise torch.cuda.OutOfMemoryError("full")
        return weighted(at, layer, maps)

    method, layers = Method("integrated_grad_cam", steps=4), ["conv1", "conv2"]
    expected = seewhy.explain(model, PHOTOS[:1], method, 1, layer=layers)
    monkeypatch.setattr(paths, "_weighted", flaky)
    with pytest.warns(RuntimeWarning, match="out of memory"):
        found = seewhy.explain(model, PHOTOS[:1], method, 1, layer=layers)
    assert torch.allclose(found, expected)


# ---------------------------------------------------------------------- baselines and errors


def test_baselines():
    own = torch.full((3, 1, 1), 0.5).double()
    assert torch.equal(filled(PHOTOS, own), torch.full_like(PHOTOS, 0.5))
    assert torch.equal(filled(PHOTOS, "darkest")[1, 2], PHOTOS[1, 2].min().expand(32, 32))
    assert torch.equal(filled(PHOTOS, "black"), torch.zeros_like(PHOTOS))
    own_black = filled(PHOTOS, "black", black=(-1.0, -2.0, -3.0))
    assert torch.equal(own_black[:, 1], torch.full((3, 32, 32), -2.0).double())
    noise = filled(PHOTOS, "random", seed=3)
    assert torch.equal(noise, filled(PHOTOS, "random", seed=3))
    assert not torch.equal(noise, filled(PHOTOS, "random", seed=4))
    assert (noise <= PHOTOS.amax((2, 3), keepdim=True)).all()
    flat = torch.full_like(PHOTOS, 2.5)
    assert torch.allclose(blurred(flat, 3.0), flat)
    for size in ((20, 40), (40, 20)):
        photos = torch.rand(2, 3, *size)
        assert torch.equal(filled(photos, "blurred"), blurred(photos, 2.0))
    point = torch.zeros(1, 1, 21, 21).double()
    point[..., 10, 10] = 1
    spread = blurred(point, 2.0)[0, 0]
    squares = (torch.arange(21) - 10).double() ** 2
    assert abs((spread.sum(0) * squares).sum() - 4) < 0.15  # variance 2², but for the cut tails
    assert torch.allclose(spread, spread.T)


def test_an_own_baseline_is_an_option():
    start = torch.zeros_like(PHOTOS)
    method = Method("integrated_gradients", baseline=start)
    assert "tensor" in str(method)
    assert method == Method("integrated_gradients", baseline=start)
    probe = Probe(CURVED, PHOTOS, 1)
    assert torch.equal(method(probe), Method("integrated_gradients")(probe))


@pytest.mark.parametrize("name", ["guided_integrated_gradients", "gig_cam", "integrated_grad_cam"])
def test_a_batch_is_its_images_one_by_one_in_a_real_network(name):
    """Rounding decides the order of features, and it depends on how many images share a pass."""
    model = seewhy.load_model("photos:efficientnet_lite0")
    coarse = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    photos = upsample(coarse.flatten(0, 1), (72, 72)).view(2, 3, 72, 72)
    together = seewhy.explain(model, photos, f"{name}(steps=2)", [281, 207])
    for index, target in enumerate((281, 207)):
        alone = seewhy.explain(model, photos[index : index + 1], f"{name}(steps=2)", target)
        if name == "integrated_grad_cam":  # whose path is given
            assert relative_error(together[index : index + 1], alone) < 1e-4
        else:
            assert torch.equal(together[index : index + 1], alone)


@pytest.mark.parametrize(
    ("spelled", "message"),
    [
        ("integrated_gradients(baseline='white')", "baseline='white'; it should be 'black'"),
        ("integrated_gradients(baseline=(1, 2))", "the fill has shape"),
        ("integrated_gradients(rule='simpson')", "rule='simpson'"),
        ("integrated_gradients(steps=0)", "steps=0"),
        ("integrated_gradients(batch_size=0)", "batch_size=0"),
        ("gig_cam(steps=0)", "steps=0"),
        ("gig_cam(fraction=0)", "fraction=0"),
        ("gig_cam(fraction=1e-9)", "fraction=1e-09"),
        ("guided_integrated_gradients(max_distance=2)", "max_distance=2"),
    ],
)
def test_options_out_of_range(spelled, message):
    with pytest.raises(ValueError, match=message):
        seewhy.explain(CURVED, PHOTOS, spelled, 1)
