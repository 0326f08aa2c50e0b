"""Targets against closed forms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import seewhy
from every import EVERY
from networks import Cnn, images, seeded
from seewhy import Probe
from seewhy.core.targets import (
    AnyOf,
    Class,
    ClassTarget,
    Contrast,
    Not,
    Of,
    Predicted,
    Probability,
    Score,
    Segment,
    Similarity,
    Text,
    Token,
    TopK,
    as_target,
)
from untouched import Calls

SCORES = torch.tensor([[1.0, 3.0, 2.0], [0.0, -1.0, 5.0]])


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (None, [3.0, 5.0]),
        (0, [1.0, 0.0]),
        (np.int64(2), [2.0, 5.0]),
        ([2, 0], [2.0, 0.0]),
        (torch.tensor([0, 1]), [1.0, -1.0]),
        (torch.tensor(1), [3.0, -1.0]),
        (Class((1, 2)), [3.0, 5.0]),
        (Predicted(rank=2), [2.0, 0.0]),
        (Contrast(1, 0), [2.0, -1.0]),
        (Contrast((1, 2), 0), [2.0, 5.0]),
        (AnyOf((0, 2), reduce="max"), [2.0, 5.0]),
        (AnyOf([0, 1]), [math.log(math.e + math.e**3), math.log(1 + math.exp(-1))]),
        (TopK(1), [3.0, 5.0]),
        (TopK(2), [math.log(math.e**2 + math.e**3), math.log(1 + math.exp(5))]),
        (Probability(0, "sigmoid"), [1 / (1 + math.exp(-1)), 0.5]),
        (Probability((1, 1), "softmax"), [0.665241, 0.002456]),
        (Probability(), [0.665241, 0.990867]),
        (lambda y: y.sum(1), [6.0, 4.0]),
    ],
)
def test_scores(target, expected):
    chosen = as_target(target)
    assert torch.allclose(chosen(SCORES), torch.tensor(expected), atol=1e-5)
    settled = chosen.resolve(SCORES)
    assert torch.allclose(settled(SCORES), torch.tensor(expected), atol=1e-5)


def test_scores_of_a_convolution_behind_the_pool_are_those_of_a_classifier():
    class Head(Cnn):
        def forward(self, x):
            return super().forward(x)[:, :, None, None]

    plain, pixel = (
        seewhy.LoadedModel(seeded(build), seewhy.Preprocess(resize=32, crop=32))
        for build in (Cnn, Head)
    )
    photo = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    (one,), (other,) = (seewhy.explain_photos(model, photo, "grad_cam") for model in (plain, pixel))
    assert (other.top, other.measure) == (one.top, "probability")
    assert torch.equal(other.explanations[0].saliency, one.explanations[0].saliency)


def boxes(outputs):
    """The sum of each image's scores, of which there are more or fewer."""
    return torch.stack([each["scores"].sum() for each in outputs["found"]])


def test_a_loss_beside_the_scores_is_not_taken_for_them():
    loss = torch.tensor(0.7)
    for outputs in ((loss, SCORES), {"loss": loss, "scores": SCORES}):
        assert torch.equal(Class(1)(outputs), SCORES[:, 1])
    for alone in (loss, (loss,)):  # of one image: its score, squeezed
        assert Class(0)(alone).tolist() == loss[None].tolist()


def test_a_number_before_one_row_may_be_either():
    for outputs in ((torch.tensor(0.7), SCORES[:1]), {"a": torch.tensor(0.7), "b": SCORES[:1]}):
        with pytest.raises(TypeError, match="a loss or the squeezed score of one image; pass"):
            Class(1)(outputs)
    assert Of(0, 0)((torch.tensor(2.0), SCORES[:1])).tolist() == [2.0]


class Beside(nn.Module):
    """Scores where the built-in targets do not look, behind rows that are no images."""

    def __init__(self) -> None:
        super().__init__()
        self.net = seeded(Cnn)

    def forward(self, x):
        return {"boxes": torch.zeros(7, 4), "found": SimpleNamespace(scores=self.net(x))}


class Own(ClassTarget):
    """A class score of such a network."""

    def __call__(self, outputs):
        return outputs["found"].scores[:, 1]


def test_a_class_target_of_ones_own_may_read_anything():
    expected = seewhy.explain(seeded(Cnn), images(2), "gradient", 1)
    assert torch.equal(seewhy.explain(Beside().eval(), images(2), "gradient", Own()), expected)


def test_detections_of_one_image_and_of_repeated_ones():
    """Lists with one entry per image, wherever they are, also where an image has one box only."""
    found = [{"scores": torch.tensor([1.0, 2.0])}, {"scores": torch.tensor([5.0])}]
    target = as_target(boxes)
    for index, one in enumerate(found):
        alone = target.of_image(index, 2)({"found": [one]})
        assert torch.equal(alone, target({"found": found})[index : index + 1])
    assert target.repeated(2, 2)({"found": 2 * found}).tolist() == [3, 5, 3, 5]


