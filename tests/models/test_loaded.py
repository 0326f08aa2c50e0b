"""A loaded network: its classes by name, and what its outputs say."""

from __future__ import annotations

import pytest
import torch
from tiny import Tiny
from torch import nn

from seewhy.models import LoadedModel, ModelError
from seewhy.models.answers import Activation
from seewhy.models.loaded import number_of_classes


def named(*classes: str, activation: Activation | None = None) -> LoadedModel:
    return LoadedModel(Tiny(), classes=classes, name="tiny", activation=activation)


def test_a_single_logit_tells_two_classes_apart_and_a_value_none() -> None:
    def of_one(activation: Activation | None) -> LoadedModel:
        network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1))
        return LoadedModel(network, activation=activation)

    assert number_of_classes(of_one(None)) == 2
    assert number_of_classes(of_one("none")) == 1
    assert number_of_classes(named("cat", "dog", "crane")) == 3


def test_class_names() -> None:
    model = named("tabby, tabby cat", "tiger cat", "Persian cat", "crane", "crane", "tiger shark")
    for given, index in (
        (3, 3),
        ("3", 3),
        ("TIGER CAT", 1),
        ("persian", 2),
        ("tabby", 0),
        (" shark ", 5),
        ("sha", 5),
    ):
        assert model.class_index(given) == index
    for given, message in (
        ("cat", "3 classes of tiny: 0 'tabby, tabby cat', 1 'tiger cat', 2 'Persian cat'"),
        ("1" * 5000, "no class '111"),
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
    assert model.class_name(-1) == "class -1"  # not the last one's


def test_top_and_probabilities() -> None:
    logits = torch.tensor([0.0, 3.0, 1.0]).log()  # probabilities 0, 3/4, 1/4
    assert named("a", "b", "c").top(logits, 2) == [
        (1, "b", pytest.approx(0.75)),
        (2, "c", pytest.approx(0.25)),
    ]
    assert [name for _, name, _ in named().top(logits, 9)] == ["class 1", "class 2", "class 0"]
    odds = torch.tensor([[1.0, 3.0, 9.0]])
    torch.testing.assert_close(
        named(activation="sigmoid").probabilities(odds.log()), odds / (1 + odds)
    )
    segments = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(named().probabilities(segments).sum(1), torch.ones(2, 4, 5))
    with pytest.raises(ValueError, match="one image"):
        named().top(segments, 1)
    assert torch.equal(named(activation="none").probabilities(odds), odds)


def test_a_whole_word_goes_before_a_part_of_one() -> None:
    model = named("catamaran", "tiger cat", "concatenation")
    assert model.class_index("cat") == 1


def test_a_single_logit_tells_two_classes_apart() -> None:
    odds = torch.tensor([4.0])
    expected = torch.tensor([0.2, 0.8])
    for activation in (None, "softmax", "sigmoid"):
        model = named("crack", activation=activation)
        torch.testing.assert_close(model.probabilities(odds.log()), expected)
        torch.testing.assert_close(model.probabilities(odds.log()[None]), expected[None])
        assert model.top(odds.log()) == [
            (1, "crack", pytest.approx(0.8)),
            (0, "not crack", pytest.approx(0.2)),
        ]
    assert [name for _, name, _ in named().top(odds.log())] == ["class 1", "class 0"]
    assert model.class_index("not crack") == 0
    with pytest.raises(ModelError, match="give 0 to 1"):
        model.class_index(2)
    pixels = torch.randn(1, 3, 3)
    assert model.probabilities(pixels[None]).shape == (1, 2, 3, 3)


def test_of_a_segmentation_network_the_number_is_the_share_of_the_picture() -> None:
    logits = torch.zeros(3, 2, 4)
    logits[2, :, :3] = 1
    logits[0, :, 3] = 1
    assert named("a", "b", "c").top(logits, 2) == [(2, "c", 0.75), (0, "a", 0.25)]
    masks = torch.stack([torch.full((2, 4), 5.0), logits[0] - 0.5, logits[2] - 0.5])
    several = named("a", "b", "c", activation="sigmoid").top(masks)
    assert several == [(0, "a", 1.0), (2, "c", 0.75), (1, "b", 0.25)]
    assert named("road").top(logits[:1] - 0.5) == [(0, "not road", 0.75), (1, "road", 0.25)]


def test_of_a_regression_the_number_is_the_output() -> None:
    assert named("age", activation="none").top(torch.tensor([41.5])) == [(0, "age", 41.5)]
    assert named(activation="none").top(torch.tensor([1.0, 2])) == [
        (1, "output 1", 2.0),
        (0, "output 0", 1.0),
    ]
    depth = torch.tensor([[[1.0, 3.0]]])
    assert named("depth", activation="none").top(depth) == [(0, "depth", 2.0)]


def test_unknown_activation() -> None:
    with pytest.raises(ModelError, match="activation='relu'; give one of softmax, sigmoid, none"):
        named(activation="relu")  # type: ignore[arg-type]


def test_it_shows_itself_in_lines() -> None:
    shown = repr(named("a", "b", "c", "d"))
    assert shown.startswith("<LoadedModel tiny\n")
    assert "Tiny, 0.00 million parameters, on cpu" in shown
    assert "4 ('a', 'b', 'c', ...)" in shown
    assert "shorter side to 256" in shown
    assert "without names" in repr(named())


def test_class_names_given_as_a_list_do_not_change_with_it() -> None:
    names = ["cat", "dog"]
    module = torch.nn.Flatten()
    model = LoadedModel(module, classes=names)  # type: ignore[arg-type]
    names.append("bird")
    assert model == LoadedModel(module, classes=("cat", "dog"))
    assert hash(model) == hash(LoadedModel(module, classes=("cat", "dog")))
