"""Loading networks: real weights say what is on real photos, and every wrong file says why."""

from __future__ import annotations

import csv
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from seewhy.data.images import load_image
from seewhy.data.preprocess import Preprocess
from seewhy.models import (
    LoadedModel,
    ModelError,
    import_torchvision,
    list_models,
    load_model,
)

HALF = (0.5, 0.5, 0.5)


class Tiny(nn.Module):
    """Two layers, enough to tell weights apart."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(x).mean((2, 3)))


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's module with factories."""
    name = f"nets_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(
        "from tests_tiny import Tiny\n"
        "from torch import nn\n"
        "from seewhy.data.preprocess import Preprocess\n"
        "from seewhy.models import LoadedModel\n"
        "def tiny(): return Tiny().train()\n"
        "def with_preprocess():\n"
        "    net = Tiny()\n"
        "    net.preprocess = Preprocess(resize=8, crop=7)\n"
        "    return net\n"
        "def loaded(): return LoadedModel(Tiny(), Preprocess(crop=5), ('a', 'b', 'c'), 'x', True)\n"
        "def nothing(): return 3\n"
        "def needs_more(): import no_such_package_at_all\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "tests_tiny", sys.modules[__name__])
    return name


# --- real weights -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "preprocess", "top1", "top5"),
    [
        ("mobilenet_v2", Preprocess(resize=256, crop=256, mean=HALF, std=HALF), 85.1, 96.7),
        ("squeezenet1_0", None, 61.5, 83.2),  # with torchvision's own transforms
    ],
)
def test_real_weights_reach_their_accuracy_on_real_photos(
    shared: Path, name: str, preprocess: Preprocess | None, top1: float, top5: float
) -> None:
    """The rates of 1000 photos were recorded beside the weights, with torchvision's transforms."""
    weights = shared / f"real/weights/{name}_imagenet.safetensors"
    model = load_model(f"torchvision:{name}", weights=weights, preprocess=preprocess)
    assert not model.module.training
    assert {p.dtype for p in model.module.parameters()} == {torch.float32}
    with (shared / "real/imagenet/labels.csv").open() as file:
        photos = list(csv.DictReader(file))
    guesses = []
    for photo in photos:
        image = load_image(shared / "real/imagenet" / photo["file"])
        with torch.no_grad():
            guesses.append(model.top(model.module(model.preprocess(image)[None])[0], 5))
    truths = [int(photo["index"]) for photo in photos]
    ranked = [[index for index, _, _ in guess] for guess in guesses]
    first = [truth == five[0] for truth, five in zip(truths, ranked, strict=True)]
    fifth = [truth in five for truth, five in zip(truths, ranked, strict=True)]
    assert 100 * sum(first) / len(photos) == pytest.approx(top1, abs=2)
    assert 100 * sum(fifth) / len(photos) == pytest.approx(top5, abs=2)
    (dalmatian,) = (guess[0] for photo, guess in zip(photos, guesses, strict=True)
                    if photo["index"] == "251")  # fmt: skip
    assert dalmatian[:2] == (251, "dalmatian")


def test_torchvision_brings_its_transforms_and_names() -> None:
    model = load_model("torchvision:resnet18", weights="random")
    picture = Image.linear_gradient("L").resize((300, 260)).rotate(20).convert("RGB")
    weights = import_torchvision().models.ResNet18_Weights.DEFAULT
    torch.testing.assert_close(model.preprocess(picture), weights.transforms()(picture))
    assert len(model.classes) == 1000
    assert model.class_index("tabby") == 281
    assert model.class_index("TENCH") == 0
    assert model.name == "torchvision:resnet18"


def test_file_decides_the_number_of_classes(tmp_path: Path) -> None:
    own = import_torchvision().models.squeezenet1_1(num_classes=7)
    save_file(own.state_dict(), tmp_path / "seven.safetensors")
    model = load_model("torchvision:squeezenet1_1", weights=tmp_path / "seven.safetensors")
    assert model.classes == ()
    assert model.module(torch.zeros(1, 3, 64, 64)).shape == (1, 7)
    assert torch.equal(model.module.classifier[1].weight, own.classifier[1].weight)


