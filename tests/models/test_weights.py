"""Weights from files: every checkpoint that fits loads, every other says why, none runs code."""

from __future__ import annotations

import argparse
import os
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file, save_model
from tiny import Tiny
from torch import nn

from seewhy.core.outputs import logits
from seewhy.models import LoadedModel, ModelError, import_torchvision, load_model
from seewhy.models.weights import with_weights
from seewhy.notes import Note


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


def equal(module: nn.Module, state: dict[str, torch.Tensor]) -> None:
    torch.testing.assert_close(dict(module.state_dict()), dict(state), rtol=0, atol=0)


@pytest.mark.parametrize("suffix", [".ckpt", ".pth.tar", ".th", ".pkl"])
def test_usual_suffixes(nets: str, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    torch.save({"epoch": 1, "state_dict": Tiny().state_dict()}, path)
    equal(load_model(f"{nets}:tiny", weights=path).module, torch.load(path)["state_dict"])


@pytest.mark.parametrize("nest", ["net", "weights", "network", "ema", "generator"])
@pytest.mark.parametrize("prefix", ["", "net.", "encoder.backbone.", "_forward_module.model."])
def test_any_nest_and_any_prefix(nets: str, tmp_path: Path, nest: str, prefix: str) -> None:
    state = Tiny().state_dict()
    optimiser = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}
    content = {nest: {prefix + key: value for key, value in state.items()}, "optimizer": optimiser}
    torch.save(content, tmp_path / "w.pt")
    equal(load_model(f"{nets}:tiny", weights=tmp_path / "w.pt").module, state)


def test_a_lightning_checkpoint(nets: str, tmp_path: Path) -> None:
    """As Lightning writes it: settings in a Namespace, numbers of NumPy, metrics, a loss."""
    state = Tiny().state_dict()
    content = {
        "epoch": 3,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": OrderedDict(
            [(f"model.{key}", value) for key, value in state.items()]
            + [("criterion.weight", torch.ones(3)), ("metric.total", torch.ones(()))]
        ),
        "hyper_parameters": argparse.Namespace(lr=0.1, folder=Path("runs")),
        "callbacks": {"best": np.float64(0.5), "history": np.arange(3.0)},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(1)}}}],
    }
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.warns(
        Note, match=r"last\.ckpt: ignored 2 tensors .*: criterion\.weight, metric\.total"
    ):
        model = load_model(f"{nets}:tiny", weights=tmp_path / "last.ckpt")
    equal(model.module, state)


def test_of_several_state_dicts_the_one_that_fits_is_taken(nets: str, tmp_path: Path) -> None:
    state, averaged = Tiny().state_dict(), Tiny().state_dict()
    other = nn.Linear(9, 9).state_dict()
    torch.save({"model_ema": averaged, "teacher": other, "model": state}, tmp_path / "w.pt")
    with pytest.warns(Note, match="model, model_ema fit equally well; taking model$"):
        equal(load_model(f"{nets}:tiny", weights=tmp_path / "w.pt").module, state)
    torch.save({"discriminator": other, "student": averaged}, tmp_path / "w.pt")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".* fit equally well")
        equal(load_model(f"{nets}:tiny", weights=tmp_path / "w.pt").module, averaged)


def test_a_head_beside_a_wrapped_part(nets: str, tmp_path: Path) -> None:
    state = Tiny().state_dict()
    file = {key if key.startswith("head") else f"body.{key}": value for key, value in state.items()}
    save_file(file, tmp_path / "w.safetensors")
    equal(load_model(f"{nets}:tiny", weights=tmp_path / "w.safetensors").module, state)


def test_a_wrapped_network_takes_the_weights_of_the_bare_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wrapping_net.py").write_text(
        "from torch import nn\n"
        "from tiny import Tiny\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.backbone = Tiny()\n"
        "    def forward(self, x): return self.backbone(x)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    state = Tiny().state_dict()
    for prefix in ("", "module.model."):
        save_file({prefix + key: value for key, value in state.items()}, tmp_path / "w.safetensors")
        module = load_model("wrapping_net:Net", weights=tmp_path / "w.safetensors").module
        equal(module.backbone, state)  # type: ignore[arg-type]


def test_what_the_network_has_no_place_for_is_named_and_ignored(nets: str, tmp_path: Path) -> None:
    state = Tiny().state_dict()
    extra = {f"aux.{index}.weight": torch.ones(1) for index in range(5)}
    wrapped = {f"module.{key}": value for key, value in state.items()}
    save_file({**wrapped, **extra}, tmp_path / "w.safetensors")
    with pytest.warns(
        Note, match=r"ignored 5 tensors for which .*:tiny has no place: aux\.0\.weight, .*\.\.\.$"
    ):
        equal(load_model(f"{nets}:tiny", weights=tmp_path / "w.safetensors").module, state)


def test_what_the_network_lacks_is_never_made_up(nets: str, tmp_path: Path) -> None:
    state = Tiny().state_dict()
    del state["head.bias"]
    save_file({**state, "head.offset": torch.ones(3)}, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"1 missing \(head\.bias\); 1 unexpected \(head\.offset"):
        load_model(f"{nets}:tiny", weights=tmp_path / "w.safetensors")


