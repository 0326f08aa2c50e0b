"""The automatic choice of layer and stages, over many architectures with random weights."""

from __future__ import annotations

import math
from collections import OrderedDict

import pytest
import torch
from torch import nn

import seewhy
from seewhy import Probe
from seewhy.core.layers import Layer, Layout, Reader
from seewhy.core.probe import layers_of
from seewhy.core.targets import AnyOf, Contrast, Probability, Similarity

# Architecture -> expected layer (several where versions differ), number of stages.
TORCHVISION = {
    "alexnet": ("features.11", 3),
    "vgg11": ("features.19", 5),
    "vgg11_bn": ("features.27", 5),
    "resnet18": ("layer4", 5),
    "resnet50": ("layer4", 5),
    "resnext50_32x4d": ("layer4", 5),
    "densenet121": ("features.norm5", 5),
    "mobilenet_v2": ("features.18", 5),
    "mobilenet_v3_small": ("features.12", 5),
    "efficientnet_b0": ("features.8", 5),
    "squeezenet1_0": ("features.12", 4),
    "googlenet": ("inception5b", 5),
    "inception_v3": ("Mixed_7c", 7),
    "shufflenet_v2_x0_5": ("conv5", 4),
    "regnet_y_400mf": ("trunk_output.block4", 5),
    "mnasnet0_5": ("layers.16", 5),
    "convnext_tiny": ("features.7", 4),
    "swin_t": ("norm", 4),
    "vit_b_16": ("encoder.layers.encoder_layer_11.ln_1", 1),
    "maxvit_t": ("blocks.3", 5),
}
TIMM = {
    "resnet18": ("layer4", 5),
    "nf_resnet26": ("final_act", 5),
    "convnext_atto": ("stages.3", 4),
    "swin_tiny_patch4_window7_224": ("norm", 4),
    "vit_tiny_patch16_224": ("blocks.11.norm1", 1),
    "deit_tiny_distilled_patch16_224": ("blocks.11.norm1", 1),
    "vit_small_patch14_reg4_dinov2": ("blocks.11.norm1", 1),
    "eva02_tiny_patch14_224": ("blocks.11", 1),
    "cait_xxs24_224": ("blocks_token_only.1.norm1", 1),
    "efficientnet_b0": ("bn2", 5),
    "mobilenetv3_small_050": ("blocks.5", 5),
    "regnetx_002": ("s4", 5),
    "repvgg_a0": ("stages.3", 5),
    "coatnet_0_rw_224": ("norm", 5),
    "levit_128s": ("stages.2", 6),
    "mobilevit_xxs": ("final_conv", 5),
    "darknet53": ("stages.4", 6),
}
SMALLER = {"inception_v3": 299, "vit_small_patch14_reg4_dinov2": 224}


def with_live_head(model: nn.Module) -> nn.Module:
    """Some heads begin at zero, and then the score depends on nothing."""
    for module in model.modules():
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.02)
    return model.eval()


def torchvision_model(name: str) -> nn.Module:
    from seewhy.models import import_torchvision

    zoo = import_torchvision().models
    slow = name in ("googlenet", "inception_v3", "vgg11", "vgg11_bn")
    slow_init = {"init_weights": False} if slow else {}
    return zoo.get_model(name, weights=None, **slow_init)


def timm_model(name: str) -> nn.Module:
    from seewhy.models import import_torchvision

    import_torchvision()
    timm = pytest.importorskip("timm")
    size = {"img_size": 224} if "dinov2" in name else {}
    return timm.create_model(name, pretrained=False, **size)


@pytest.mark.parametrize(
    ("zoo", "name", "expected"),
    [(torchvision_model, name, expected) for name, expected in TORCHVISION.items()]
    + [(timm_model, name, expected) for name, expected in TIMM.items()],
)
def test_choice(zoo, name, expected):
    torch.manual_seed(0)
    model = with_live_head(zoo(name))
    side = SMALLER.get(name, 256 if name == "darknet53" else 224)
    x = torch.randn(1, 3, side, side)
    layer, stage_count = expected
    _, _, stages = layers_of(model, x)
    chosen = stages[-1]
    assert chosen == layer
    assert len(stages) == stage_count, stages

    probe = Probe(model, x)
    assert probe.layers == (chosen,)
    assert probe.gradients().any()
    h, w = probe.activations().shape[-2:]
    assert 1 < h == w <= 37
    maps = seewhy.explain(model, x, "hires_cam")
    assert maps.shape == (1, side, side)
    assert torch.isfinite(maps).all()


