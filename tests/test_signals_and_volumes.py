"""Signals (B, C, L) and volumes (B, C, D, H, W): the same formulas with other sides.

A network of signals is, with kernels one pixel wide, a network of images of that width; and a
network of images is one of volumes that are one slice deep. So maps and metrics have to be the same
with one more side. What looks at the shorter side of the image is checked in closed form.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import seewhy
from every import EVERY, OF_ATTENTION, short
from networks import seeded
from seewhy import metrics
from seewhy.maps import upsample
from seewhy.metrics.faithfulness import effect_correlation
from strange import signal, volume

# These set a patch, a grid or a blur by the shorter side, which is one pixel once lifted.
BY_THE_SHORTER_SIDE = ("occlusion", "rise", "detail", "auto", "multiscale")
LIFTED = [name for name in EVERY if not any(word in name for word in BY_THE_SHORTER_SIDE)]


def drawn(*shape: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def image() -> nn.Module:
    """`volume` of images."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5),
    )  # fmt: skip


def lifted(model: nn.Module, axis: int) -> nn.Module:
    """The network of the same inputs with one more side, of one pixel, before or behind (-1)."""
    conv = {nn.Conv1d: nn.Conv2d, nn.Conv2d: nn.Conv3d}
    rest = {
        nn.BatchNorm1d: nn.BatchNorm2d,
        nn.BatchNorm2d: nn.BatchNorm3d,
        nn.AdaptiveAvgPool1d: nn.AdaptiveAvgPool2d,
        nn.AdaptiveAvgPool2d: nn.AdaptiveAvgPool3d,
    }

    def wider(sides: tuple[int, ...], one: int) -> tuple[int, ...]:
        return (*sides, one) if axis == -1 else (one, *sides)

    parts: list[nn.Module] = []
    for part in model:
        if type(part) in conv:
            sides = (part.kernel_size, part.stride, part.padding)
            wide = [wider(side, one) for side, one in zip(sides, (1, 1, 0), strict=True)]
            other = conv[type(part)](part.in_channels, part.out_channels, *wide)
            weight = part.weight.unsqueeze(axis if axis == -1 else 2)
            other.load_state_dict({"weight": weight, "bias": part.bias})
            part = other
        elif type(part) in rest:
            batch_norm = hasattr(part, "num_features")
            other = rest[type(part)](part.num_features if batch_norm else 1)
            other.load_state_dict(part.state_dict())
            part = other
        parts.append(part)
    return nn.Sequential(*parts).double().eval()


PAIRS = {"signal": (signal, (3, 64), -1), "image": (image, (3, 16, 20), 2)}


@pytest.fixture(scope="module", params=PAIRS)
def pair(request):
    """Maps of the inputs, and of the same with one more side."""
    build, size, axis = PAIRS[request.param]
    model, x = seeded(build).double(), drawn(2, *size)
    plain = seewhy.explain(model, x, LIFTED, [1, 3])
    wider = seewhy.explain(lifted(model, axis), x.unsqueeze(axis), LIFTED, [1, 3])
    return plain, {name: maps.squeeze(-1 if axis == -1 else 1) for name, maps in wider.items()}


@pytest.mark.parametrize("name", LIFTED)
def test_one_side_more_changes_nothing(name, pair):
    plain, wider = pair
    assert plain[name].any()
    # Which of two equally salient pixels goes first on a GIG path hangs on rounding.
    tolerance = 0.05 if name.startswith("gig_cam") else 1e-8
    assert (plain[name] - wider[name]).abs().max() <= tolerance * plain[name].abs().max()


KINDS = {"signal": (signal, (3, 64)), "volume": (volume, (3, 8, 16, 16))}


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_in_the_documentation(kind):
    """Every method and refinement named there works, and no other is there to be named."""
    page = Path(__file__).resolve().parents[1] / "docs" / "probe.md"
    row = next(line for line in page.read_text().splitlines() if line.startswith("| maps |"))
    everywhere, elsewhere = (re.findall("`([a-z_]+)`", cell) for cell in row.split("|")[2:4])
    every = [*seewhy.list_methods(), *seewhy.list_refinements()]
    assert elsewhere == OF_ATTENTION
    assert sorted([*everywhere, *elsewhere]) == sorted(every)
    build, size = KINDS[kind]
    model, x = seeded(build), drawn(2, *size).float()
    for name, maps in seewhy.explain(model, x, EVERY, 1).items():
        assert maps.shape == (2, *size[1:]), name
        assert maps.isfinite().all(), name
        assert maps.any(), name
    for name in elsewhere:
        with pytest.raises(ValueError, match="attention"):
            seewhy.explain(model, x, name, 1)


