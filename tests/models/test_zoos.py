"""timm's and transformers' networks, with their own way of taking photos."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from seewhy.models import ModelError, import_torchvision, load_model
from seewhy.notes import Note


@pytest.mark.parametrize("name", ["convnext_atto", "resnet10t", "vit_tiny_patch16_224"])
def test_timm(tmp_path: Path, name: str) -> None:
    import_torchvision()
    import timm

    own = timm.create_model(name)
    save_file(own.state_dict(), tmp_path / "w.safetensors")
    model = load_model(f"timm:{name}", weights=tmp_path / "w.safetensors")
    torch.testing.assert_close(model.module.state_dict(), own.state_dict(), rtol=0, atol=0)
    picture = Image.linear_gradient("L").resize((300, 260)).rotate(20).convert("RGB")
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(own))
    torch.testing.assert_close(model.preprocess(picture), transform(picture))
    assert len(model.classes) == 1000
    assert model.classes[0] == "tench, Tinca tinca"
    assert model.class_index("tinca TINCA") == 0  # a synonym
    assert model.class_index("tiger cat") == 282


@pytest.mark.parametrize("mode", ["border", "center"])
def test_timm_networks_with_a_geometry_of_their_own(
    monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """A border around the whole photo; a crop that is no square, for which a photo was squashed."""
    import_torchvision()
    import timm

    size = (3, 160, 160) if mode == "border" else (3, 160, 320)
    overlay = {"crop_mode": mode, "input_size": size}
    own = timm.create_model("test_resnet", pretrained_cfg_overlay=overlay)
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: own)
    with pytest.warns(Note, match=rf"crop_mode='{mode}'.* only approximates"):
        load_model("timm:test_resnet", weights="random")


def test_timm_head_size_of_the_file(tmp_path: Path) -> None:
    import_torchvision()
    import timm

    save_file(
        timm.create_model("convnext_atto", num_classes=10).state_dict(), tmp_path / "w.safetensors"
    )
    model = load_model(
        "timm:convnext_atto", weights=tmp_path / "w.safetensors", classes=list("abcdefghij")
    )
    assert model.module.num_classes == 10
    assert model.classes == tuple("abcdefghij")


@pytest.fixture(scope="module")
def hf_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny ViT with its processor, as saved by transformers."""
    import_torchvision()
    import transformers

    folder = tmp_path_factory.mktemp("hf")
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=8,
        id2label={0: "cat", 1: "dog", 2: "owl"},
        label2id={"cat": 0, "dog": 1, "owl": 2},
    )
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def test_hf_folder(hf_folder: Path, tmp_path: Path) -> None:
    import transformers

    model = load_model(f"hf:{hf_folder}")
    own = transformers.ViTForImageClassification.from_pretrained(hf_folder).eval()
    picture = Image.linear_gradient("L").resize((300, 260)).rotate(20).convert("RGB")
    values = transformers.AutoImageProcessor.from_pretrained(hf_folder)(
        picture, return_tensors="pt"
    )
    torch.testing.assert_close(
        model.preprocess(picture)[None], values["pixel_values"], rtol=0, atol=0.02
    )
    with torch.no_grad():
        expected = own(**values).logits
        actual = model.module(values["pixel_values"]).logits
    torch.testing.assert_close(actual, expected)
    assert model.classes == ("cat", "dog", "owl")
    assert model.activation is None

    state = {key: value + 1 for key, value in own.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    other = load_model(f"hf:{hf_folder}", weights=tmp_path / "w.safetensors")
    torch.testing.assert_close(dict(other.module.state_dict()), state)


def test_hf_weights_are_read_as_they_are_whatever_the_config_says(
    hf_folder: Path, tmp_path: Path
) -> None:
    """Those of a file were rounded to the half precision that the network was saved in."""
    import transformers

    own = transformers.ViTForImageClassification.from_pretrained(hf_folder)
    save_file(own.state_dict(), tmp_path / "w.safetensors")
    own.half().save_pretrained(tmp_path)
    transformers.AutoImageProcessor.from_pretrained(hf_folder).save_pretrained(tmp_path)
    state = transformers.ViTForImageClassification.from_pretrained(hf_folder).state_dict()
    model = load_model(f"hf:{tmp_path}", weights=tmp_path / "w.safetensors")
    torch.testing.assert_close(dict(model.module.state_dict()), dict(state), rtol=0, atol=0)


def test_hf_without_a_classifier_is_no_classifier(hf_folder: Path, tmp_path: Path) -> None:
    import transformers

    config = transformers.AutoConfig.from_pretrained(hf_folder)
    transformers.ViTModel(config).save_pretrained(tmp_path)
    transformers.AutoImageProcessor.from_pretrained(hf_folder).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"no weights for classifier\.bias"):
        load_model(f"hf:{tmp_path}")


def test_hf_multi_label(hf_folder: Path, tmp_path: Path) -> None:
    import transformers

    config = transformers.AutoConfig.from_pretrained(hf_folder)
    config.problem_type = "multi_label_classification"
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path)
    transformers.AutoImageProcessor.from_pretrained(hf_folder).save_pretrained(tmp_path)
    assert load_model(f"hf:{tmp_path}").activation == "sigmoid"


@pytest.mark.parametrize(
    ("processor", "options"),
    [
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 64}}),  # resizes by crop_pct, crops
        ("ConvNextImageProcessor", {}),  # squashes
        ("BitImageProcessor", {}),  # shorter side, centre
        ("EfficientNetImageProcessor", {}),  # divides by the standard deviation twice
        ("ViTImageProcessor", {"do_normalize": False}),
    ],
)
def test_hf_processors_are_understood(
    hf_folder: Path, tmp_path: Path, processor: str, options: dict[str, object]
) -> None:
    import transformers

    transformers.ViTForImageClassification.from_pretrained(hf_folder).save_pretrained(tmp_path)
    theirs = getattr(transformers, processor)(**options)
    theirs.save_pretrained(tmp_path)
    picture = Image.linear_gradient("L").resize((300, 260)).rotate(20).convert("RGB")
    expected = theirs(picture, return_tensors="pt")["pixel_values"][0]
    actual = load_model(f"hf:{tmp_path}").preprocess(picture)
    torch.testing.assert_close(actual, expected, rtol=0, atol=0.06)


@pytest.mark.parametrize("processor", ["Siglip2ImageProcessor", "Idefics2ImageProcessor"])
def test_hf_processor_of_patches_is_named(hf_folder: Path, tmp_path: Path, processor: str) -> None:
    """It ended in a TypeError about floats and lists."""
    import transformers

    transformers.ViTForImageClassification.from_pretrained(hf_folder).save_pretrained(tmp_path)
    getattr(transformers, processor)().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=rf"hf:.*: its {processor} makes .* of a photo"):
        load_model(f"hf:{tmp_path}")


@pytest.mark.parametrize("processor", ["LevitImageProcessor", "MobileViTImageProcessor"])
def test_hf_processor_beyond_preprocess_gets_a_note(
    hf_folder: Path, tmp_path: Path, processor: str
) -> None:
    """The second one gives the network blue first. It was no note but one of Python's warnings."""
    import transformers

    transformers.ViTForImageClassification.from_pretrained(hf_folder).save_pretrained(tmp_path)
    getattr(transformers, processor)().save_pretrained(tmp_path)
    with pytest.warns(Note, match=processor):
        load_model(f"hf:{tmp_path}")
