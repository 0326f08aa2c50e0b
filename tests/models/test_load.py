"""Loading networks by name: the zoos', and one's own."""

from __future__ import annotations

import csv
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tiny import Tiny
from torch import nn

from seewhy.data.images import load_image
from seewhy.data.preprocess import Preprocess
from seewhy.models import (
    DEFAULT_MODEL,
    ModelError,
    import_torchvision,
    list_models,
    load_model,
)
from seewhy.models.zoos import channels_of
from seewhy.notes import Note

# --- real weights ---


@pytest.mark.parametrize(
    ("name", "preprocess", "start", "top1", "top5"),
    [
        ("mobilenet_v2", Preprocess(resize=256, crop=256, mean=0.5, std=0.5), 141, 85.1, 96.7),
        ("squeezenet1_0", None, 126, 61.5, 83.2),  # with torchvision's own transforms
    ],
)
def test_real_weights_reach_their_accuracy_on_real_photos(
    shared: Path, name: str, preprocess: Preprocess | None, start: int, top1: float, top5: float
) -> None:
    """The rates of 1000 photos were recorded beside the weights, with torchvision's transforms.

    Of the photos that are here 50, whose rates are near those of all, keep the test short.
    """
    weights = shared / f"real/weights/{name}_imagenet.safetensors"
    model = load_model(f"torchvision:{name}", weights=weights, preprocess=preprocess)
    assert not model.module.training
    assert {p.dtype for p in model.module.parameters()} == {torch.float32}
    with (shared / "real/imagenet/labels.csv").open() as file:
        photos = list(csv.DictReader(file))[start : start + 50]
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


def test_torchvision_brings_its_transforms_and_names() -> None:
    model = load_model("torchvision:resnet18", weights="random")
    picture = Image.linear_gradient("L").resize((300, 260)).rotate(20).convert("RGB")
    weights = import_torchvision().models.ResNet18_Weights.DEFAULT
    torch.testing.assert_close(model.preprocess(picture), weights.transforms()(picture))
    assert len(model.classes) == 1000
    assert model.class_index("tabby") == 281
    assert model.class_index("TENCH") == 0
    assert model.name == "torchvision:resnet18"


def test_random_weights_of_a_bundled_network_are_random_throughout() -> None:
    trained, random = (load_model("scenes:vit", weights=one).module for one in (None, "random"))
    for (name, own), other in zip(trained.named_parameters(), random.parameters(), strict=True):
        if name.endswith(("token", "embed", "proj.weight")):
            assert not torch.equal(own, other), name


# --- specifications ---


def test_own_factory(nets: str) -> None:
    with pytest.warns(
        Note, match=rf"{nets}:tiny does not define .* shorter side to 256, centre 224"
    ):
        model = load_model(f"{nets}:tiny")
    assert isinstance(model.module, Tiny)
    assert not model.module.training
    assert model.preprocess == Preprocess(resize=256, crop=224)
    assert load_model(f"{nets}:with_preprocess").preprocess == Preprocess(resize=8, crop=7)
    loaded = load_model(f"{nets}:loaded")
    assert (loaded.name, loaded.classes, loaded.activation) == (
        f"{nets}:loaded",
        ("a", "b", "c"),
        "sigmoid",
    )
    assert loaded.preprocess == Preprocess(crop=5)


def test_a_factory_whose_weights_hold_no_values_is_named(nets: str) -> None:
    with pytest.raises(ModelError, match=rf"'{nets}:empty': weights are on the device 'meta'"):
        load_model(f"{nets}:empty", preprocess=Preprocess())


def test_a_network_itself_is_copied(nets: str, tmp_path: Path) -> None:
    theirs = __import__(nets)
    before = {key: value.clone() for key, value in theirs.net.state_dict().items()}
    save_file(Tiny(4).state_dict(), tmp_path / "w.safetensors")
    model = load_model(f"{nets}:net", weights=tmp_path / "w.safetensors")
    assert isinstance(model.module, Tiny)
    assert model.module is not theirs.net
    assert not model.module.training
    assert theirs.net.training
    torch.testing.assert_close(dict(theirs.net.state_dict()), before, rtol=0, atol=0)
    assert load_model(f"{nets}:ready").class_index("yes") == 1
    assert theirs.ready.name == ""