class Weighted(nn.Module):
    """score_c = Σ w_c ⊙ x."""

    def __init__(self, *size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(drawn(4, *size, seed=3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("n...,c...->nc", x, self.weight)


SIZES = [(2, 12), (2, 4, 8, 6)]


@pytest.mark.parametrize("size", SIZES)
def test_occlusion_of_a_weighted_sum(size):
    """Each patch takes away what it covers: Σ w ⊙ x there."""
    model, x = Weighted(*size).eval(), drawn(3, *size)
    share = (model.weight[1] * x).sum(1)
    one = seewhy.explain(model, x, "occlusion(patch=1)", 1)
    assert torch.allclose(one, share)
    pool = [nn.AvgPool1d(2), None, nn.AvgPool3d(2)][len(size) - 2]
    patches = seewhy.explain(model, x, "occlusion(patch=2, stride=2)", 1)
    expected = pool(share[:, None])[:, 0] * 2 ** (len(size) - 1)
    for axis in range(1, len(size)):
        expected = expected.repeat_interleave(2, axis)
    assert torch.allclose(patches, expected)


@pytest.mark.parametrize("size", SIZES)
def test_rise_of_a_weighted_sum(size):
    """Where the network reads one place alone, the maximum lies there."""
    model, x = Weighted(*size).eval(), drawn(3, *size)
    place = (slice(None), *(side // 2 for side in size[1:]))
    weight = torch.zeros_like(model.weight[1])
    weight[place] = x[0][place].sign()
    model.weight.data[1] = weight
    found = seewhy.explain(model, x[:1], "rise(masks=3000, cells=3)", 1)
    peak = torch.unravel_index(found[0].argmax(), size[1:])
    assert all(abs(int(p) - side // 2) <= 1 for p, side in zip(peak, size[1:], strict=True))


def test_grad_cam_of_torch_cam():
    torchcam = pytest.importorskip("torchcam.methods")
    model, x = seeded(volume), drawn(2, 3, 8, 16, 16).float()
    with torchcam.GradCAM(model, "4", input_shape=(3, 8, 16, 16)) as peer:
        # It scales its maps to [0, 1].
        expected = peer([1, 1], model(x.requires_grad_()))[0].detach()
    found = seewhy.explain(model, x.detach(), "grad_cam", 1, layer="4", size="layer")
    assert torch.allclose(seewhy.normalize(found, 3), expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_input_x_gradient_and_occlusion_of_captum(kind):
    captum = pytest.importorskip("captum.attr")
    build, size = KINDS[kind]
    model, x = seeded(build), drawn(2, *size).float()
    expected = captum.InputXGradient(model).attribute(x.clone(), target=1).sum(1)
    assert torch.allclose(
        seewhy.explain(model, x, "input_x_gradient", 1), expected.detach(), atol=1e-6
    )
    hidden = captum.Occlusion(model).attribute(
        x, (3, *[4] * (len(size) - 1)), strides=(1, *[4] * (len(size) - 1)), target=1
    )
    found = seewhy.explain(model, x, "occlusion(patch=4, stride=4)", 1)
    assert torch.allclose(found, hidden[:, 0], atol=1e-5)


# ---------------------------------------------------------------------- metrics


def lifted_values(function, *tensors: Tensor, **options):
    """The metric's values, and those with one more side."""
    plain = function(*tensors, **options)
    return plain, function(*(tensor.unsqueeze(-1) for tensor in tensors), **options)


@pytest.mark.parametrize("size", [(40,), (12, 9)])
@pytest.mark.parametrize(
    "name",
    ["pointing_game", "energy_pointing_game", "mass_accuracy", "rank_accuracy", "iou"],
)
def test_metrics_with_masks(name, size):
    maps = drawn(6, *size)
    masks = maps + 2 * drawn(6, *size, seed=2) > 2
    options = {"tolerance": 1} if name == "pointing_game" else {}
    plain, wider = lifted_values(getattr(metrics, name), maps, masks, **options)
    assert torch.equal(plain, wider)
    assert len(plain.unique()) > 1


@pytest.mark.parametrize("name", ["complexity", "gini", "entropy"])
def test_metrics_of_maps(name):
    for size in ((40,), (12, 9)):
        function = getattr(metrics.quality, name)
        plain, wider = lifted_values(function, drawn(3, *size))
        assert torch.allclose(plain, wider)


def test_correlations():
    for function in (metrics.pearson, metrics.spearman):
        plain, wider = lifted_values(function, drawn(3, 30), drawn(3, 30, seed=4))
        assert torch.equal(plain, wider)


def test_points_of_volumes():
    masks = torch.zeros(2, 4, 5, 6, dtype=torch.bool)
    masks[:, 1, 2, 3] = True
    points = torch.tensor([[3, 2, 1], [3, 2, 3]])  # x, y, z
    assert metrics.hits(points, masks, 0).tolist() == [1, 0]
    assert metrics.hits(points, masks, 2).tolist() == [1, 0]
    assert metrics.hits(points, masks, 2.1).tolist() == [1, 1]


@pytest.mark.parametrize("size", SIZES)
def test_insertion_and_deletion_of_a_weighted_sum(size):
    """The scores fall and rise by the shares of the places, in the order of the map."""
    model, x = Weighted(*size).eval(), drawn(3, *size)
    share = (model.weight[1] * x).sum(1)
    maps = drawn(3, *size[1:], seed=6)

    def score(images, index):
        return model(images)[:, 1].detach()

    steps = share[0].numel()
    curves = metrics.insertion_deletion(score, x, maps, steps=steps, insert_into=0.0)
    order = maps.flatten(1).argsort(1, descending=True)
    fallen = share.flatten(1).gather(1, order).cumsum(1).detach()
    total = fallen[:, -1:]
    assert torch.allclose(curves.deletion[:, 1:], total - fallen, atol=1e-9)
    assert torch.allclose(curves.insertion[:, 1:], fallen, atol=1e-9)


@pytest.mark.parametrize("size", SIZES)
def test_a_weighted_sum_is_perfectly_predicted_by_its_shares(size):
    model, x = Weighted(*size).eval(), drawn(2, *size)
    x = x[:, :1].expand_as(x)  # a place counts for all its channels
    model.weight.data = model.weight.mean(1, keepdim=True).expand_as(model.weight).clone()
    maps = model.weight[1, 0].expand(2, *size[1:]).detach()

    def score(images, index):
        return model(images)[:, 1].detach()

    assert (metrics.infidelity(score, x, maps) < 1e-12).all()
    wrong = metrics.infidelity(score, x, maps.flip(-1))
    assert (wrong > 1e-4).all()
    noisy = metrics.max_sensitivity(lambda images, index: images.mean(1), x, x.mean(1))
    assert (noisy > 0).all()


def test_the_rest_on_signals_and_volumes():
    for size in SIZES:
        x, maps = drawn(2, *size), drawn(2, *size[1:], seed=5)

        def score(images, index):
            return images.flatten(1).sum(1).sigmoid()

        original, masked = metrics.confidences(score, x, maps)
        positive = maps.clamp(min=0)
        low, high = positive.flatten(1).amin(1), positive.flatten(1).amax(1)
        shape = (2, *[1] * (len(size)))
        shown = (positive[:, None] - low.view(shape)) / (high - low).view(shape)
        assert torch.allclose(masked, score(x * shown, None))
        assert torch.allclose(original, score(x, None))
        regions = torch.stack([maps[0] > 0, maps[0] <= 0, maps[0] > 1])
        effects = (maps[0] * regions).flatten(1).sum(1)
        assert effect_correlation(maps[:1], [regions], [effects]).item() == pytest.approx(1)
        with pytest.raises(ValueError, match="eight neighbours"):
            metrics.road_curves(score, x, maps)
        with pytest.raises(ValueError, match="boxes are drawn on images"):
            metrics.box_iou(maps, [torch.zeros(0, 4)] * 2)


def test_frames_before_channels_are_noted():
    """VideoMAE takes (B, T, C, H, W), whose map would have the channels for its slices."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4 * 3 * 6 * 6, 2))
    with pytest.warns(seewhy.notes.Note, match="4 channels of 3 slices; if they are frames"):
        seewhy.explain(model, torch.rand(1, 4, 3, 6, 6), "gradient", 1)


def test_upsampling():
    for size, mode in (((5,), "linear"), ((3, 4, 5), "trilinear")):
        maps, large = drawn(2, *size), [2 * side for side in size]
        expected = nn.functional.interpolate(maps[:, None], large, mode=mode)[:, 0]
        assert torch.equal(upsample(maps, large), expected)


@pytest.mark.parametrize("name", ["smooth", "multiscale", "detail", "sharpen", "refine_cam"])
def test_refinements_are_per_signal(name):
    model, x = seeded(signal), drawn(3, 3, 64).float()
    together = seewhy.explain(model, x, f"grad_cam+{short(name)}", 1)
    alone = [seewhy.explain(model, one[None], f"grad_cam+{short(name)}", 1) for one in x]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)