def test_a_list_of_heads_has_no_entries_per_image():
    heads = [SCORES, 10 * SCORES]
    target = as_target(lambda outputs: outputs[1][:, 2])
    assert target.repeated(2, 1)(heads).tolist() == [20, 50]
    assert target.of_image(1, 2)([head[1:] for head in heads]).tolist() == [50]
    assert as_target(lambda outputs: outputs[0][:, 2]).of_image(1, 2)([SCORES[1:]]).tolist() == [5]


def test_settled_targets_stay_with_their_classes():
    """A predicted class is that of the original image, also where another one is now ahead."""
    for target in (Predicted(), TopK(1), Probability(None, "sigmoid")):
        settled = target.resolve(SCORES)
        flipped = SCORES.flip(1)
        picked = torch.tensor([flipped[0, 1], flipped[1, 2]])
        expected = picked.sigmoid() if isinstance(target, Probability) else picked
        assert torch.allclose(settled(flipped), expected)


@pytest.mark.parametrize(
    "make",
    [lambda: Class(None), lambda: Not(None), lambda: Contrast(None, 1), lambda: Contrast(0, None)],
)
def test_only_a_probability_may_name_no_class(make):
    with pytest.raises(TypeError, match="is None; it should be a class index"):
        make()
    assert Probability().named == Probability(None).named == ()


