"""Word by word: tokens as targets, and the example that explains a caption, on tiny networks."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import hugging
import seewhy
from hugging import SIDES, VISION, alive
from seewhy import Probe, targets
from seewhy.models import import_torchvision

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
CAPTION = [1, 4, 5, 8, 9, 6, 7]  # [CLS] a dog on the skate ##board


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{name}_example", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return loaded("caption")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return hugging.caption_tokenizer()


@pytest.fixture(scope="module")
def blip() -> nn.Module:
    return hugging.blip()


@pytest.fixture(scope="module")
def llava() -> nn.Module:
    import_torchvision()
    import transformers

    text = transformers.LlamaConfig(
        **SIDES, vocab_size=40, num_key_value_heads=1, max_position_embeddings=64
    )
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**VISION), text_config=text,
        image_token_index=39, vision_feature_layer=-1,
    )  # fmt: skip
    torch.manual_seed(0)
    return alive(transformers.LlavaForConditionalGeneration(config))


def pixels(count: int = 1) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(2))


def asked(ids: list[int], count: int = 1) -> dict[str, Tensor]:
    return {"pixel_values": pixels(count), "input_ids": torch.tensor([ids] * count)}


def test_a_token_is_scored_where_the_text_before_it_ends(blip: nn.Module, tokenizer: Any):
    logits = blip(**asked(CAPTION, 2)).logits
    probe = Probe(blip, asked(CAPTION, 2), explained="pixel_values", target=targets.Token())
    scores = {
        targets.Token(2, CAPTION): logits[:, 1, 5],
        targets.Token(-5, CAPTION): logits[:, 1, 5],
        targets.Token("dog", CAPTION, tokenizer): logits[:, 1, 5],
        targets.Token("Skateboard", CAPTION, tokenizer): logits[:, 4, 6] + logits[:, 5, 7],
        targets.Token(-1, torch.tensor([CAPTION])): logits[:, 5, 7],
        targets.Token(): logits[:, -1].amax(1),
        targets.Token(None, CAPTION): logits[:, -1].amax(1),
        targets.Token(3): logits[:, 2].amax(1),
    }
    for target, expected in scores.items():
        assert torch.allclose(probe.with_target(target).score, expected.detach(), atol=1e-5), target
    assert str(targets.Token("dog", CAPTION, tokenizer)) == "dog"
    assert str(targets.Token()) == "the next token"


def test_likeliest_tokens_are_settled_for_each_image(blip: nn.Module):
    """What is explained does not change when the picture does, as on a path of pictures."""
    probe = Probe(blip, asked(CAPTION, 2), targets.Token(), explained="pixel_values")
    best = blip(**asked(CAPTION, 2)).logits[:, -1].argmax(1)
    again = probe.with_inputs(torch.zeros(4, 3, 32, 32))
    empty = blip(pixel_values=torch.zeros(2, 3, 32, 32), input_ids=asked(CAPTION, 2)["input_ids"])
    expected = empty.logits[range(2), -1, best].repeat(2)
    assert torch.allclose(again.score, expected, atol=1e-5)
    assert torch.allclose(probe.image(1).score, probe.score[1:], atol=1e-5)


@pytest.mark.parametrize("method", ["attention_x_gradient", "grad_cam", "gradient"])
def test_each_word_has_a_map_of_its_own(blip: nn.Module, tokenizer: Any, method: str):
    probe = Probe(blip, asked(CAPTION), targets.Token(), explained="pixel_values")
    maps = [
        seewhy.Method(method)(probe.with_target(targets.Token(word, CAPTION, tokenizer)))
        for word in ("dog", "skateboard")
    ]
    assert all(torch.isfinite(one).all() and one.std() > 0 for one in maps)
    assert not torch.allclose(*maps)


def test_attention_of_words_to_patches_is_that_of_the_network(blip: nn.Module, tokenizer: Any):
    """The cross-attention that transformers returns, times its gradient."""
    blip.set_attn_implementation("eager")
    outputs = blip.vision_model(pixels())
    states = outputs.last_hidden_state.detach().requires_grad_()
    decoded = blip.text_decoder(
        input_ids=torch.tensor([CAPTION]), encoder_hidden_states=states, output_attentions=True
    )
    weights = decoded.cross_attentions[-1]
    (gradient,) = torch.autograd.grad(decoded.logits[0, 1, 5], weights)
    expected = (weights * gradient).clamp(min=0).mean((1, 2))[:, 1:].reshape(1, 4, 4)
    target = targets.Token("dog", CAPTION, tokenizer)
    probe = Probe(blip, asked(CAPTION), target, explained="pixel_values")
    assert torch.allclose(seewhy.Method("attention_x_gradient")(probe), expected, rtol=1e-4)


def test_words_between_patches_are_no_patches(llava: nn.Module):
    """Rows of 20 tokens are 16 patches and 4 words, not a 4 x 4 grid behind 4 other tokens."""
    ids = [1] + [39] * 16 + [5, 6, 7]
    probe = Probe(llava, asked(ids), targets.Token(-1, ids), explained="pixel_values")
    expected = llava(**asked(ids)).logits[:, -2, 7]
    assert torch.allclose(probe.score, expected, atol=1e-5)
    assert all(one.layout is None for one in probe.attentions() if one.weights.shape[-1] == 20)
    assert [one.layout.grid for one in probe.attentions() if one.layout] == [(4, 4)] * 2
    for method in ("grad_cam", "attention_x_gradient", "gradient"):
        assert seewhy.Method(method)(probe).std() > 0
    assert all("language" not in layer for layer in probe.layers)


def test_a_network_that_takes_patches_explains_the_picture_they_are_cut_from():
    """A tiny Qwen2.5-VL: patches as its own processor cuts them, and a map of the picture."""
    import_torchvision()
    import transformers

    vision = {
        **SIDES, "depth": 2, "num_heads": 2, "out_hidden_size": 24, "patch_size": 8,
        "window_size": 32, "fullatt_block_indexes": [1],
    }  # fmt: skip
    text = {
        **SIDES, "vocab_size": 60, "num_key_value_heads": 1, "max_position_embeddings": 64,
        "bos_token_id": 1, "eos_token_id": 2,
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 2, 2]},
    }  # fmt: skip
    config = transformers.Qwen2_5_VLConfig(
        vision_config=vision, text_config=text, image_token_id=50, video_token_id=51,
        vision_start_token_id=52, vision_end_token_id=53,
    )  # fmt: skip
    torch.manual_seed(0)
    network = alive(transformers.Qwen2_5_VLForConditionalGeneration(config))
    model = loaded("qwen").Cut(network)
    pictures = torch.rand(2, 3, 64, 32, generator=torch.Generator().manual_seed(3))
    processor = transformers.Qwen2VLImageProcessor(
        patch_size=8, merge_size=2, do_resize=False, do_rescale=False, image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
    )  # fmt: skip
    cut = processor(images=list(pictures), return_tensors="pt")
    rows, grid = model.patches(pictures)
    assert torch.allclose(rows, cut["pixel_values"])
    assert torch.equal(grid, cut["image_grid_thw"])

    ids = [1, 52] + [50] * 8 + [53, 5, 6, 7]
    inputs = {"picture": pictures, "input_ids": torch.tensor([ids] * 2)}
    probe = Probe(model, inputs, targets.Token(-1, ids), explained="picture")
    found = network(input_ids=inputs["input_ids"], pixel_values=rows, image_grid_thw=grid).logits[
        :, -2, 7
    ]
    assert torch.allclose(probe.score, found, atol=1e-5)
    for method in ("gradient", "integrated_gradients(steps=2)", "occlusion(patch=32)"):
        maps = seewhy.naming.parse(method)(probe)
        assert maps.shape == (2, 64, 32)
        assert maps.flatten(1).std(1).min() > 0, method
    with pytest.raises(ValueError, match="found no layer with maps"):
        seewhy.Method("grad_cam")(probe)
    with pytest.raises(ValueError, match="no attention looks at all patches"):
        seewhy.Method("attention_x_gradient")(probe)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cat", CAPTION), "needs the text"),
        ((9, CAPTION), "has 7 tokens"),
        ((0, CAPTION), "nothing comes before"),
        ((1, [[1, 2], [3, 4]]), "one text"),
        ((1, []), "one text"),
    ],
)
def test_places_that_are_none(arguments: tuple[Any, ...], message: str):
    with pytest.raises(ValueError, match=message):
        targets.Token(*arguments)


def test_words_that_are_not_there(blip: nn.Module, tokenizer: Any):
    with pytest.raises(ValueError, match=r"no word 'cat'.*dog, on"):
        targets.Token("cat", CAPTION, tokenizer)
    with pytest.raises(ValueError, match="scored 7 places"):
        Probe(blip, asked(CAPTION), targets.Token(9), explained="pixel_values").score  # noqa: B018
    with pytest.raises(ValueError, match=r"\(B, L, V\)"):
        seewhy.explain(seewhy.load_model("scenes:resnet"), pixels(), "gradient", targets.Token())


def test_the_example(
    example: ModuleType, blip: nn.Module, tokenizer: Any, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    import transformers

    folder = tmp_path / "blip"
    blip.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    size = {"height": 32, "width": 32}
    transformers.BlipImageProcessor(size=size).save_pretrained(folder)
    Image.radial_gradient("L").convert("RGB").save(tmp_path / "photo.png")
    out = tmp_path / "words"
    example.main([str(tmp_path / "photo.png"), "--model", str(folder), "--out", str(out)])
    said, *paths = capsys.readouterr().out.splitlines()
    assert len(set(said.split())) == len(paths) == len(list(out.iterdir())) > 0
    for path in paths:
        assert Image.open(path).size == (32, 32)
