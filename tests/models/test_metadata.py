"""What files say of a network: class names, and the metadata of safetensors files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import save_file
from tiny import Tiny

from seewhy.data.preprocess import Preprocess
from seewhy.models import ModelError, load_model


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
    assert model.preprocess == Preprocess(40, (32, 36), (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    assert model.classes == ("a", "b", "c")
    explicit = load_model(
        f"{nets}:tiny", weights=path, preprocess=Preprocess(8), classes=list("xyz")
    )
    assert explicit.preprocess == Preprocess(8)
    assert explicit.classes == ("x", "y", "z")


def test_metadata_of_outputs_and_channels(nets: str, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    state = load_model(f"{nets}:grey").module.state_dict()
    facts = {
        "mean": "127",
        "std": "128",
        "interpolation": "bicubic",
        "activation": "sigmoid",
        "classes": '{"1": "crack", "0": "dust"}',
    }
    save_file(state, path, facts)
    model = load_model(f"{nets}:grey", weights=path)
    assert model.preprocess == Preprocess(256, 224, 127, 128, "bicubic", channels=1)
    assert (model.activation, model.classes) == ("sigmoid", ("dust", "crack"))
    save_file(state, path, {**facts, "activation": '"none"'})
    assert load_model(f"{nets}:grey", weights=path).activation == "none"
    assert load_model(f"{nets}:grey", weights=path, activation="softmax").activation == "softmax"


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"mean": "[0.5"}, r"mean=\[0.5: "),
        ({"mean": "7"}, "do not go together"),
        ({"mean": "[1, 2]"}, r"mean=\[1, 2\]; give 3 finite values"),
        ({"mean": "[NaN, 0.5, 0.5]"}, "mean=.*give 3 finite values"),
        ({"std": '{"r": 1}'}, "std="),
        ({"crop": "100000"}, "crop=100000; give whole pixels from 1 to 8192"),
        ({"resize": "true"}, "resize=True"),
        ({"resize": "[1, 2, 3]"}, "resize="),
        ({"interpolation": "cubic"}, "interpolation=cubic"),
        ({"interpolation": '"cubic"'}, "interpolation='cubic'"),
        ({"channels": '"many"'}, "channels='many'"),
        ({"activation": '"softplus"'}, "activation='softplus'"),
        ({"classes": '["a", "b"]'}, "its metadata: 2 names for the 3 outputs"),
        ({"classes": "[1, 2, 3]"}, "classes: give a JSON list of names"),
        ({"classes": '{"0": "a", "2": "b", "3": "c"}'}, "index '1' is not in it"),
        ({"classes": "3"}, "classes: give a JSON list of names"),
        ({"classes": "[" * 100_000}, r"classes=\[\[.*\.\.\.: .*nested too deeply"),
    ],
)
def test_wrong_metadata_are_named(
    nets: str, tmp_path: Path, facts: dict[str, str], message: str
) -> None:
    path = tmp_path / "w.safetensors"
    save_file(Tiny().state_dict(), path, facts)
    with pytest.raises(ModelError, match=rf"w\.safetensors: .*{message}"):
        load_model(f"{nets}:tiny", weights=path)


def test_unknown_metadata_are_left_alone(nets: str, tmp_path: Path) -> None:
    save_file(Tiny().state_dict(), tmp_path / "w.safetensors", {"format": "pt", "author": "[["})
    assert load_model(f"{nets}:tiny", weights=tmp_path / "w.safetensors").classes == ()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.txt", "cat\ndog\nçédille\n"),
        ("c.json", json.dumps(["cat", "dog", "çédille"])),
        ("c.json", json.dumps({"1": "dog", "0": "cat", "2": "çédille"})),
        ("c.json", json.dumps({"dog": 1, "cat": 0, "çédille": 2})),  # ImageFolder's class_to_idx
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
        ("c.txt", b"\xff\xfe\xff", r"c\.txt: not UTF-8"),
        ("c.json", b"[1, 2, 3]", r"c\.json: give a JSON list of names"),
        ("c.json", b'["a"', r"c\.json: not JSON"),
        ("c.json", b"[" * 100_000, r"c\.json: .*nested too deeply"),
        ("c.json", b'"abc"', r"c\.json: give a JSON list of names"),
        ("c.json", b'{"a": 0, "b": 0}', r"c\.json: an index has two names"),
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


def test_one_or_two_names_for_a_single_output(nets: str) -> None:
    assert load_model(f"{nets}:single", classes=["crack"]).names == ("not crack", "crack")
    both = load_model(f"{nets}:single", classes=["whole", "broken"])
    assert (both.class_index("broken"), both.class_name(0)) == (1, "whole")
    regression = load_model(f"{nets}:single", classes=["age"], activation="none")
    assert regression.names == ("age",)
    for names, activation in ((["a", "b", "c"], None), (["a", "b"], "none")):
        with pytest.raises(ModelError, match=rf"{len(names)} names for the 1 outputs"):
            load_model(f"{nets}:single", classes=names, activation=activation)