@pytest.mark.parametrize("classes", [None, 0])
def test_the_softmax_of_a_single_logit_is_no_target(classes):
    """It is 1 for every image: the map would be zero everywhere, and say nothing of why."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 1))
    images = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="activation='sigmoid'"):
        seewhy.explain(network, images, "gradient", Probability(classes))
    assert seewhy.explain(network, images, "gradient", Probability(classes, "sigmoid")).all()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (3, "3 classes, 0 to 2"),
        ([0, 1, 2], "3 classes for 2 images"),
        (Predicted(rank=4), "rank=4"),
        (TopK(0), "k=0"),
        (Contrast(0, 9), "class 9"),
    ],
)
def test_errors_name_counts(target, message):
    with pytest.raises(ValueError, match=message):
        as_target(target)(SCORES)


@pytest.mark.parametrize(
    "target", [[1], [1, 2, 3], Of(0, [1]), Contrast(1, [2]), AnyOf((1, [2])), Probability([1])]
)
@pytest.mark.parametrize("method", ["finer_cam", "guided_integrated_gradients(steps=1)"])
def test_another_number_of_classes_is_refused_before_the_network_runs(method, target):
    model = seeded(Cnn)
    calls = Calls(model)
    with pytest.raises(ValueError, match=r"classes for 2 images"):
        seewhy.explain(model, images(2), method, target)
    assert not calls.count


@pytest.mark.parametrize("method", ["finer_cam", "shapley_cam"])
def test_classes_out_of_range_are_named_by_methods_that_compare_classes(method):
    with pytest.raises(ValueError, match="class 99 is out of range"):
        seewhy.explain(seeded(Cnn), images(2), method, [0, 99])


@pytest.mark.parametrize(
    ("function", "got"),
    [
        (lambda outputs: None, "NoneType"),
        (lambda outputs: outputs.argmax(1), "int64"),
        (lambda outputs: outputs[:, 0] + 1j, "complex64"),
    ],
)
@pytest.mark.parametrize("method", ["grad_cam", "tsgb", "rise(masks=2)"])
def test_what_is_no_score_is_named(method, function, got):
    with pytest.raises(ValueError, match=f"returned .*{got}; it should be one score per image"):
        seewhy.explain(seeded(Cnn), images(2), method, function)


@pytest.mark.parametrize("wrong", [lambda: AnyOf(()), lambda: AnyOf((1,), "mean")])
def test_wrong_options(wrong):
    with pytest.raises(ValueError, match=r"AnyOf|reduce"):
        wrong()


def test_a_head_within_a_head():
    outputs = {"heads": [SCORES, {"age": SCORES.flip(1)}]}
    for target in (
        Of("heads.1.age", 0),
        Of("heads", Of("1.age", 0)),
        Of("heads", Of(1, Of("age", 0))),
    ):
        assert target == Of("heads.1.age", Class(0))
        assert torch.equal(target.resolve(outputs)(outputs), SCORES[:, 2])
        assert target.question == Class(0)
    assert torch.equal(Of("heads.-2", 0)(outputs), SCORES[:, 0])
    with pytest.raises(ValueError, match=r"no part 'heads\.-3'"):
        Of("heads.-3", 0)(outputs)


def test_segment_is_the_mean_over_its_region():
    scores = torch.zeros(2, 2, 4, 4)
    scores[0, 1, :2] = 4
    scores[1, 1, 3, 3] = 2
    assert torch.allclose(Segment(1)(scores), torch.tensor([4.0, 2.0]))
    region = torch.zeros(4, 4, dtype=torch.bool)
    region[1:3] = True
    assert torch.allclose(Segment(1, region)(scores), torch.tensor([2.0, 0.0]))
    assert torch.equal(Segment(1, region.numpy())(scores), Segment(1, region)(scores))
    fine = region.repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert torch.allclose(Segment(1, fine)(scores), torch.tensor([2.0, 0.0]))
    with pytest.raises(ValueError, match=r"empty region in images \[1\]"):
        Segment(1)(torch.stack([scores[0], scores[0] * -1]))
    settled = Segment(1).resolve(scores)
    assert torch.allclose(settled(scores * 2 - 1), torch.tensor([7.0, 3.0]))


def test_similarity_is_the_cosine():
    vectors = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    assert torch.allclose(Similarity(torch.tensor([1.0, 0.0]))(vectors), torch.tensor([0.6, 0.0]))
    own = Similarity(torch.tensor([[6.0, 8.0], [0.0, -1.0]]))
    assert torch.allclose(own(vectors), torch.tensor([1.0, -1.0]))
    assert torch.allclose(Similarity(np.float32([[1, 0]]))(vectors), torch.tensor([0.6, 0.0]))
    for wrong in (torch.ones(3), torch.ones(3, 2), torch.ones(1, 1, 2)):
        with pytest.raises(ValueError, match="reference has shape"):
            Similarity(wrong)(vectors)


@pytest.mark.parametrize(
    "target",
    [
        Class(2),
        Class((2, 0)),
        Probability(1),
        Probability((1, 3), "sigmoid"),
        Probability(),
        Contrast((0, 1), 2),
        Predicted(2),
    ],
    ids=str,
)
def test_a_target_of_a_batch_that_is_repeated(target):
    scores = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    expected = torch.cat([target(scores[start : start + 2]) for start in (0, 2, 4)])
    assert torch.allclose(target.repeated(3, 2)(scores), expected)


@dataclass(frozen=True)
class Answered:
    """What a network may return that torch knows nothing of."""

    hidden: None
    scores: Tensor


class Answering(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = seeded(Cnn)

    def forward(self, x: Tensor) -> Answered:
        return Answered(None, self.net(x))


@pytest.mark.parametrize(
    "target", [Of("scores", 1), lambda outputs: outputs.scores[:, 1]], ids=["of", "function"]
)
def test_dataclasses_of_scores(target):
    """Methods with many passes give several copies of a batch to the network, or one image."""
    unasked = ("finer_cam", "shapley_cam") if not isinstance(target, Of) else ()
    names = [name for name in EVERY if name not in unasked]
    model, x = seeded(Answering), images()
    expected = seewhy.explain(model.net, x, names, 1)
    for name, found in seewhy.explain(model, x, names, target).items():
        assert torch.allclose(found, expected[name], rtol=1e-3, atol=1e-4), name
    alone = Probe(model, x, target).image(2)
    assert torch.allclose(alone.score, Probe(model.net, x, 1).score[2:], atol=1e-5)


def test_numbers_of_numpy_and_torch_are_classes():
    made = [Class(np.int64(2)), Class(torch.tensor(2)), Class(2)]
    assert len({*made}) == 1
    assert Class(torch.tensor([2, 0])) == Class(np.array([2, 0])) == Class([2, 0]) == Class((2, 0))
    assert Contrast(np.int64(2), torch.tensor([0, 1])) == Contrast(2, (0, 1))
    assert Class([torch.tensor(2), np.int64(0)]) == as_target([torch.tensor(2), 0]) == Class((2, 0))
    assert AnyOf(torch.tensor([1, 2])) == AnyOf((1, 2))
    assert Of(np.int64(0), 1) == Of(0, 1)
    assert Predicted(np.int64(2))(SCORES).tolist() == [2.0, 0.0]


def test_a_text_stands_against_as_many_as_there_are():
    others = tuple(map(str, range(1500)))
    assert Text("a", dict.fromkeys(others)) == Text("a", iter(others)) == Text("a", others)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Class(1.5), r"classes is 1\.5"),
        (lambda: Contrast(1, True), "b is True"),
        (lambda: AnyOf(3), "several classes"),
        (lambda: AnyOf((0, 1), np.arange(2)), "reduce="),
        (lambda: Probability(1, np.arange(2)), "activation="),
        (lambda: Predicted(None), "rank=None"),
        (lambda: Segment(None), "class_index=None"),
        (lambda: Segment(1, "all"), "region='all'"),
        (lambda: Similarity([0.0, 1.0]), "reference="),
        (lambda: Similarity(torch.empty(3, device="meta")), "reference="),
        (lambda: Score(None), "function=None"),
        (lambda: Of(None), "path=None"),
        (lambda: Token([1]), "where="),
        (lambda: Text("a", 3), "against=3"),
        (lambda: Class(10**5000)(SCORES), "out of range"),
        (
            lambda: Segment(10**30).resolve(SCORES[..., None, None].expand(-1, -1, 2, 2)),
            "out of range",
        ),
    ],
)
def test_wrong_values_of_targets_are_named(make, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make()
