"""What is taken where no method is named: it works on any network that something can explain."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner

import seewhy
from seewhy.data.preprocess import Preprocess
from seewhy.models import LoadedModel
from seewhy.naming import DEFAULT_METHOD, FALLBACKS
from seewhy.notes import Note


class Dense(nn.Module):
    """No layer of it has maps."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3 * 16 * 16, 24), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x.flatten(1)).tanh())


class Opaque(Dense):
    """Nothing of it can be differentiated."""

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class Broken(nn.Module):
    """Nothing can explain it."""

    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("out of luck")


def tokens() -> nn.Module:
    """A transformer, which `tsgb` refuses."""

    class Patches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Conv2d(3, 16, 4, 4)
            self.block = nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True)
            self.head = nn.Linear(16, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.block(self.embed(x).flatten(2).mT).mean(1))

    return Patches()


def plain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    )


NETWORKS = {
    "plain": (plain, DEFAULT_METHOD),
    "tokens": (tokens, DEFAULT_METHOD),
    "dense": (Dense, FALLBACKS[0]),
    "opaque": (Opaque, FALLBACKS[1]),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_any_network_is_explained_without_a_method(name, recwarn):
    build, method = NETWORKS[name]
    torch.manual_seed(0)
    model = build().eval()
    x = torch.rand(2, 3, 16, 16)
    assert torch.equal(seewhy.explain(model, x, target=1), seewhy.explain(model, x, method, 1))
    loaded = LoadedModel(
        model, Preprocess(16, (16, 16), (0.0,) * 3, (1.0,) * 3), ("ant", "bee", "cat", "dog", "elk")
    )
    photo = Image.effect_noise((16, 16), 60).convert("RGB")
    (answer,) = seewhy.explain_photos(loaded, photo)
    assert not answer.failures
    assert [one.method for one in answer.explanations] == [method]
    assert not [one for one in recwarn if issubclass(one.category, RuntimeWarning)]
    notes = {str(one.message).split(",")[0] for one in recwarn if issubclass(one.category, Note)}
    assert notes == (set() if method == DEFAULT_METHOD else {f"explained by {method}"})


def test_a_named_layer_is_never_passed_over():
    """A map of the input's gradient would be taken for one of that layer."""
    model, x = plain().eval(), torch.rand(1, 3, 16, 16)
    with pytest.raises(ValueError, match=r"layer '4' returned .1, 5., which holds no maps"):
        seewhy.explain(model, x, target=1, layer="4")
    loaded = LoadedModel(model, Preprocess(16, (16, 16), (0.0,) * 3, (1.0,) * 3))
    with pytest.raises(ValueError, match=r"layer '4' returned .1, 5., which holds no maps"):
        seewhy.explain_photos(loaded, Image.new("RGB", (16, 16)), layer="4")


def test_the_first_reason_is_told_where_nothing_works():
    with pytest.raises(RuntimeError, match="out of luck"):
        seewhy.explain(Broken(), torch.rand(1, 3, 16, 16))


def test_a_method_that_was_named_is_never_replaced():
    with pytest.raises(ValueError, match="no layer with maps"):
        seewhy.explain(Dense(), torch.rand(1, 3, 16, 16), DEFAULT_METHOD)


def test_an_empty_name_is_no_missing_one():
    with pytest.raises(ValueError, match="cannot read the method ''"):
        seewhy.explain(Dense(), torch.randn(1, 3, 16, 16), "", 1)


def test_commands_name_the_default():
    from seewhy.cli import app

    for command in ("explain", "evaluate"):
        text = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "300"}).output
        assert f"Default: {DEFAULT_METHOD}" in " ".join(text.split())


def test_a_method_that_fails_costs_an_evaluation_no_other():
    torch.manual_seed(0)
    model = LoadedModel(
        tokens().eval(),
        Preprocess(16, (16, 16), (0.0,) * 3, (1.0,) * 3),
        ("bird", "cat", "clock", "cup", "umbrella"),
    )
    found = seewhy.evaluate(model, "scenes:2", ["tsgb", "grad_cam"], ["average_drop"])
    assert {row.method for row in found.rows} == {"grad_cam"}
    assert {one.method for one in found.failures} == {"tsgb"}


@pytest.mark.parametrize("method", [None, "auto", "grad_cam+multiscale"])
@pytest.mark.parametrize("error", [TimeoutError, type("SoftTimeLimit", (Exception,), {})])
def test_what_ends_a_run_from_outside_is_not_taken_for_a_method_that_fails(method, error):
    """Else another map than the one that was asked for would come back."""
    torch.manual_seed(0)
    model, x = plain().eval(), torch.rand(1, 3, 32, 32)
    calls: list[None] = []
    last = [0]

    def count(*_):
        calls.append(None)
        if len(calls) == last[0]:
            raise error("too long")

    model[-1].register_forward_hook(count)
    seewhy.explain(model, x, method, 1)
    for call in range(1, len(calls) + 1):
        calls.clear()
        last[0] = call
        with pytest.raises(error, match="too long"):
            seewhy.explain(model, x, method, 1)