def test_settings_can_be_changed_one_by_one(nets: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is assumed
        said = {"resize": 40, "crop": 32, "mean": 127, "std": 128}
        assert load_model(f"{nets}:tiny", preprocess=said).preprocess == Preprocess(
            40, 32, (127,) * 3, (128,) * 3
        )
        changed = load_model(f"{nets}:with_preprocess", preprocess={"mean": 0.5, "std": 0.5})
        assert changed.preprocess == Preprocess(8, 7, mean=0.5, std=0.5)
    with pytest.warns(Note, match="assuming shorter side to 9, .* mean 0.485"):
        load_model(f"{nets}:tiny", preprocess={"resize": 9})
    for wrong in ({"size": 3}, {"crop": 0}):
        with pytest.raises(ModelError, match=f"preprocess of {nets}:tiny: .*{next(iter(wrong))}"):
            load_model(f"{nets}:tiny", preprocess=wrong)


def test_the_number_of_channels_is_that_of_the_first_convolution(nets: str) -> None:
    with pytest.warns(Note, match="grey, mean 0.449, std 0.226"):
        model = load_model(f"{nets}:grey")
    assert model.preprocess(Image.new("RGB", (300, 300))).shape == (1, 224, 224)


def test_a_lazy_convolution_has_no_channels_yet() -> None:
    assert channels_of(nn.Sequential(nn.LazyConv2d(4, 3), nn.Conv2d(5, 4, 3))) == 5


def test_a_factory_may_import_torchvision_by_itself(nets: str) -> None:
    code = f"""
import sys; sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}
from seewhy.models import load_model
print(load_model("{nets}:with_torchvision").module.num_classes)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True,
                          text=True, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "4"


def test_unknown_specifications(nets: str) -> None:
    for spec, message in (
        ("resnet50", "write e.g. torchvision:resnet50"),
        (":x", "names no zoo"),
        ("timm:", "names no network; write timm:NAME"),
        ("torchvison:resnet50", "did you mean 'torchvision'"),
        ("no_such.module:net", "nor a Python module"),
        ("./nets:net", "nor a Python module"),
        ("nets.py:net", "write nets:net, without .py$"),
        ("some/nets.py:net", "write nets:net, without .py, in the folder some or"),
        ("torchvision:resnet5", "did you mean 'resnet50'"),
        ("torchvision:ConvNext_Tony", "'convnext_tiny'"),
        ("timm:convnext_tinny", "'convnext_tiny'"),
        (f"{nets}:tinny", "did you mean 'tiny'"),
        (f"{nets}:nothing", "returned int"),
        (f"{nets}:tiny", "keeps the weights that it comes with"),
        ("scenes:resnt", "there are scenes:resnet, scenes:vgg, scenes:vit"),
    ):
        with pytest.raises(ModelError, match=message):
            load_model(spec, weights="random")
    with pytest.raises(ModelError, match=r"nor a function that returns one$"):
        load_model(f"{nets}:__name__")
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


def test_available_models() -> None:
    assert list_models("scenes") == ["scenes:resnet", "scenes:vgg", "scenes:vit"]
    assert DEFAULT_MODEL in list_models("photos")
    assert "torchvision:resnet50" in list_models("torchvision")
    everything = list_models()
    assert len(everything) == len(set(everything)) > 500
    assert {spec.partition(":")[0] for spec in everything} == {
        "photos",
        "scenes",
        "torchvision",
        "timm",
    }
    with pytest.raises(ModelError, match="give one of photos"):
        list_models("hf")


# --- torchvision beside a CPU-only torch ---


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
