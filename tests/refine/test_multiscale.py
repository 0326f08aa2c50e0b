"""Multi-scale fusion: identities, closed forms, and networks that take one size only."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import map_coordinates
from torch import nn

import seewhy
from networks import Cnn, images, seeded
from seewhy import Method, Probe, Refinement
from seewhy.core.targets import Of, Segment
from seewhy.maps import normalize, upsample
from seewhy.naming import parse
from seewhy.progress import Stopped, watching
from seewhy.refine.multiscale import multiscale, recursive_fusion, tiled

MODEL, PHOTOS = seeded(Cnn).double(), images(3).double()


@pytest.mark.parametrize("name", ["grad_cam", "gradient", "tsgb"])
def test_one_scale_is_the_identity(name):
    found = seewhy.explain(MODEL, PHOTOS, f"{name}+multiscale(scales=[1])", 1)
    assert torch.equal(found, seewhy.explain(MODEL, PHOTOS, name, 1))


@pytest.mark.parametrize("combine", ["mean", "geometric", "product"])
def test_fusion_by_hand(combine):
    maps, masses = [], []
    for scale in (1, 1.5, 2):
        resized = F.interpolate(PHOTOS, scale_factor=scale, mode="bilinear", align_corners=False)
        found = seewhy.explain(MODEL, resized, "grad_cam", 1, size="layer")
        maps.append(normalize(upsample(found, (16, 16))))
        masses.append(found.sum((1, 2))[:, None, None])
    by_hand = {
        "geometric": (maps[0] * maps[1] * maps[2]) ** (1 / 3),
        "product": maps[0] * maps[1] * maps[2],
        "mean": (sum(m * s for m, s in zip(masses, maps, strict=True)) / sum(masses)).nan_to_num(),
    }[combine]
    method = Method("grad_cam") + Refinement("multiscale", combine=combine)
    found = method(Probe(MODEL, PHOTOS, 1))
    assert found.shape == (3, 16, 16)
    assert torch.allclose(found, by_hand, atol=1e-6)


def test_reference_numbers_of_the_authors_fusion(oracles):
    """The script's recursion over Grad-CAMs of three sizes, by the public name."""
    case = oracles["gig/fusion_tiny_vgg_s0"]
    sizes, layer = case["params"]["sizes"], case["params"]["layer"]
    image = oracles.inputs(case, torch.float32)
    scales = [size / image.shape[-1] for size in sizes]
    method = Method("grad_cam") + Refinement("multiscale", combine="ratio", scales=scales)
    found = seewhy.explain(
        oracles.model(case, torch.float32),
        image,
        method,
        case["targets"],
        layer=layer,
        size="layer",
    )
    assert found.shape == (1, sizes[-1], sizes[-1])
    expected = oracles.tensors(case)["fused.f32"]
    assert (found[0, ::4, ::4] - expected).abs().max() <= 1e-4


def test_the_authors_fusion_by_hand():
    """By NumPy on four pixels; where the surroundings are empty, the ratio is 0."""
    first = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    second = torch.tensor([[[2.0, 0.0], [0.0, 2.0]]])
    # Its mean is 1 all over, so the ratio is the map; what was 0 at first stays it.
    expected = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    assert torch.equal(recursive_fusion([first, second]), expected)
    total = first + first * second + first * second * second
    assert torch.equal(recursive_fusion([first, second, second]), total / 7)
    assert not recursive_fusion([first, 0 * second, 0 * second])[0, 1].any()
    assert torch.equal(recursive_fusion([0 * first, second]), 0 * first)