def test_transformers():
    from seewhy.models import import_torchvision

    import_torchvision()
    transformers = pytest.importorskip("transformers")
    small = {"num_labels": 7, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3}
    vit = transformers.ViTForImageClassification(
        transformers.ViTConfig(intermediate_size=48, image_size=64, patch_size=8, **small)
    )
    dino = transformers.Dinov2WithRegistersForImageClassification(
        transformers.Dinov2WithRegistersConfig(image_size=64, patch_size=8, **small)
    )
    resnet = transformers.ResNetForImageClassification(
        transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 12, 16, 20], depths=[1, 1, 1, 1], num_labels=7
        )
    )
    swin = transformers.SwinForImageClassification(
        transformers.SwinConfig(
            image_size=64,
            embed_dim=12,
            depths=[1, 1],
            num_heads=[2, 2],
            window_size=4,
            num_labels=7,
        )
    )
    for model, grid in ((vit, 8), (dino, 8), (resnet, 2), (swin, 8)):
        probe = Probe(with_live_head(model), torch.randn(2, 3, 64, 64))
        assert probe.activations().shape[-2:] == (grid, grid), probe.layers
        assert probe.gradients().any()
        if model in (vit, dino):
            assert "norm" in probe.layers[0]  # tokens on their way into the last attention


def test_tokens_become_the_grid_that_they_came_from(oracles):
    case = oracles["cam/pgc_tiny_vit_x64_b3_blocks-1-norm1"]
    model, x = oracles.model(case), oracles.inputs(case)
    tokens = {}
    model.blocks[1].norm1.register_forward_hook(lambda *a: tokens.update(out=a[2]))
    maps = Probe(model, x, 0, "blocks.1.norm1").activations()
    assert torch.equal(maps, oracles.networks.vit_tokens_to_grid(tokens["out"]))


CONV, NORM, RELU = nn.Conv2d(3, 4, 1), nn.LayerNorm(24), nn.ReLU()