def test_a_checkpoint_that_holds_itself(nets: str, tmp_path: Path) -> None:
    content: dict[str, object] = {"epoch": 1}
    content |= dict.fromkeys(["model", *map(str, range(200))], content)
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ModelError, match="no state dict in it"):
        load_model(f"{nets}:tiny", weights=tmp_path / "w.pt")
    content["state_dict"] = state = Tiny().state_dict()
    torch.save(content, tmp_path / "w.pt")
    equal(load_model(f"{nets}:tiny", weights=tmp_path / "w.pt").module, state)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_and_devices_are_not_waited_for(nets: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    for path in (tmp_path / "pipe.pt", "/dev/zero"):
        with pytest.raises(ModelError, match="regular file"):
            load_model(f"{nets}:tiny", weights=path)
        with pytest.raises(ModelError, match="regular file"):
            load_model(f"{nets}:tiny", classes=path)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_heads_that_serve_training_alone_need_not_be_there(tmp_path: Path, name: str) -> None:
    own = import_torchvision().models.get_model(name, aux_logits=False, init_weights=False)
    save_file(own.state_dict(), tmp_path / "w.safetensors")
    module = load_model(f"torchvision:{name}", weights=tmp_path / "w.safetensors").module
    equal(module, own.state_dict())


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
    with pytest.raises(ModelError, match=r"evil\.pt: refused.*weights_only=False.*state_dict"):
        load_model(f"{nets}:tiny", weights=path)
    assert not proof.exists()
    torch.load(path, weights_only=False) if not plain else pickle.loads(path.read_bytes())
    assert proof.exists()  # so the file was harmful indeed


def test_whole_module_is_refused(nets: str, tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(ModelError, match=r"refused.*torch\.nn\.modules\.linear\.Linear"):
        load_model(f"{nets}:tiny", weights=tmp_path / "module.pt")


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"hello world" * 100, b"<html>", b"version https://git-lfs.github.com", None]
)
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
        ({0: torch.ones(2), 1: torch.ones(3)}, "no state dict in it .found keys 0, 1"),
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


def test_old_files_of_vision_transformers_load(tmp_path: Path) -> None:
    """torchvision's own downloads have other names for the layers of each block."""
    own = import_torchvision().models.VisionTransformer(8, 4, 1, 1, 8, 8, num_classes=2)
    old = {
        f"module.{key}".replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): value
        for key, value in own.state_dict().items()
    }
    assert "module.encoder.layers.encoder_layer_0.mlp.linear_2.bias" in old
    torch.save(old, tmp_path / "old.pth")
    fresh = import_torchvision().models.VisionTransformer(8, 4, 1, 1, 8, 8, num_classes=2)
    model = with_weights(lambda **_: LoadedModel(fresh), tmp_path / "old.pth", "vit")
    torch.testing.assert_close(model.module.state_dict(), own.state_dict(), rtol=0, atol=0)


def test_networks_that_ask_for_the_version_of_their_files(tmp_path: Path) -> None:
    state = import_torchvision().models.mnasnet0_5().state_dict()
    save_file(state, tmp_path / "w.safetensors")
    equal(load_model("torchvision:mnasnet0_5", weights=tmp_path / "w.safetensors").module, state)


class Tied(Tiny):
    """One tensor under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.tail = nn.Linear(4, 4), nn.Linear(4, 4)
        self.tail.weight = self.body.weight


def test_a_tensor_of_two_names_is_in_the_file_once(tmp_path: Path) -> None:
    own = Tied()
    save_model(own, str(tmp_path / "w.safetensors"))
    model = with_weights(lambda **_: LoadedModel(Tied()), tmp_path / "w.safetensors", "tied")
    equal(model.module, own.state_dict())
    state = own.state_dict()
    del state["tail.bias"]
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"1 missing \(tail\.bias\)"):
        with_weights(lambda **_: LoadedModel(Tied()), tmp_path / "w.pt", "tied")


@pytest.mark.parametrize(
    "change",
    [
        lambda one: (one * 10).to(torch.int8),
        lambda one: one.to(torch.complex64),
        lambda one: one.to_sparse(),
        lambda one: one.to("meta"),
    ],
)
def test_tensors_that_are_no_weights_are_refused(
    nets: str, tmp_path: Path, change: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    """The integers of a quantised network became its weights without a word."""
    torch.save({key: change(one) for key, one in Tiny().state_dict().items()}, tmp_path / "w.pt")
    with pytest.raises(
        ModelError, match=r"4 complex, quantised, sparse or without values \(conv\.weight "
    ):
        load_model(f"{nets}:tiny", weights=tmp_path / "w.pt")


@pytest.mark.parametrize(
    "name",
    ["googlenet", "inception_v3", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"],
)
def test_a_file_gives_what_the_download_would(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """These have second heads, or their own normalisation, that come with pretrained weights."""
    models = import_torchvision().models
    heads = {"aux_loss": True, "weights_backbone": None} if "large" in name else {}
    heads |= {"aux_logits": True, "init_weights": False} if "large" not in name else {}
    if name.startswith("lraspp"):
        del heads["aux_loss"]
    state = models.get_model(name, **heads).state_dict()
    # Default initialisation lets the signal fade until no input makes a difference.
    state = {key: value * 2.5 if value.ndim == 4 else value for key, value in state.items()}
    save_file(state, tmp_path / "w.safetensors")
    monkeypatch.setattr(models._api, "load_state_dict_from_url", lambda *_, **__: dict(state))
    downloaded = load_model(f"torchvision:{name}")
    from_file = load_model(f"torchvision:{name}", weights=tmp_path / "w.safetensors")
    x = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        expected, actual = (logits(one.module(x)) for one in (downloaded, from_file))
    torch.testing.assert_close(actual, expected)
    assert from_file.preprocess == downloaded.preprocess
    assert from_file.classes == downloaded.classes
    assert len(from_file.classes) == (21 if "large" in name else 1000)