def test_the_authors_fusion_of_maps_that_are_no_squares():
    """By NumPy and SciPy, image by image: sizes along both sides, and each image's own range."""
    draw = np.random.default_rng(0)
    maps = [draw.random((2, *size)) * [[[1.0]], [[9.0]]] for size in ((6, 4), (9, 6), (12, 10))]
    found = recursive_fusion([torch.from_numpy(each) for each in maps])
    assert found.shape == (2, 12, 10)
    for image in range(2):
        fused = total = maps[0][image]
        for each in (whole[image] for whole in maps[1:]):
            height, width = each.shape
            even = each[: height // 2 * 2, : width // 2 * 2]
            pooled = even.reshape(height // 2, 2, width // 2, 2).mean((1, 3))
            fused = resized(fused, each.shape) * each / resized(pooled, each.shape)
            total = resized(total, each.shape) + fused
        expected = (total - total.min()) / (total.max() - total.min())
        assert np.allclose(found[image].numpy(), expected, atol=1e-12)


def resized(each, size):
    """Bilinear between the middles of pixels, the outermost of which go on beyond the border."""
    middles = [
        ((np.arange(new) + 0.5) * old / new - 0.5).clip(0, old - 1)
        for new, old in zip(size, each.shape, strict=True)
    ]
    return map_coordinates(each, np.meshgrid(*middles, indexing="ij"), order=1)


def test_the_authors_sizes():
    sizes = []

    def method(at):
        sizes.append(at.size[0])
        return at.inputs.sum(1)

    wide = torch.rand(1, 3, 224, 224)
    found = multiscale(Probe(seeded(Cnn), wide, 1), method, combine="ratio")
    assert sizes == [224, 324, 424, 524, 624, 724, 824]
    assert found.shape == (1, 824, 824)


def test_whoever_watches_can_stop_it():
    def watcher(what, done, total):
        raise Stopped

    with watching(watcher), pytest.raises(Stopped):
        seewhy.explain(MODEL, PHOTOS, "gig_cam(steps=2)+multiscale", 1)


def test_the_question_stays_the_same_at_each_scale():
    """The predicted class may change with the size; the class asked about does not."""
    probe = Probe(MODEL, PHOTOS)
    classes = probe.target.classes
    asked = []

    def spy(at):
        asked.append(at.target.classes)
        return Method("grad_cam")(at)

    multiscale(probe, spy, scales=(1, 3, 0.5))
    assert asked == [classes] * 3


def test_an_empty_map_at_one_scale_counts_for_nothing():
    """As where the network does not know the class at that size."""

    def method(at):
        found = Method("layer_cam")(at)
        return found * (at.inputs.shape[-1] == 32)

    probe = Probe(MODEL, PHOTOS, 1)
    alone = upsample(Method("layer_cam")(probe), (16, 16))
    assert torch.allclose(multiscale(probe, method), normalize(alone))
    assert not multiscale(probe, method, combine="geometric").any()
    assert not multiscale(probe, lambda at: method(at) * 0).any()


def test_maps_of_signed_methods_keep_what_speaks_for_the_class():
    found = seewhy.explain(MODEL, PHOTOS, "tsgb+multiscale(combine='product')", 1)
    single = seewhy.explain(MODEL, PHOTOS, "tsgb", 1)
    assert (found >= 0).all()
    assert (found <= 1).all()
    assert (found[single <= 0] == 0).all()


class OneSize(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=4)
        self.head = nn.Linear(4 * 8 * 8, 5)

    def forward(self, x):
        return self.head(self.conv(x).relu().flatten(1))


@pytest.mark.parametrize("scale", [1.3, 1.5, 2, 3.7])
def test_tiles_of_what_needs_no_surroundings_make_the_whole(scale):
    """Where a place's value depends on that place alone, tiles say what the image at once says."""
    large = F.interpolate(PHOTOS, scale_factor=scale, mode="bilinear", align_corners=False)
    seen = []

    def method(at):
        seen.append(tuple(at.size))
        return at.inputs.abs().sum(1)

    found = tiled(Probe(MODEL, PHOTOS, 1), method, large)
    assert torch.allclose(found, large.abs().sum(1))
    assert set(seen) == {(32, 32)}
    assert len(seen) == {1.3: 4, 1.5: 4, 2: 9, 3.7: 49}[scale]


def test_tiles_that_are_no_squares_are_laid_where_they_were():
    """A map that is the picture itself, at its own resolution or a quarter of it."""
    probe = Probe(MODEL, torch.rand(2, 3, 16, 24).double(), 1)
    large = torch.rand(2, 3, 40, 36).double()
    found = tiled(probe, lambda at: at.inputs.sum(1), large)
    assert torch.allclose(found, large.sum(1))
    ramps = torch.linspace(0, 1, 40)[:, None] - 3 * torch.linspace(0, 1, 36)
    ramps = ramps.expand(2, 3, 40, 36).double()
    coarse = tiled(probe, lambda at: F.avg_pool2d(at.inputs.sum(1), 4), ramps)
    assert coarse.shape == (2, 10, 9)
    assert (coarse - F.avg_pool2d(ramps.sum(1), 4)).abs().max() < 0.5


def test_tiles_by_hand():
    """Each place of the large image by itself: the mean of the tiles over it, by their weights."""
    model = seeded(OneSize).double()
    probe = Probe(model, PHOTOS, 1, layer="conv")
    found = multiscale(probe, Method("grad_cam"), scales=[1.5])
    large = F.interpolate(PHOTOS, size=(48, 48), mode="bilinear", align_corners=False)
    total, shares = torch.zeros(3, 48, 48).double(), torch.zeros(48, 48).double()
    for top in (0, 16):
        for left in (0, 16):
            tile = large[:, :, top : top + 32, left : left + 32]
            maps = seewhy.explain(model, tile, "grad_cam", 1, layer="conv")
            for row in range(32):
                for column in range(32):
                    near = [1 - abs(place + 0.5 - 16) / 16 for place in (row, column)]
                    weight = near[0] * near[1]
                    total[:, top + row, left + column] += weight * maps[:, row, column]
                    shares[top + row, left + column] += weight
    expected = upsample(total / shares, (12, 12))
    assert torch.allclose(found, expected)
    assert found.any()
    alone = multiscale(Probe(model, PHOTOS[1:2], 1, layer="conv"), Method("grad_cam"), scales=[1.5])
    assert torch.allclose(found[1:2], alone)


def test_tiles_are_for_networks_that_take_one_size():
    """What fails for another reason is an error as before."""

    def method(at):
        if at.size != PHOTOS.shape[2:]:
            raise ValueError("no such map")
        return at.inputs.sum(1)

    with pytest.raises(ValueError, match="no such map"):
        multiscale(Probe(MODEL, PHOTOS, 1), method)


class OfTwo(nn.Module):
    """Scores and a segmentation of an image with its depth, at one size."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 3, 1)

    def forward(self, x, depth):
        found = self.head(self.conv(torch.cat([x, depth.expand(-1, -1, *PHOTOS.shape[2:])], 1)))
        return {"logits": found.mean((2, 3)), "pixels": found}


def test_no_tiles_where_a_part_is_no_question_of_its_own():
    """The depth would have to be cut along, and the region of a segment."""
    model, target = seeded(OfTwo).double(), Of("logits", 1)
    depth, level = PHOTOS[:, :1], PHOTOS[:, :1, :1, :1]
    found = seewhy.explain(model, (PHOTOS, level), "grad_cam+multiscale", target, explained=0)
    assert found.any()
    region = torch.ones(32, 32, dtype=torch.bool)
    for other, asked in ((depth, target), (level, Of("pixels", Segment(1, region)))):
        for shown in (slice(0, 3), slice(1, 2)):
            probe = Probe(model, (PHOTOS[shown], other[shown]), asked, "conv", explained=0)
            with pytest.raises(ValueError, match="failed on the images at 48 x 48 instead"):
                parse("grad_cam+multiscale")(probe)
            with pytest.raises(ValueError, match="failed on the images at 48 x 48 instead"):
                parse("grad_cam+multiscale")(probe.image(0))


class Pixels(nn.Module):
    """A segmentation; of images of one size only, if asked."""

    def __init__(self, one_size=False):
        super().__init__()
        self.one_size = one_size
        self.conv, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 1)

    def forward(self, x):
        assert not self.one_size or x.shape[2:] == PHOTOS.shape[2:]
        return self.head(self.conv(x).relu())


def test_a_function_that_knows_one_size_only():
    """To `auto` it is as a network for one size, with `Segment` both go by all scales."""
    region = torch.zeros(32, 32, dtype=torch.bool)
    region[4:20, 8:16] = True

    def inside(pixels):
        return pixels[:, 1][:, region].mean(1)

    model, one_size = seeded(Pixels).double(), seeded(Pixels, True).double()
    with pytest.raises(ValueError, match=r"target failed .* 48 x 48 instead of 32 x 32 .*Segment"):
        seewhy.explain(model, PHOTOS, "grad_cam+multiscale", inside)
    left_out = seewhy.explain(model, PHOTOS, "auto", inside)
    assert torch.equal(left_out, seewhy.explain(one_size, PHOTOS, "auto", inside))
    assert not torch.equal(left_out, seewhy.explain(model, PHOTOS, "auto", Segment(1, region)))


def test_says_why_it_cannot_apply():
    for options in ("tiles=False", "scales=[0.5, 1]"):
        name = f"grad_cam+multiscale({options})"
        with pytest.raises(ValueError, match=r"failed on the images at .* instead of 32 x 32"):
            seewhy.explain(seeded(OneSize).double(), PHOTOS, name, 1, layer="conv")
    with pytest.raises(ValueError, match="scales="):
        seewhy.explain(MODEL, PHOTOS, "grad_cam+multiscale(scales=[1, 0])", 1)
    with pytest.raises(ValueError, match="combine='max'"):
        seewhy.explain(MODEL, PHOTOS, "grad_cam+multiscale(combine='max')", 1)


@pytest.mark.parametrize(
    "spelled",
    [
        "tsgb+multiscale",
        "integrated_grad_cam(steps=3)+multiscale(scales=[1,1.5])+gradual",
        "grad_cam+gradual+multiscale",
        "layer_cam+refine_cam+multiscale(scales=(1, 2))",
        "global_guidance+multiscale+smooth(samples=2)",
        "gradient+smooth(samples=2)+multiscale(combine='mean')",
    ],
)
def test_compositions(spelled):
    found = seewhy.explain(MODEL, PHOTOS, spelled, [0, 1, 2])
    assert found.shape == PHOTOS[:, 0].shape
    assert found.isfinite().all()
    assert found.any()
    for index in range(3):
        alone = seewhy.explain(MODEL, PHOTOS[index : index + 1], spelled, index)
        assert torch.allclose(found[index], alone[0])