@pytest.mark.parametrize(
    ("image", "before", "module", "shape", "expected"),
    [
        # By type, whatever the proportions.
        ((240, 320), [], CONV, (64, 7, 7), ("channels_first", (7, 7), 64, 0)),
        ((64, 256), [], CONV, (16, 64, 64), ("channels_first", (64, 64), 16, 0)),
        ((224, 224), [], NORM, (7, 7, 24), ("channels_last", (7, 7), 24, 0)),
        # By a grid that was seen.
        ((64, 256), [(16, 64, 64)], RELU, (16, 64, 64), ("channels_first", (64, 64), 16, 0)),
        ((224, 224), [(8, 14, 14)], RELU, (14, 14, 96), ("channels_last", (14, 14), 96, 0)),
        ((224, 224), [(8, 14, 14)], RELU, (7, 7, 96), ("channels_last", (7, 7), 96, 0)),
        # By the proportions.
        ((65, 57), [], RELU, (20, 8, 7), ("channels_first", (8, 7), 20, 0)),
        ((65, 57), [], RELU, (8, 7, 20), ("channels_last", (8, 7), 20, 0)),
        ((96, 96), [], RELU, (12, 12, 12), ("channels_first", (12, 12), 12, 0)),
        ((224, 224), [], RELU, (3, 50, 64), None),
        # Both orders fit: the one that fits better.
        ((64, 48), [], RELU, (9, 8, 6), ("channels_first", (8, 6), 9, 0)),
        ((64, 48), [], RELU, (8, 6, 5), ("channels_last", (8, 6), 5, 0)),
        # Attention weights between tokens that were seen.
        ((32, 32), [(8, 4, 4), "tokens"], RELU, (3, 17, 17), None),
        ((32, 32), [(8, 4, 4)], RELU, (3, 17, 17), ("channels_first", (17, 17), 3, 0)),
        # Tokens are patches of a grid that was seen, behind a few others, and nothing else.
        ((224, 224), [(8, 14, 14)], RELU, (197, 192), ("tokens", (14, 14), 192, 1)),
        ((224, 224), [(8, 14, 14)], RELU, (201, 192), ("tokens", (14, 14), 192, 5)),
        ((96, 56), [(8, 12, 7)], RELU, (85, 24), ("tokens", (12, 7), 24, 1)),
        ((224, 224), [], RELU, (100, 96), None),
        ((224, 224), [(8, 14, 14)], RELU, (100, 96), None),
        ((224, 224), [(8, 80, 80)], RELU, (8400, 84), None),
        # Signals and volumes.
        ((400,), [], nn.Conv1d(3, 4, 1), (16, 50), ("channels_first", (50,), 16, 0)),
        ((400,), [(16, 50)], nn.LayerNorm(32), (50, 32), ("channels_last", (50,), 32, 0)),
        ((400,), [(16, 50)], nn.LayerNorm(32), (51, 32), ("tokens", (50,), 32, 1)),
        ((8, 32, 32), [(4, 4, 8, 8)], RELU, (257, 24), ("tokens", (4, 8, 8), 24, 1)),
        ((8, 32, 32), [(4, 4, 8, 8)], RELU, (4, 8, 8, 24), ("channels_last", (4, 8, 8), 24, 0)),
        ((8, 32, 32), [(4, 4, 8, 8)], RELU, (4, 4, 4, 24), ("channels_last", (4, 4, 4), 24, 0)),
        ((8, 32, 32), [(4, 4, 8, 8)], RELU, (2, 4, 4, 24), ("channels_last", (2, 4, 4), 24, 0)),
    ],
)
def test_layouts(image, before, module, shape, expected):
    reader = Reader(image)
    convolution = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[len(image)](1, 1, 1)
    for earlier in before:
        if earlier == "tokens":
            reader.read(nn.LayerNorm(24), (2, 17, 24))
        else:
            reader.read(convolution, (2, *earlier))
    layout = reader.read(module, (2, *shape))
    found = layout and (layout.kind, layout.grid, layout.channels, layout.prefix)
    assert found == expected
    if layout and layout.kind != "tokens" and not before:
        assert layout.guessed == (module is RELU)


def test_a_guess_tells_nothing_of_later_outputs():
    reader = Reader((64, 48))
    assert reader.read(RELU, (2, 9, 8, 6)).guessed
    assert reader.read(nn.LayerNorm(5), (2, 48, 5)) is None  # rows of no known grid
    sure = reader.read(nn.LayerNorm(5), (2, 8, 6, 5))
    assert (sure.grid, sure.guessed) == ((8, 6), False)
    assert reader.read(nn.LayerNorm(5), (2, 48, 5)).kind == "tokens"


def rows_of_256() -> Reader:
    """A reader that has seen a grid of 16 x 16, and rows of its patches with 12 features."""
    reader = Reader((64, 64))
    reader.read(CONV, (2, 12, 16, 16))
    reader.read(nn.LayerNorm(12), (2, 256, 12))
    return reader


def test_merged_patches():
    """A quarter of the rows is the grid at half its resolution, if it is no row of queries."""
    merging = rows_of_256()
    assert merging.read(nn.LayerNorm(48), (2, 64, 48)).grid == (8, 8)
    assert merging.read(nn.Linear(48, 24), (2, 64, 24)).grid == (8, 8)
    # LeViT takes every second patch.
    taken = rows_of_256().read(nn.Identity(), (2, 64, 12))
    assert (taken.grid, taken.guessed) == ((8, 8), False)
    # Twice the features: SwinV2 reduces four neighbours, Hiera others, in an order of its own.
    reader, reduces = rows_of_256(), nn.Linear(48, 24)
    assert reader.read(reduces, (2, 64, 24)).guessed
    reader = rows_of_256()
    reader.see_patches(reduces, torch.zeros(2, 64, 48))
    assert not reader.read(reduces, (2, 64, 24)).guessed
    # Queries of a decoder are as many by chance, and have other numbers of features.
    assert rows_of_256().read(nn.LayerNorm(12), (2, 64, 12)) is None


