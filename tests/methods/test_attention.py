"""Attention methods against their authors' formulas, by loops over the networks' own attention.

The loops take the attention that transformers itself returns (`output_attentions`, eager
attention); the library sees the same networks with fused attention, and with hand-written one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import seewhy
from architectures import NETWORKS, Network, of_transformers, with_live_head
from seewhy import Probe
from seewhy.core.attention import attention_nodes, unfused
from seewhy.core.rules import applying
from seewhy.core.targets import Probability
from seewhy.methods.attention import attention_gradient
from seewhy.models import import_torchvision
from untouched import assert_same, state

BY_NAME = {network.name: network for network in NETWORKS}
METHODS = ["attention_rollout", "attention_gradient", "attention_x_gradient", "le_grad"]
# Tokens before the patches, and whether the score reads the class token alone.
FAMILIES = {"ViT": (1, True), "DeiT": (2, True), "Dinov2": (1, False), "Beit": (1, False)}
FAMILIES |= {"Dinov2WithRegisters": (5, False)}


def images(size: int = 64, count: int = 2) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(3))


def of_hf(kind: str, implementation: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    model = of_transformers(kind)()
    model.set_attn_implementation(implementation)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # the initial weights are so small that attention is flat
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model.to(dtype)


class Own(nn.Module):
    """Blocks of hand-written attention, with a class token or the patches' mean."""

    def __init__(self, kind: str, class_token: bool = True, depth: int = 3) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.kind, self.token = kind, nn.Parameter(torch.randn(1, int(class_token), 12))
        self.patches = nn.Conv2d(3, 12, 8, 8)
        self.blocks = nn.Sequential(*(OwnBlock(kind) for _ in range(depth)))
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1)
        tokens = self.blocks(tokens)
        return self.head(tokens[:, 0] if self.token.shape[1] else tokens.mean(1))


