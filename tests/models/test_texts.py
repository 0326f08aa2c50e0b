"""Text-image networks: small random CLIP and SigLIP networks, saved with a tiny tokenizer."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import seewhy
from hugging import save, tokenizer
from seewhy import targets
from seewhy.cli import app
from seewhy.models import ModelError, load_model
from seewhy.models.texts import TextImage, looking_for, named, texts_of

TEXTS = ["a red car", "a dog"]


@pytest.fixture(scope="module", params=["CLIP", "Siglip"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.radial_gradient("L").convert("RGB").resize((60, 40)).save(path)
    return path


def whole(folder: Path, pixels: torch.Tensor, texts: list[str]) -> Any:
    """What the whole network says of pictures and texts, by transformers alone."""
    import transformers

    network = transformers.AutoModel.from_pretrained(folder).eval()
    siglip = network.config.model_type == "siglip"
    given = tokenizer()(texts, padding="max_length", max_length=12, return_tensors="pt")
    wanted = ["input_ids"] if siglip else ["input_ids", "attention_mask"]
    return network(pixel_values=pixels, **{name: given[name] for name in wanted})


def test_scores_are_the_whole_networks(folder: Path):
    model = load_model(f"hf:{folder}", texts=TEXTS)
    x = torch.randn(3, 3, 32, 32)
    found, expected = model.module(x), whole(folder, x, TEXTS)
    assert torch.allclose(found.logits, expected.logits_per_image, atol=1e-4)
    cosines = expected.image_embeds @ expected.text_embeds.T
    assert torch.allclose(found.cosines, cosines, atol=1e-5)
    assert model.classes == tuple(TEXTS)
    assert model.activation == ("sigmoid" if "Siglip" in str(folder) else "softmax")
    assert found.logits.std() > 1e-3


@pytest.mark.parametrize("method", ["gradient", "grad_cam", "attention_gradient", "le_grad"])
def test_targets_are_cosines_and_contrasts(folder: Path, method: str):
    model = load_model(f"hf:{folder}", texts=[*TEXTS, "the cat"])
    x = torch.randn(2, 3, 32, 32)

    def by_hand(outputs: Any) -> torch.Tensor:
        return outputs.cosines[:, 0]

    found = seewhy.explain(model, x, method, targets.Text("a red car"))
    assert torch.allclose(found, seewhy.explain(model, x, method, by_hand), atol=1e-6)
    contrast = targets.Text("a red car", against=["a dog", "the cat"])
    probe = seewhy.Probe(model.module, x, contrast)
    cosines = model.module(x).cosines.detach()
    assert torch.allclose(probe.score, cosines[:, 0] - cosines[:, 1:].mean(1), atol=1e-6)
    assert not torch.allclose(found, seewhy.explain(model, x, method, contrast))
    assert str(contrast) == "a red car rather than a dog or the cat"


def test_photos_are_explained_by_text(folder: Path, photo: Path):
    model = load_model(f"hf:{folder}", texts=TEXTS)
    asked = ["a dog", targets.Text("a dog"), targets.Text("a dog", against="a red car"), None]
    (answer,) = seewhy.explain_photos(model, photo, "attention_gradient", asked)
    assert not answer.failures
    names = [one.target for one in answer.explanations]
    assert names[:3] == ["a dog", "a dog", "a dog rather than a red car"]
    assert {name for _, name, _ in answer.top} == set(TEXTS)
    # The logit is the cosine times a constant; the map of (A ⊙ ∇A)⁺ behind the identity as well.
    first, second = (torch.as_tensor(one.saliency) for one in answer.explanations[:2])
    assert first.shape == (40, 60)
    assert torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1] > 0.98


@pytest.mark.parametrize("texts", [["the cat"], ["a dog", "the cat", "a red car"]])
def test_other_texts_are_looked_for_by_the_same_weights(folder: Path, texts: list[str]):
    model = load_model(f"hf:{folder}", texts=TEXTS)
    found, anew = looking_for(model, texts), load_model(f"hf:{folder}", texts=texts)
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(found.module(x).logits, anew.module(x).logits)
    assert (found.names, found.activation) == (anew.names, anew.activation)
    assert named(model, texts).names == anew.names
    assert model.classes == texts_of(model) == tuple(TEXTS)
    assert texts_of(found) == tuple(texts)
    own = load_model(f"hf:{folder}", texts=TEXTS, activation="none")
    assert looking_for(own, texts).activation == "none"
    assert texts_of(load_model("scenes:resnet")) == ()


def test_a_single_text_has_no_probability_unless_it_was_trained_to(folder: Path, photo: Path):
    model = load_model(f"hf:{folder}", texts="a dog")
    (answer,) = seewhy.explain_photos(model, photo, "gradient", targets.Text("a dog"))
    if "CLIP" in str(folder):
        (top,) = answer.top
        assert answer.measure == "value"
        assert top[1] == "a dog"
    else:
        assert answer.measure == "probability"
        assert math.isclose(sum(number for *_, number in answer.top), 1, rel_tol=1e-5)


def test_weights_of_ones_own_are_read_before_the_texts(folder: Path, tmp_path: Path):
    import transformers
    from safetensors.torch import save_file

    state = transformers.AutoModel.from_pretrained(folder).state_dict()
    torch.manual_seed(8)
    state = {k: v + 0.1 * torch.randn(v.shape) if v.is_floating_point() else v
             for k, v in state.items()}  # fmt: skip
    save_file(state, tmp_path / "own.safetensors")
    model = load_model(f"hf:{folder}", texts=TEXTS, weights=tmp_path / "own.safetensors")
    network = transformers.AutoModel.from_pretrained(folder)
    network.load_state_dict(state)
    expected = TextImage(network, tokenizer(), TEXTS)(torch.ones(1, 3, 32, 32))
    assert torch.allclose(model.module(torch.ones(1, 3, 32, 32)).logits, expected.logits, atol=1e-5)


def test_on_the_command_line(folder: Path, photo: Path, tmp_path: Path):
    texts = [word for text in TEXTS for word in ("--text", text)]
    common = ["explain", str(photo), "--model", f"hf:{folder}", "--method", "attention_gradient"]
    result = CliRunner().invoke(app, [*common, *texts, "--out", str(tmp_path / "out"), "--json"])
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout.splitlines()[-1])
    assert [one["target"] for one in record["explanations"]] == TEXTS
    one = ["--target", "a dog", "--out", str(tmp_path / "one")]
    result = CliRunner().invoke(app, [*common, *texts, *one, "--json"])
    record = json.loads(result.stdout.splitlines()[-1])
    assert [one["target"] for one in record["explanations"]] == ["a dog"]
    result = CliRunner().invoke(app, [*common, "--out", str(tmp_path / "none")])
    assert result.exit_code == 2
    assert "--text" in result.output


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "one or more"),
        (3, "texts=3; give one or more"),
        (["a dog", " "], "none of them empty"),
        (["a dog", "a dog"], "only once"),
        (["a " * 30], "32 tokens long.*reads 12"),
    ],
)
def test_texts_that_are_none(folder: Path, texts: Any, message: str):
    with pytest.raises(ModelError, match=message):
        load_model(f"hf:{folder}", texts=texts)


def test_texts_elsewhere(folder: Path):
    with pytest.raises(ModelError, match="text-image networks of hf:"):
        load_model("scenes:resnet", texts=TEXTS)
    with pytest.raises(ModelError, match=r"texts= or classes="):
        load_model(f"hf:{folder}", texts=TEXTS, classes=["x", "y"])
    model, x = load_model(f"hf:{folder}", texts=TEXTS), torch.randn(1, 3, 32, 32)
    with pytest.raises(ValueError, match=r"'a red car', 'a dog'.*without 'a cat'"):
        seewhy.explain(model, x, "gradient", targets.Text("a cat"))
    with pytest.raises(ValueError, match=r"needs a text-image network.*logits_per_image"):
        seewhy.explain(load_model("scenes:resnet"), x, "gradient", targets.Text("a cat"))


@pytest.mark.parametrize("method", ["grad_cam", "le_grad"])
def test_other_sizes(folder: Path, method: str):
    model, x = load_model(f"hf:{folder}", texts=TEXTS), torch.randn(2, 3, 32, 32)
    refined = f"{method}+multiscale(scales=[1, 1.5])"
    found = seewhy.explain(model, x, refined, targets.Text("a dog"), size="layer")
    assert found.shape == (2, 6, 6)
    assert found.flatten(1).std(1).min() > 0