def test_tokens_of_heads_are_no_maps():
    """(B, heads, N, features) has the proportions of the image where N and features are close."""
    shape = (2, 6, 17, 19)
    assert Reader((64, 64)).read(nn.Identity(), shape).grid == (17, 19)
    reader = Reader((64, 64))
    reader.read(CONV, (2, 114, 4, 4))
    reader.read(nn.LayerNorm(114), (2, 17, 114))
    assert reader.read(nn.Identity(), shape) is None


def test_what_has_an_activation_inside_is_no_projection():
    """LeViT of transformers adds up what linear layers and batch norms alone have learned."""
    layout = Layout("tokens", (4, 4), 12)
    linear = nn.Sequential(nn.Linear(12, 12), nn.Dropout())
    block = nn.Sequential(nn.Linear(12, 24), nn.Hardswish(), nn.Linear(24, 12))
    assert Layer([], linear, layout).projects
    assert not Layer([], block, layout).projects


class Adding(nn.Module):
    """A projection that adds what its block began with."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(16, 8)

    def forward(self, x, start):
        return self.dense(x) + start


class Block(nn.Module):
    """A block of VideoMAE: its last module projects and adds, and the block hands that on."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 16), nn.GELU())
        self.output = Adding()

    def forward(self, x):
        return self.output(self.inner(x), x)