class OwnBlock(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.qkv, self.out = nn.Linear(12, 36), nn.Linear(12, 12)
        self.mlp = nn.Sequential(nn.Linear(12, 24), nn.GELU(), nn.Linear(24, 12))
        self.multi = nn.MultiheadAttention(12, 3, batch_first=True) if "multi" in kind else None
        self.seen: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.multi is not None:
            x = x + self.multi(x, x, x, need_weights=self.kind == "multi with weights")[0]
            return x + self.mlp(x)
        q, k, v = self.qkv(x).unflatten(2, (3, 3, 4)).permute(2, 0, 3, 1, 4)
        if self.kind == "fused":
            attended = F.scaled_dot_product_attention(q, k, v)
        else:
            scores = q @ k.transpose(2, 3) / 2
            weights = {
                "F.softmax": lambda: F.softmax(scores, dim=-1),
                "method": lambda: scores.softmax(3),
                "module": lambda: nn.Softmax(dim=-1)(scores),
                "float32": lambda: F.softmax(scores, dim=-1, dtype=torch.float32).to(scores.dtype),
                "einsum": lambda: scores.softmax(-1),
                "dropped out": lambda: F.dropout(scores.softmax(-1), 0.5, self.training),
            }[self.kind]()
            einsum = self.kind == "einsum"
            attended = torch.einsum("bhqk,bhkd->bhqd", weights, v) if einsum else weights @ v
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return x + self.mlp(x)


KINDS = [
    "F.softmax", "method", "module", "float32", "einsum", "dropped out", "fused", "multi",
    "multi with weights",
]  # fmt: skip


def looped(model: nn.Module, x: Tensor, target: int) -> tuple[list[Tensor], list[Tensor], Any]:
    """The attention that the network itself returns, its gradients, and all its outputs."""
    outputs = model(x.clone().requires_grad_(), output_attentions=True, output_hidden_states=True)
    score = outputs.logits[:, target].sum()
    gradients = torch.autograd.grad(score, outputs.attentions, retain_graph=True)
    return list(outputs.attentions), list(gradients), outputs


# ------------------------------------------------------------------ what the probe sees


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_the_probe_sees_the_attention_that_the_network_returns(kind: str, implementation: str):
    eager, model, x = of_hf(kind, "eager"), of_hf(kind, implementation), images().double()
    weights, gradients, _ = looped(eager, x, 2)
    found = Probe(model, x, 2).attentions()
    assert len(found) == len(weights) == 2
    for one, weight, gradient in zip(found, weights, gradients, strict=True):
        assert one.weights.shape == (2, 3, 64 + FAMILIES[kind][0], 64 + FAMILIES[kind][0])
        # Some of transformers' softmaxes are float32, whatever the network is.
        assert torch.allclose(one.weights.double(), weight.double(), atol=1e-6)
        assert torch.allclose(one.gradient.double(), gradient.double(), atol=1e-5, rtol=1e-4)
        assert one.gradient.abs().max() > 0
        assert one.layout is not None
        assert (one.layout.grid, one.layout.prefix) == ((8, 8), FAMILIES[kind][0])


@pytest.mark.parametrize("kind", KINDS)
def test_every_spelling_of_attention_is_seen(kind: str):
    model, x = Own(kind).eval().double(), images().double()
    found = Probe(model, x, 1).attentions()
    assert [one.weights.shape for one in found] == [(2, 3, 65, 65)] * 3
    assert torch.allclose(found[-1].weights.double().sum(-1), torch.ones(()).double())
    if "multi" not in kind:
        fused = Own("fused").eval().double()
        for one, other in zip(found, Probe(fused, x, 1).attentions(), strict=True):
            assert torch.allclose(one.weights.double(), other.weights, atol=1e-6)
            assert torch.allclose(one.gradient.double(), other.gradient, atol=1e-6)
    else:
        (block,) = model.blocks[-1:]
        with torch.no_grad():
            tokens = model.patches(x).flatten(2).transpose(1, 2)
            tokens = torch.cat([model.token.expand(2, -1, -1), tokens], 1)
            tokens = model.blocks[:-1](tokens)
            _, weights = block.multi(tokens, tokens, tokens, average_attn_weights=False)
        assert torch.allclose(found[-1].weights, weights)


ALLOWED = torch.ones(9, 9, dtype=torch.bool).tril(2)
BARRED = ALLOWED & (torch.arange(9) != 4)[:, None]  # one query may look at nothing
BIAS = torch.linspace(-2, 2, 81, dtype=torch.float64).reshape(9, 9)


@pytest.mark.parametrize(
    ("options", "bias"),
    [
        ({"attn_mask": ALLOWED}, ALLOWED.log()),
        ({"attn_mask": BARRED}, BARRED.log()),
        ({"attn_mask": ALLOWED, "enable_gqa": True}, ALLOWED.log()),
        ({"attn_mask": BIAS, "scale": 0.3}, BIAS),
        ({"is_causal": True}, ALLOWED.tril().log()),
        ({"scale": 0.0}, 0),
        ({"scale": 2.0}, 0),
    ],
)
def test_fused_attention_is_replaced_with_its_mask_and_scale(
    options: dict[str, Any], bias: Tensor | int
) -> None:
    torch.manual_seed(2)
    q, k, v = torch.randn(3, 2, 4, 9, 5, dtype=torch.float64)
    q.requires_grad_()
    if "enable_gqa" in options:
        k, v = k[:, :2], v[:, :2]
    fused = F.scaled_dot_product_attention(q, k, v, **options)
    with unfused():
        plain = F.scaled_dot_product_attention(q, k, v, **options)
    torch.testing.assert_close(plain, fused)
    (node,) = attention_nodes(plain)
    scores = q @ k.repeat_interleave(4 // k.shape[1], 1).mT * options.get("scale", 5**-0.5)
    expected = (scores + bias).softmax(-1).nan_to_num()
    torch.testing.assert_close(node._saved_result.reshape(2, 4, 9, 9), expected)


def test_networks_without_attention_have_none():
    class Gate(nn.Module):
        """A softmax that weighs branches, and one at the end: neither looks at anything."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

        def forward(self, x: Tensor) -> Tensor:
            a = self.conv(x)
            gate = torch.stack([a, -a], 1).softmax(1)
            return self.head((gate[:, 0] * a).mean((2, 3))).softmax(-1)

    probe = Probe(Gate(), images(), 1)
    assert probe.attentions() == []
    for method in METHODS:
        with pytest.raises(ValueError, match=r"no attention behind the score.*'grad_cam'"):
            seewhy.explain(Gate(), images(), method, 1)


def test_windows_are_shown_as_they_are_and_refused_by_methods():
    model, x = of_hf("Swin", "eager", torch.float32), images()
    found = Probe(model, x, 1).attentions()
    # 4 x 4 patches, of a grid of 16 x 16 and then of 8 x 8: windows in the batch axis.
    assert [tuple(one.weights.shape) for one in found] == [(32, 2, 16, 16), (8, 2, 16, 16)]
    assert all(one.layout is None for one in found)
    assert all(one.gradient.shape == one.weights.shape for one in found)
    for method in METHODS:
        with pytest.raises(ValueError, match=r"no attention looks at all patches.*windows"):
            seewhy.explain(model, x, method, 1)


def test_windows_that_are_padded_are_no_grid():
    """A window of 8 x 8 places around 4 x 4 patches, which a finer stage has as many as."""
    network = BY_NAME["tv-swin_v2_t"]
    grids = [
        one.layout and one.layout.grid
        for one in Probe(network.build(), images(network.size), 1).attentions()
    ]
    # Stages of 16 x 16 patches, 8 x 8 (which one window is), 4 x 4 and 2 x 2.
    assert grids == [None] * 2 + [(8, 8)] * 2 + [None] * 8


class ChannelBlock(OwnBlock):
    """Attention between channels, as in XCiT: the keys are channels of all patches."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, 3, 4)).permute(2, 0, 3, 4, 1)
        x = x + self.out(((q @ k.mT).softmax(-1) @ v).permute(0, 3, 1, 2).flatten(2))
        return x + self.mlp(x)


@pytest.mark.parametrize("size", [16, 32])
def test_channels_are_no_patches(size: int):
    """Also where a head has as many channels, 4, as there are patches."""
    model = Own("method", class_token=False).eval()
    assert all(one.among_patches for one in Probe(model, images(size), 1).attentions())
    for block in model.blocks:
        block.__class__ = ChannelBlock
    probe = Probe(model, images(size), 1)
    assert [one.layout for one in probe.attentions()] == [None] * 3
    assert {tuple(one.weights.shape) for one in probe.attentions()} == {(2, 3, 4, 4)}
    for method in METHODS:
        with pytest.raises(ValueError, match=r"no attention looks at all patches.*channels"):
            seewhy.explain(model, images(size), method, 1)


@pytest.mark.parametrize("name", ["timm-pit_ti_224", "timm-cait_xxs24_224"])
def test_tokens_that_change_on_the_way_are_refused_where_they_must_be(name: str):
    network = BY_NAME[name]
    model, x = network.build(), images(network.size)
    for method in set(METHODS) - {"attention_x_gradient"}:
        with pytest.raises(ValueError, match=r"not between the same patches.*attention_x_gradient"):
            seewhy.explain(model, x, method, 1)
    assert seewhy.explain(model, x, "attention_x_gradient(blocks=6)", 1).any()


# ------------------------------------------------------------------ the authors' formulas


def read(gradient: Tensor) -> Tensor:
    """The queries that the score reads: (queries,), as shares."""
    rows = gradient.abs().sum((0, 2)) > 0
    return rows.double() / rows.sum()


def grid(row: Tensor, prefix: int) -> Tensor:
    return row[prefix:].reshape(8, 8)


def rollout(weights: Any, gradients: Any, prefix: int) -> Tensor:
    """Abnar & Zuidema 2020, as published code has it: matrices multiplied from the first block."""
    result = torch.eye(weights[0].shape[-1]).double()
    for weight in weights:
        mixed = weight.mean(0).double() + torch.eye(weight.shape[-1]).double()
        result = (mixed / mixed.sum(-1, keepdim=True)) @ result
    return grid(read(gradients[-1]) @ result, prefix)


def generic(weights: Any, gradients: Any, prefix: int) -> Tensor:
    """Chefer et al. 2021, eq. 5 and 6, without what each token counts for itself."""
    relevance = torch.eye(weights[0].shape[-1]).double()
    for weight, gradient in zip(weights, gradients, strict=True):
        relevance = relevance + (gradient * weight).clamp(min=0).mean(0).double() @ relevance
    rows = read(gradients[-1])
    return grid(rows @ relevance - rows, prefix)


def product(weights: Any, gradients: Any, prefix: int) -> Tensor:
    return grid((weights[-1] * gradients[-1].clamp(min=0)).mean((0, 1)).double(), prefix)


FORMULAS = {
    "attention_rollout": rollout,
    "attention_gradient": generic,
    "attention_x_gradient": product,
}


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("method", FORMULAS)
def test_maps_are_those_of_the_formula(kind: str, method: str):
    x = images().double()
    weights, gradients, _ = looped(of_hf(kind, "eager"), x, 2)
    prefix, class_token_alone = FAMILIES[kind]
    found = seewhy.explain(of_hf(kind, "sdpa"), x, method, 2, size="layer")
    assert found.shape == (2, 8, 8)
    for index in range(2):
        ours = [weight[index] for weight in weights], [gradient[index] for gradient in gradients]
        if class_token_alone and kind == "ViT":
            assert read(ours[1][-1]).tolist() == [1.0] + [0.0] * 64
        expected = FORMULAS[method](*ours, prefix)
        assert torch.allclose(found[index], expected, rtol=1e-4, atol=1e-7)
        assert expected.max() > 0


@pytest.mark.parametrize("blocks", [1, 2])
def test_le_grad_is_the_authors(blocks: int):
    """Their code: the head of each block's mean token, and the gradient at its own attention."""
    x = images().double()
    model = of_hf("ViT", "eager")
    weights, _, outputs = looped(model, x, 2)
    expected = torch.zeros(2, 8, 8).double()
    for block in range(2 - blocks, 2):
        tokens = outputs.hidden_states[block + 1].mean(1)
        score = model.classifier(model.vit.layernorm(tokens))[:, 2].sum()
        (gradient,) = torch.autograd.grad(score, weights[block], retain_graph=True)
        expected += gradient.clamp(min=0).mean(1).mean(1)[:, 1:].reshape(2, 8, 8)
    method = f"le_grad(blocks={blocks})"
    found = seewhy.explain(of_hf("ViT", "sdpa"), x, method, 2, size="layer")
    assert torch.allclose(found, expected, rtol=1e-5)
    # Where nobody told before the pass, a further one records the network's end.
    probe = Probe(of_hf("ViT", "sdpa"), x, 2)
    with pytest.raises(ValueError, match="not recorded: ask"):
        probe.attentions()[0].early_gradient  # noqa: B018
    assert torch.allclose(seewhy.Method("le_grad", blocks=blocks)(probe), expected, rtol=1e-5)


def test_le_grad_where_tokens_are_pooled_by_attention():
    """Their code for SigLIP: the pooling's own attention to each block's tokens."""
    import_torchvision()
    import transformers

    config = transformers.SiglipVisionConfig(
        hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=3,
        image_size=64, patch_size=8,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.SiglipVisionModel(config).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    x = images().double()

    def score(outputs: Any) -> Tensor:
        return outputs.pooler_output[:, :5].sum(1)

    vision = getattr(model, "vision_model", model)
    outputs = model(x.clone().requires_grad_(), output_hidden_states=True)
    expected = torch.zeros(2, 8, 8).double()
    for tokens in outputs.hidden_states[1:]:
        head, normed = vision.head, vision.post_layernorm(tokens)
        query = head.probe.expand(2, -1, -1)
        e, h = 24, 3
        wq, wk, wv = head.attention.in_proj_weight.split(e)
        bq, bk, bv = head.attention.in_proj_bias.split(e)
        q = (query @ wq.T + bq).unflatten(2, (h, -1)).transpose(1, 2)
        k = (normed @ wk.T + bk).unflatten(2, (h, -1)).transpose(1, 2)
        v = (normed @ wv.T + bv).unflatten(2, (h, -1)).transpose(1, 2)
        weights = (q @ k.transpose(2, 3) / (e // h) ** 0.5).softmax(-1)
        pooled = head.attention.out_proj((weights @ v).transpose(1, 2).flatten(2))
        pooled = (pooled + head.mlp(head.layernorm(pooled)))[:, 0]
        (gradient,) = torch.autograd.grad(pooled[:, :5].sum(), weights)
        expected += gradient.clamp(min=0).mean(1)[:, 0].reshape(2, 8, 8)
    found = seewhy.explain(model, x, "le_grad", score, size="layer")
    assert torch.allclose(found, expected, rtol=1e-5)
    weights = Probe(model, x, score).attentions()
    assert [one.weights.shape[2:] for one in weights] == [(64, 64), (64, 64), (1, 64)]
    # Rollout ends with the pooling: its row of the others' product.
    rolled = torch.eye(64).double()
    for one in weights[:-1]:
        rolled = (one.weights.mean(1) + torch.eye(64)) / 2 @ rolled
    expected = (weights[-1].weights.mean(1) @ rolled).reshape(2, 8, 8)
    assert torch.allclose(
        seewhy.explain(model, x, "attention_rollout", score, size="layer"), expected
    )


def test_pooling_that_leaves_out_registers():
    """Attention over 4 registers and 16 patches, then a pooling of the patches alone."""
    import_torchvision()
    import timm

    torch.manual_seed(0)
    model = with_live_head(
        timm.create_model(
            "vit_so150m_patch16_reg4_map_256", img_size=64, depth=2, embed_dim=24, num_heads=3,
            num_classes=7,
        )
    )  # fmt: skip
    maps = seewhy.explain(model, images(), METHODS, 1, size="layer")
    assert all(one.shape == (2, 4, 4) and one.flatten(1).std(1).min() > 0 for one in maps.values())
    *blocks, pool = Probe(model, images(), 1).attentions()
    assert [one.weights.shape[2:] for one in (*blocks, pool)] == [(20, 20), (20, 20), (1, 16)]
    rolled = torch.eye(20)
    for one in blocks:
        rolled = (one.weights.mean(1) + torch.eye(20)) / 2 @ rolled
    expected = (pool.weights.mean(1) @ rolled[:, 4:])[:, 0, 4:].reshape(2, 4, 4)
    assert torch.allclose(maps["attention_rollout"], expected, rtol=1e-4)


def test_little_attention_is_not_lost_beside_what_tokens_count_for_themselves():
    """Of a network that pools its patches and hardly looks at them: 1e-9 of 1 / 64 each."""
    model, x = Own("method", class_token=False).eval(), images()
    expected = seewhy.explain(model, x, "attention_gradient", 1, size="layer")
    with torch.no_grad():
        model.head.weight *= 1e-9
    found = seewhy.explain(model, x, "attention_gradient", 1, size="layer")
    last = seewhy.explain(model, x, "attention_x_gradient", 1, size="layer")
    assert found.flatten(1).std(1).min() > 0
    assert found.max() < 1e-6 < expected.max()
    # So little that products of two blocks count for nothing: the sum over the blocks.
    blocks = Probe(model, x, 1).attentions()
    alone = [(one.weights * one.gradient).relu().mean((1, 2)).reshape(2, 8, 8) for one in blocks]
    assert torch.allclose(found, sum(alone), rtol=1e-4)
    assert torch.allclose(alone[-1], last, rtol=1e-4)


# ------------------------------------------------------------------ what every method owes


@pytest.mark.parametrize(
    "name",
    [
        "timm-vit_tiny_patch16_224", "timm-deit_tiny_distilled_patch16_224",
        "timm-vit_small_patch14_reg4_dinov2", "timm-eva02_tiny_patch14_224",
        "hf-ViT", "hf-Dinov2WithRegisters",
    ],
)  # fmt: skip
def test_real_architectures(name: str):
    network: Network = BY_NAME[name]
    model, x = network.build(), images(network.size)
    model.train()
    before = state(model)
    maps = seewhy.explain(model, x, METHODS, 1)
    assert_same(before, state(model))
    for method, found in maps.items():
        assert found.shape == (2, network.size, network.size), method
        assert torch.isfinite(found).all()
        assert (found >= 0).all()
        assert found.flatten(1).std(1).min() > 0, method
        # Each image's map is its own.
        alone = seewhy.explain(model, x[1:], method, 1)
        assert torch.allclose(alone, found[1:], rtol=1e-3, atol=1e-3 * float(found[1].max()))


def test_attention_that_is_no_chain_is_not_followed() -> None:
    """Branches of equal blocks, a network that is called twice, and a chain through one's own."""

    class Cloned(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            return gradient

    class Around(nn.Module):
        def __init__(self, of: Callable[[nn.Module, Tensor], Tensor]) -> None:
            super().__init__()
            self.network, self.of = Own("fused"), of

        def forward(self, x: Tensor) -> Tensor:
            return self.of(self.network, x)

    def branches(network: nn.Module, x: Tensor) -> Tensor:
        one, two, three = network.blocks
        tokens = network.patches(x).flatten(2).mT
        return network.head((one(tokens) + two(tokens) + three(tokens)).mean(1))

    def through(network: nn.Module, x: Tensor) -> Tensor:
        tokens = network.patches(x).flatten(2).mT
        for block in network.blocks:
            tokens = Cloned.apply(block(tokens))
        return network.head(tokens.mean(1))

    for of in (branches, lambda network, x: network(x) + network(x.flip(-1))):
        for method in ("attention_rollout", "attention_gradient", "le_grad"):
            with pytest.raises(ValueError, match=r"not one behind the other.*attention_x_gradient"):
                seewhy.explain(Around(of), images(32), method, 1)
        assert seewhy.explain(Around(of), images(32), "attention_x_gradient", 1).any()
    assert seewhy.explain(Around(through), images(32), "attention_gradient", 1).any()


@pytest.mark.parametrize("joined", [True, False])
def test_heads_that_come_before_the_images_are_not_taken_for_images(joined: bool) -> None:
    """(heads · B, queries, keys), or (heads, B, queries, keys) of as many images as heads."""

    class HeadsFirst(OwnBlock):
        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(x).unflatten(2, (3, 3, 4)).permute(2, 3, 0, 1, 4)
            if joined:
                q, k, v = (one.flatten(0, 1) for one in (q, k, v))
            attended = (q @ k.mT / 2).softmax(-1) @ v
            attended = attended.reshape(3, *x.shape[:2], 4).permute(1, 2, 0, 3)
            x = x + self.out(attended.flatten(2))
            return x + self.mlp(x)

    model, x = Own("method").eval(), images(32, count=3)
    expected = seewhy.explain(model, x, METHODS, 1)
    for block in model.blocks:
        block.__class__ = HeadsFirst
    if joined:
        found = seewhy.explain(model, x, METHODS, 1)
        for method in METHODS:
            torch.testing.assert_close(found[method], expected[method])
        # So is what falls back to Grad-CAM where attention is refused.
        alone = [seewhy.explain(model, one[None], "auto(effort='quick')", 1) for one in x]
        found = seewhy.explain(model, x, "auto(effort='quick')", 1)
        torch.testing.assert_close(found, torch.cat(alone))
    else:
        with pytest.raises(ValueError, match=r"no attention looks at all patches.*heads before"):
            seewhy.explain(model, x, METHODS, 1)


@pytest.mark.parametrize("class_token", [True, False])
def test_rollout_needs_no_gradient(class_token: bool):
    """A saturated softmax has none."""
    model, x = Own("fused", class_token).eval(), images(32)
    with torch.no_grad():
        model.head.weight *= 1e6
    expected = seewhy.explain(model, x, "attention_rollout", 1, size="layer")
    found = seewhy.explain(model, x, "attention_rollout", Probability(1), size="layer")
    torch.testing.assert_close(found, expected)
    assert not seewhy.explain(model, x, "attention_gradient", Probability(1)).any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_gradient_contexts_and_low_precision(method: str, context: Callable[[], Any]):
    model, x = Own("fused").eval(), images()
    expected = seewhy.explain(model, x, method, 1)
    model.requires_grad_(False)
    with context():
        assert torch.allclose(seewhy.explain(model, x.clone(), method, 1), expected, rtol=1e-4)
    low = seewhy.explain(model.to(torch.bfloat16), x.to(torch.bfloat16), method, 1).float()
    assert torch.corrcoef(torch.stack([low.flatten(), expected.flatten()]))[0, 1] > 0.9


def test_targets_share_one_pass_and_their_maps_differ():
    model, x = Own("fused").eval(), images()
    calls = []
    model.patches.register_forward_hook(lambda *_: calls.append(1))
    probe = Probe(model, x, 1)
    one = attention_gradient(probe)
    assert len(calls) == 1  # the methods need no other pass
    seewhy.Method("attention_rollout")(probe)
    seewhy.Method("attention_x_gradient", blocks=2)(probe)
    assert len(calls) == 1
    probe.score  # noqa: B018
    two = attention_gradient(probe.with_target(2))
    assert len(calls) == 2
    assert not torch.allclose(one, two)
    assert torch.equal(two, seewhy.explain(model, x, "attention_gradient", 2, size="layer"))


def test_other_methods_see_the_network_as_it_is():
    """Sharing a probe with attention methods changes no other map by a bit."""
    model, x = with_live_head(BY_NAME["timm-vit_tiny_patch16_224"].build()), images()
    together = seewhy.explain(model, x, ["attention_gradient", "grad_cam", "gradient"], 1)
    for name in ("grad_cam", "gradient"):
        assert torch.equal(together[name], seewhy.explain(model, x, name, 1))


def test_attention_within_rules_of_ones_own():
    """A probe with rules shows the attention of its own backward pass."""
    model, x = Own("method").eval(), images()
    rules = {F.gelu: lambda gelu, value, **kwargs: gelu(value, **kwargs) * 2}
    plain = Probe(model, x, 1)
    ruled = plain.with_rules(rules)
    last, other = plain.attentions()[-1], ruled.attentions()[-1]
    assert not torch.allclose(last.weights, other.weights)
    with applying(rules):
        doubled = model(x.clone().requires_grad_())[:, 1]
    assert torch.allclose(ruled.score, doubled, atol=1e-6)


@pytest.mark.parametrize("method", ["le_grad(blocks=0)", "attention_x_gradient(blocks=-1)"])
def test_wrong_options(method: str):
    with pytest.raises(ValueError, match=r"blocks.*at least 1"):
        seewhy.explain(Own("fused").eval(), images(), method, 1)


@pytest.mark.parametrize("registers", [0, 2])
def test_the_first_block_may_take_tokens_that_no_module_returned(registers: int) -> None:
    """As where blocks normalise what they return, and not what they take."""

    class PostNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(1)
            self.patches = nn.Conv2d(3, 12, 8, 8)
            self.first = nn.Parameter(torch.randn(1, 1 + registers, 12))
            block = nn.TransformerEncoderLayer(12, 2, 24, batch_first=True)
            self.encoder = nn.TransformerEncoder(block, 3)
            self.head = nn.Linear(12, 5)

        def tokens(self, x: Tensor) -> Tensor:
            patches = self.patches(x).flatten(2).mT
            return torch.cat([self.first.expand(len(x), -1, -1), patches], 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.encoder(self.tokens(x))[:, 0])

    model, x = PostNorm().eval(), images(32)
    tokens = model.tokens(x)
    rollout = torch.eye(tokens.shape[1])
    for block in model.encoder.layers:
        attended = block.self_attn(tokens, tokens, tokens)[1]
        rollout, tokens = (attended + torch.eye(tokens.shape[1])) / 2 @ rollout, block(tokens)
    expected = rollout[:, 0, 1 + registers :].reshape(2, 4, 4)
    found = seewhy.explain(model, x, ["attention_rollout", *METHODS], 1, size="layer")
    torch.testing.assert_close(found["attention_rollout"], expected)
    assert all(maps.any() for maps in found.values())