def test_old_densenet_files_load(tmp_path: Path) -> None:
    own = import_torchvision().models.densenet121()
    old = {
        key.replace("norm1.", "norm.1.")
        .replace("norm2.", "norm.2.")
        .replace("conv1.", "conv.1.")
        .replace("conv2.", "conv.2."): value
        for key, value in own.state_dict().items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "old.pth")
    model = load_model("torchvision:densenet121", weights=tmp_path / "old.pth")
    torch.testing.assert_close(model.module.state_dict(), own.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    "name",
    ["googlenet", "inception_v3", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"],
)
def test_a_file_gives_what_the_download_would(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """These have second heads, or their own normalisation, that come with pretrained weights."""
    models = import_torchvision().models
    state = load_model(f"torchvision:{name}", weights="random").module.state_dict()
    # Default initialisation lets the signal fade until no input makes a difference.
    state = {key: value * 2.5 if value.ndim == 4 else value for key, value in state.items()}
    save_file(state, tmp_path / "w.safetensors")
    monkeypatch.setattr(models._api, "load_state_dict_from_url", lambda *_, **__: dict(state))
    downloaded = load_model(f"torchvision:{name}")
    from_file = load_model(f"torchvision:{name}", weights=tmp_path / "w.safetensors")
    x = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        expected, actual = downloaded.module(x), from_file.module(x)
    torch.testing.assert_close(actual, expected)
    assert from_file.preprocess == downloaded.preprocess
    assert from_file.classes == downloaded.classes
    assert len(from_file.classes) == (21 if "large" in name else 1000)


# --- weights files ------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".safetensors"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_round_trip(nets: str, tmp_path: Path, suffix: str, dtype: torch.dtype) -> None:
    state = {key: value.to(dtype) for key, value in Tiny().state_dict().items()}
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(state, path)
    module = load_model(f"{nets}:tiny", weights=str(path)).module
    for key, value in module.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, state[key].float())


@pytest.mark.parametrize("nests", [("state_dict",), ("model",), ("model_state_dict", "model")])
@pytest.mark.parametrize("prefix", ["module.", "model.", "backbone.", "module._orig_mod."])
def test_checkpoints_are_unwrapped(
    nets: str, tmp_path: Path, nests: tuple[str, ...], prefix: str
) -> None:
    state = Tiny().state_dict()
    content: dict[str, object] = {prefix + key: value for key, value in state.items()}
    for nest in nests:
        content = {"epoch": 3, nest: content}
    torch.save(content, tmp_path / "checkpoint.pth")
    module = load_model(f"{nets}:tiny", weights=tmp_path / "checkpoint.pth").module
    torch.testing.assert_close(module.state_dict(), state, rtol=0, atol=0)


def test_prefix_stays_where_some_keys_lack_it(nets: str, tmp_path: Path) -> None:
    state = {f"module.{key}": value for key, value in Tiny().state_dict().items()}
    save_file({**state, "extra": torch.ones(1)}, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"w\.safetensors.*4 missing \(conv.*5 unexpected"):
        load_model(f"{nets}:tiny", weights=tmp_path / "w.safetensors")


def test_prefix_stays_where_the_network_has_it(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "wrapped_net.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.model = nn.Linear(2, 2)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    state = {"model.weight": torch.eye(2), "model.bias": torch.ones(2)}
    save_file(state, tmp_path / "w.safetensors")
    module = load_model("wrapped_net:Net", weights=tmp_path / "w.safetensors").module
    torch.testing.assert_close(dict(module.state_dict()), state)


class Malice:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("plain", [False, True])
def test_malicious_pickle_is_refused_and_not_run(nets: str, tmp_path: Path, plain: bool) -> None:
    proof, path = tmp_path / "proof", tmp_path / "evil.pt"
    state = {**Tiny().state_dict(), "payload": Malice(proof)}
    if plain:
        path.write_bytes(pickle.dumps(state, protocol=2))
    else:
        torch.save(state, path)
    with pytest.raises(ModelError, match=r"evil\.pt: refused.*safetensors"):
        load_model(f"{nets}:tiny", weights=path)
    assert not proof.exists()
    torch.load(path, weights_only=False) if not plain else pickle.loads(path.read_bytes())
    assert proof.exists()  # so the file was harmful indeed


def test_whole_module_is_refused(nets: str, tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(ModelError, match=r"refused.*torch\.nn\.modules\.linear\.Linear"):
        load_model(f"{nets}:tiny", weights=tmp_path / "module.pt")


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello world" * 100, None])
def test_corrupt_file(nets: str, tmp_path: Path, name: str, content: bytes | None) -> None:
    path = tmp_path / name
    if content is None:  # truncated
        (torch.save if path.suffix == ".pt" else save_file)(Tiny().state_dict(), path)
        content = path.read_bytes()[:-100]
    path.write_bytes(content)
    with pytest.raises(ModelError, match=rf"{name}: (corrupt|no readable)"):
        load_model(f"{nets}:tiny", weights=path)


def test_unusable_weights(nets: str, tmp_path: Path) -> None:
    for content, message in (
        ({"epoch": 1, "lr": 0.1}, "no state dict in it .found keys epoch, lr"),
        ([1, 2], "found list"),
        ({}, "4 missing"),
    ):
        torch.save(content, tmp_path / "w.pt")
        with pytest.raises(ModelError, match=message):
            load_model(f"{nets}:tiny", weights=tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"gone\.pt: no such file"):
        load_model(f"{nets}:tiny", weights="gone.pt")
    with pytest.raises(ModelError, match="a folder"):
        load_model(f"{nets}:tiny", weights=tmp_path)
    (tmp_path / "w.onnx").touch()
    with pytest.raises(ModelError, match=r"unknown kind '\.onnx'.*safetensors"):
        load_model(f"{nets}:tiny", weights=tmp_path / "w.onnx")


def test_wrong_network_is_named_with_keys_and_counts(nets: str, tmp_path: Path) -> None:
    save_file(import_torchvision().models.squeezenet1_1().state_dict(), tmp_path / "s.safetensors")
    with pytest.raises(
        ModelError,
        match=r"s\.safetensors do not fit torchvision:mobilenet_v2.* 260 missing \(features\.0\.0.*"
        r"; 50 unexpected \(features\..*1 of another shape \(classifier\.1\.weight",
    ):
        load_model("torchvision:mobilenet_v2", weights=tmp_path / "s.safetensors")
    save_file(Tiny(classes=5).state_dict(), tmp_path / "five.safetensors")
    with pytest.raises(ModelError, match=r"2 of another shape \(head.weight \(5, 4\) instead of"):
        load_model(f"{nets}:tiny", weights=tmp_path / "five.safetensors")


def test_metadata_of_safetensors(nets: str, tmp_path: Path) -> None:
    facts = {
        "resize": "40",
        "crop": "[32, 36]",
        "mean": "[0.5, 0.5, 0.5]",
        "std": "[0.2, 0.2, 0.2]",
        "classes": '["a", "b", "c"]',
    }
    path = tmp_path / "w.safetensors"
    save_file(Tiny().state_dict(), path, facts)
    model = load_model(f"{nets}:tiny", weights=path)
    assert model.preprocess == Preprocess(40, (32, 36), HALF, (0.2, 0.2, 0.2))
    assert model.classes == ("a", "b", "c")
    explicit = load_model(
        f"{nets}:tiny", weights=path, preprocess=Preprocess(8), classes=list("xyz")
    )
    assert explicit.preprocess == Preprocess(8)
    assert explicit.classes == ("x", "y", "z")
    for wrong in ("[0.5", "7", "[1, 2]"):
        save_file(Tiny().state_dict(), path, {"mean": wrong})
        with pytest.raises(ModelError, match=r"w\.safetensors.*metadata"):
            load_model(f"{nets}:tiny", weights=path)


# --- specifications -----------------------------------------------------------------------------


def test_own_factory(nets: str) -> None:
    model = load_model(f"{nets}:tiny")
    assert isinstance(model.module, Tiny)
    assert not model.module.training
    assert model.preprocess == Preprocess(resize=256, crop=224)
    assert load_model(f"{nets}:with_preprocess").preprocess == Preprocess(resize=8, crop=7)
    loaded = load_model(f"{nets}:loaded")
    assert (loaded.name, loaded.classes, loaded.multi_label) == (
        f"{nets}:loaded",
        ("a", "b", "c"),
        True,
    )
    assert loaded.preprocess == Preprocess(crop=5)


def test_unknown_specifications(nets: str) -> None:
    for spec, message in (
        ("resnet50", "write e.g. torchvision:resnet50"),
        (":x", "names no zoo"),
        ("timm:", "names no zoo"),
        ("torchvison:resnet50", "did you mean 'torchvision'"),
        ("no_such.module:net", "nor a Python module"),
        ("./nets:net", "nor a Python module"),
        ("torchvision:resnet5", "did you mean 'resnet50'"),
        ("torchvision:ConvNext_Tony", "'convnext_tiny'"),
        ("timm:convnext_tinny", "'convnext_tiny'"),
        (f"{nets}:tinny", "did you mean 'tiny'"),
        (f"{nets}:nothing", "returned int"),
    ):
        with pytest.raises(ModelError, match=message):
            load_model(spec, weights="random")
    with pytest.raises(ModuleNotFoundError, match="no_such_package_at_all"):
        load_model(f"{nets}:needs_more")  # the user's own fault keeps its own name


@pytest.mark.parametrize(
    ("package", "spec", "extra"),
    [
        ("torchvision", "torchvision:resnet18", "torchvision"),
        ("timm", "timm:resnet18", "timm"),
        ("transformers", "hf:microsoft/resnet-50", "hf"),
    ],
)
def test_missing_package(
    monkeypatch: pytest.MonkeyPatch, package: str, spec: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # what makes an import fail
    with pytest.raises(ModelError, match=rf'pip install "seewhy\[{extra}\]"'):
        load_model(spec)


def test_failed_downloads_suggest_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import_torchvision()
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no connection here")

    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    for spec in (
        "torchvision:squeezenet1_1",
        "timm:convnext_atto",
        "hf:microsoft/resnet-50",
        "hf:./no-such-folder",
    ):
        with pytest.raises(ModelError, match=f"{spec} could not be fetched.*--weights FILE"):
            load_model(spec)


# --- timm and transformers ----------------------------------------------------------------------


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
    assert not model.multi_label

    state = {key: value + 1 for key, value in own.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    other = load_model(f"hf:{hf_folder}", weights=tmp_path / "w.safetensors")
    torch.testing.assert_close(dict(other.module.state_dict()), state)


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
    assert load_model(f"hf:{tmp_path}").multi_label


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


def test_hf_processor_beyond_preprocess_warns(hf_folder: Path, tmp_path: Path) -> None:
    import transformers

    transformers.ViTForImageClassification.from_pretrained(hf_folder).save_pretrained(tmp_path)
    transformers.LevitImageProcessor().save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="LevitImageProcessor"):
        load_model(f"hf:{tmp_path}")


# --- torchvision beside a CPU-only torch --------------------------------------------------------


def test_import_torchvision_in_a_fresh_process() -> None:
    code = """
import sys, threading
import seewhy.models as load
heavy = {"torchvision", "timm", "transformers", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
try:
    import torchvision  # fails beside a CPU-only torch, and leaves half of itself behind
except RuntimeError:
    pass
found, start = [], threading.Barrier(4)
def run():
    start.wait()
    found.append(load.import_torchvision())
threads = [threading.Thread(target=run) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert len(found) == 4 and len(set(map(id, found))) == 1, found
assert load.import_torchvision() is sys.modules["torchvision"] is found[0]
import torch, timm
from torchvision.transforms.v2 import functional
print(found[0].models.squeezenet1_1()(torch.zeros(1, 3, 64, 64)).shape[1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "1000"


def test_other_faults_of_torchvision_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise RuntimeError("compiled with different CUDA major versions")

    monkeypatch.setattr("seewhy.models.packages.importlib.import_module", broken)
    with pytest.raises(RuntimeError, match="CUDA major"):
        import_torchvision()


# --- classes ------------------------------------------------------------------------------------


def named(*classes: str, multi_label: bool = False) -> LoadedModel:
    return LoadedModel(Tiny(), classes=classes, name="tiny", multi_label=multi_label)


def test_class_names() -> None:
    model = named("tabby, tabby cat", "tiger cat", "Persian cat", "crane", "crane", "tiger shark")
    for given, index in (
        (3, 3),
        ("3", 3),
        ("TIGER CAT", 1),
        ("persian", 2),
        ("tabby", 0),
        (" shark ", 5),
    ):
        assert model.class_index(given) == index
    for given, message in (
        ("cat", "3 classes of tiny: 0 'tabby, tabby cat', 1 'tiger cat', 2 'Persian cat'"),
        ("crane", "3 'crane', 4 'crane'"),
        ("persian dog", "did you mean 'Persian cat'"),
        ("", "no class ''"),
        (6, "class 6 does not exist in tiny; give 0 to 5"),
        ("-1", "give 0 to 5"),
    ):
        with pytest.raises(ModelError, match=message):
            model.class_index(given)
    with pytest.raises(ModelError, match="--classes FILE"):
        named().class_index("cat")
    assert named().class_index(12) == 12


def test_top_and_probabilities() -> None:
    logits = torch.tensor([0.0, 3.0, 1.0]).log()  # probabilities 0, 3/4, 1/4
    assert named("a", "b", "c").top(logits, 2) == [
        (1, "b", pytest.approx(0.75)),
        (2, "c", pytest.approx(0.25)),
    ]
    assert [name for _, name, _ in named().top(logits, 9)] == ["class 1", "class 2", "class 0"]
    odds = torch.tensor([[1.0, 3.0, 9.0]])
    torch.testing.assert_close(named(multi_label=True).probabilities(odds.log()), odds / (1 + odds))
    segments = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(named().probabilities(segments).sum(1), torch.ones(2, 4, 5))
    with pytest.raises(ValueError, match="one image"):
        named().top(segments[0], 1)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.txt", "cat\ndog\nçédille\n"),
        ("c.json", json.dumps(["cat", "dog", "çédille"])),
        ("c.json", json.dumps({"1": "dog", "0": "cat", "2": "çédille"})),
        ("c.json", json.dumps({"0": ["n1", "cat"], "1": ["n2", "dog"], "2": ["n3", "çédille"]})),
    ],
)
def test_class_files(nets: str, tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    model = load_model(f"{nets}:tiny", classes=tmp_path / name)
    assert model.classes == ("cat", "dog", "çédille")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.txt", b"cat\ndog\n", r"c\.txt: 2 names for the 3 outputs of nets"),
        ("c.txt", b"\xff\xfe\xff", r"c\.txt: neither UTF-8"),
        ("c.json", b"[1, 2, 3]", r"c\.json: give a JSON list of names"),
        ("c.json", b'["a"', r"c\.json: neither"),
        ("c.json", b'{"0": "a", "2": "b"}', r"c\.json: index '1' is not in it"),
    ],
)
def test_wrong_class_files(
    nets: str, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        load_model(f"{nets}:tiny", classes=tmp_path / name)
    with pytest.raises(ModelError, match=r"gone\.txt: no such file"):
        load_model(f"{nets}:tiny", classes="gone.txt")


def test_available_models() -> None:
    assert list_models("scenes") == ["scenes:resnet", "scenes:vgg"]
    assert "torchvision:resnet50" in list_models("torchvision")
    everything = list_models()
    assert len(everything) == len(set(everything)) > 500
    assert {spec.partition(":")[0] for spec in everything} == {"scenes", "torchvision", "timm"}
    with pytest.raises(ModelError, match="give one of scenes"):
        list_models("hf")