class Averaged(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches, self.block, self.fc = nn.Conv2d(3, 8, 8, 8), Block(), nn.Linear(8, 5)

    def forward(self, x):
        return self.fc(self.block(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


def test_a_block_that_ends_with_a_projection_is_a_layer():
    torch.manual_seed(0)
    assert Probe(Averaged().eval(), torch.randn(2, 3, 32, 32), 1).layers == ("block",)


class Cut(nn.Module):
    """Patches of 8 x 16 cut without a convolution, and tokens that mix with one another."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, size = how, 8
        self.unfold = nn.Unfold(size, stride=size) if how == "module" else None
        self.embed, self.mix = nn.Linear(3 * size * size, 12), nn.LayerNorm(12)
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        if self.how == "reshape":
            b, c, h, w = x.shape
            cut = x.reshape(b, c, h // 8, 8, w // 8, 8).permute(0, 2, 4, 1, 3, 5)
            patches = cut.reshape(b, (h // 8) * (w // 8), -1)
        elif self.how == "function":
            patches = nn.functional.unfold(x, 8, stride=8).transpose(1, 2)
        else:
            patches = self.unfold(x).transpose(1, 2)
        tokens = self.mix(self.embed(patches))
        return self.head((tokens + tokens.mean(1, keepdim=True)).relu().mean(1))


@pytest.mark.parametrize("how", ["reshape", "function", "module"])
def test_patches_that_no_convolution_cuts(how):
    torch.manual_seed(1)
    model, x = Cut(how).eval(), torch.randn(2, 3, 64, 32)
    probe = Probe(model, x, 1)
    assert probe.layout("mix").grid == (8, 4)
    moved = x.clone()
    moved[:, :, 24:32, 8:16] += 1
    change = (probe.with_inputs(moved).activations("mix") - probe.activations("mix")).abs().sum(1)
    assert change.nonzero().tolist() == [[0, 3, 1], [1, 3, 1]]
    assert seewhy.explain(model, x, "grad_cam", 1, size="layer").shape == (2, 8, 4)


@pytest.mark.parametrize("options", [(3,), (3, 1, 1, 2), ((2, 4), 1, 0, (2, 4)), (2, 3, 1, 1)])
def test_the_grid_of_an_unfolding_module(options):
    reader, module = Reader((32, 48)), nn.Unfold(*options)
    image = torch.arange(32 * 48.0).reshape(1, 1, 32, 48)
    columns = module(image)
    reader.see_patches(module, image)
    assert reader.read(module, columns.shape) is None
    found = reader.read(nn.Linear(9, 5), (1, columns.shape[2], 5)).grid
    firsts = columns[0, 0]  # the first pixel of each patch, row by row
    step = 48 * (module.stride if isinstance(module.stride, int) else module.stride[0])
    assert math.prod(found) == columns.shape[2]
    assert firsts.reshape(found)[2, 2] - firsts.reshape(found)[1, 2] == step


class Biased(nn.Module):
    """Attention whose bias a small network computes from a table of relative positions, (1, …)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 8, 8), nn.Linear(8, 5)
        self.register_buffer("table", torch.rand(1, 15, 15, 2))
        self.bias = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, x):
        tokens = self.conv(x).flatten(2).transpose(1, 2)
        bias = self.bias(self.table)[0, :8, :8].reshape(1, 64)
        return self.head(((tokens @ tokens.transpose(1, 2) + bias).softmax(-1) @ tokens).mean(1))


def test_what_does_not_come_from_the_image_is_no_map():
    torch.manual_seed(1)
    model, x = Biased().eval(), torch.randn(2, 3, 64, 64)
    for batch in (x, x[:1]):
        assert Probe(model, batch, 1).layers == ("conv",)
        with pytest.raises(ValueError, match="no tensor with one entry per image"):
            Probe(model, batch, 1, layer="bias.0").activations()


class Positions(nn.Module):
    """Codes of each place for each image, which see nothing of it: of its size alone."""

    def forward(self, shape, device, mask=None):
        return (
            torch.linspace(0, 1, 4 * 4 * 8, device=device)
            .view(1, 8, 4, 4)
            .repeat(shape[0], 1, 1, 1)
        )


class Queries(nn.Module):
    """A decoder that asks maps by their positions, as MaskFormer does."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.ReLU())
        self.positions, self.head = Positions(), nn.Linear(8, 5)
        self.query = nn.Parameter(torch.randn(1, 1, 8))

    def forward(self, x):
        maps = self.body(x)
        keys = maps + self.positions(maps.shape, maps.device)
        rows = [one.flatten(2).transpose(1, 2) for one in (keys, maps)]
        return self.head(nn.functional.scaled_dot_product_attention(self.query, *rows)[:, 0])


def test_codes_of_positions_are_no_layer():
    torch.manual_seed(0)
    assert Probe(Queries().eval(), torch.randn(2, 3, 32, 32), 1).layers == ("body",)


class ClassMaps(nn.Module):
    """A convolution as classifier: its own output is a map per class."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.ReLU())
        self.dropout = nn.Dropout()
        self.classifier = nn.Conv2d(8, 5, 1)

    def forward(self, x):
        return self.classifier(self.dropout(self.features(x))).relu().mean((2, 3))


def test_maps_per_class_are_passed_over():
    torch.manual_seed(1)
    assert Probe(ClassMaps().eval(), torch.randn(2, 3, 32, 32)).layers == ("features",)


def test_maps_per_class_are_passed_over_by_all_that_is_asked_of_classes():
    torch.manual_seed(1)
    model, x = ClassMaps().eval(), torch.randn(2, 3, 32, 32)
    for target in (1, [0, 3], Contrast(0, 1), AnyOf((1, 2)), Probability(2)):
        assert Probe(model, x, target).layers == ("features",), target


def test_maps_per_class_are_passed_over_where_a_function_makes_probabilities_of_them():
    torch.manual_seed(1)
    model, x = (
        nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.ReLU(), nn.Conv2d(8, 5, 1)),
        torch.randn(2, 3, 32, 32),
    )
    for made in (lambda out: out.softmax(1)[:, 2], lambda out: out.sigmoid()[:, :2].sum(1)):
        assert Probe(model.eval(), x, lambda out, made=made: made(out).mean((1, 2))).layers == (
            "1",
        )


def test_the_maps_of_an_embedding_are_its_layer():
    """Pooled they are the output, but each channel is a feature and no score."""
    torch.manual_seed(1)
    body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 6, 3, stride=2))
    model = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    x = torch.randn(2, 3, 32, 32)
    for target in (Similarity(torch.randn(6)), lambda vectors: vectors.square().sum(1)):
        assert Probe(model, x, target).layers == ("0.2",)


class Gated(nn.Module):
    """A gate for each place, which the network multiplies with its maps by itself."""

    def __init__(self, channels=8):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, channels, 3, stride=2, padding=1), nn.ReLU())
        self.gate = nn.Conv2d(2, 1, 7, padding=3)
        self.fc = nn.Linear(channels, 5)

    def forward(self, x):
        x = self.body(x)
        gate = self.gate(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1))
        return self.fc((x * gate.sigmoid()).mean((2, 3)))


@pytest.mark.parametrize(("channels", "layer"), [(8, "body"), (1, "gate")])
def test_a_single_map_is_a_layer_only_where_there_is_nothing_else(channels, layer):
    torch.manual_seed(0)
    assert Probe(Gated(channels).eval(), torch.randn(2, 3, 32, 32), 1).layers == (layer,)


class Last(nn.Module):
    """Maps with channels last, at the resolution of an early pool: 7 x 6 cells, 6 channels."""

    def forward(self, x):
        return nn.functional.interpolate(x, (7, 6)).permute(0, 2, 3, 1)


class SeenEarly(nn.Module):
    """A long way from the pool that tells how to read the last maps."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d((7, 6)), nn.Conv2d(3, 3, 1))
        self.last, self.fc = Last(), nn.Linear(6, 5)
        convs = [nn.Conv2d(3 if i == 0 else 6, 6, 3, padding=1) for i in range(10)]
        self.body = nn.Sequential(nn.AdaptiveAvgPool2d(5), *convs)

    def forward(self, x):
        maps = self.last(self.body(self.pool(x)))
        return self.fc((maps * maps).mean((1, 2)))


@pytest.mark.parametrize(("last", "passes"), [(True, 2), (False, 1)])
def test_looking_at_the_last_outputs_alone(last, passes):
    """It finds what looking at all of them finds; where it may not, it looks at all."""
    torch.manual_seed(1)
    model, x = SeenEarly().eval(), torch.randn(2, 3, 64, 64)
    if not last:
        model.last = nn.Sequential()
        model.fc = nn.Conv2d(6, 5, 1)
        model.forward = lambda x: model.fc(model.body(model.pool(x)).mean((2, 3), True))[..., 0, 0]
    count = []
    model.register_forward_hook(lambda *_: count.append(1))
    probe, whole = Probe(model, x, 1), Probe(model, x, 1).expect("name")
    probe.gradients()
    assert len(count) == passes
    assert probe.layout() == whole.layout()
    assert probe.layout().kind == ("channels_last" if last else "channels_first")
    assert torch.equal(probe.gradients(), whole.gradients())
    assert probe.layers == whole.layers == (("last",) if last else ("body",))


def test_a_network_changed_after_its_first_explanation():
    torch.manual_seed(1)
    parts = OrderedDict(conv=nn.Conv2d(3, 8, 3, stride=4), relu=nn.ReLU())
    model = nn.Sequential(parts | {"pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten()}).eval()
    x = torch.randn(2, 3, 32, 32)
    assert Probe(model, x).layers == ("relu",)
    del model.relu
    assert Probe(model, x).layers == ("conv",)


class PoolMadeInForward(nn.Module):
    """It makes a pool of the maps' size whenever it runs."""

    def __init__(self):
        super().__init__()
        parts = [(nn.Conv2d(of, 8, 3, padding=1), nn.ReLU()) for of in (3, 8, 8, 8, 8, 8)]
        self.body = nn.Sequential(*(part for pair in parts for part in pair))
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = self.body(x)
        self.pool = nn.AvgPool2d(tuple(x.shape[2:]))
        return self.fc(self.pool(x).flatten(1))


@pytest.mark.parametrize("layer", [None, "body.8"])
def test_a_network_that_makes_modules_while_it_runs(layer):
    """The later passes of a method meet modules that were not there at the first one."""
    torch.manual_seed(1)
    model, x = PoolMadeInForward().eval(), torch.randn(2, 3, 32, 32)
    found = seewhy.explain(model, x, "smooth_grad_cam_plus_plus(samples=2)", 1, layer=layer)
    model.forward = lambda x: model.fc(model.body(x).mean((2, 3)))
    del model.pool
    expected = seewhy.explain(model, x, "smooth_grad_cam_plus_plus(samples=2)", 1, layer=layer)
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-9)


def test_a_network_without_maps_says_so():
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    with pytest.raises(ValueError, match="no layer with maps"):
        seewhy.explain(model, torch.randn(1, 3, 4, 4), "grad_cam")
