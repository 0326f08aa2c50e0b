"""From photos to explanations: batches, labels, failures, and maps at their place on the photo."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from networks import Cnn, Segmenter, seeded
from seewhy import explain, explain_photos, load_dataset, load_image
from seewhy.core.targets import Contrast, Predicted, Score
from seewhy.data.images import ImageError
from seewhy.data.preprocess import Preprocess
from seewhy.models import LoadedModel, load_model
from seewhy.naming import Method
from seewhy.notes import Note
from seewhy.photos import answers, question

CLASSES = ("ant", "bee", "cat", "dog", "eel")


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def model() -> LoadedModel:
    return LoadedModel(seeded(Cnn), Preprocess(resize=32), CLASSES, "test")


class Dark(Cnn):
    """Fails on photos that are too bright."""

    def forward(self, x):
        if x.mean((1, 2, 3)).max() > 1:
            raise KeyError("too bright")
        return super().forward(x)


def test_photos_of_any_size_in_one_call_equal_single_calls(model):
    photos = [photo(60, 40), photo(60, 40, 1), photo(40, 60, 2), photo(64, 48, 3)]
    methods, targets = ["grad_cam", "hires_cam"], ["eel", None, Predicted(2)]
    with torch.no_grad():  # a bias after which what is predicted differs from photo to photo
        inputs = torch.stack([model.preprocess(each)[:, :32, :32] for each in photos])
        model.module.head.bias -= model.module(inputs).mean(0)
    together = explain_photos(model, photos, methods, targets, sources=list("abcd"))
    assert len(together) == 4
    assert together[0].top[0][0] != together[1].top[0][0]
    for index, answer in enumerate(together):
        (alone,) = explain_photos(model, [photos[index]], methods, targets)
        assert len(answer.explanations) == 6
        assert answer.source == "abcd"[index]
        assert [top[:2] for top in answer.top] == [top[:2] for top in alone.top]
        for one, other in zip(answer.explanations, alone.explanations, strict=True):
            assert torch.allclose(one.saliency, other.saliency, atol=1e-6)
            assert (one.target, one.method) == (other.target, other.method)
            assert one.class_index == other.class_index
            assert one.probability == pytest.approx(other.probability)
            assert one.source == "abcd"[index]
            assert one.saliency.shape == (photos[index].height, photos[index].width)


def test_labels_and_probabilities(model):
    (answer,) = explain_photos(
        model, [photo(50, 50)], ["grad_cam"], ["cat", 0, None, Predicted(3), Contrast(0, 1)]
    )
    names = [one.target for one in answer.explanations]
    assert names == ["cat", "ant", answer.top[0][1], answer.top[2][1], "Contrast(a=0, b=1)"]
    indices = [one.class_index for one in answer.explanations]
    assert indices == [2, 0, answer.top[0][0], answer.top[2][0], None]
    probabilities = model.module(model.preprocess(photo(50, 50))[None]).detach().softmax(1)[0]
    assert answer.explanations[0].probability == pytest.approx(float(probabilities[2]))
    assert answer.explanations[4].probability is None
    assert [top[2] for top in answer.top] == sorted(probabilities.tolist(), reverse=True)
    assert answer.measure == "probability"


def test_the_part_that_the_network_never_saw(model):
    cropped = LoadedModel(model.module, Preprocess(resize=40, crop=32), CLASSES, "test")
    picture = photo(80, 40)
    (answer,) = explain_photos(cropped, [picture], ["grad_cam"], [4])
    (one,) = answer.explanations
    maps = explain(model.module, cropped.preprocess(picture)[None], "grad_cam", 4)
    assert torch.allclose(one.saliency[4:36, 24:56], maps[0], atol=1e-6)
    outside = one.saliency.clone()
    outside[4:36, 24:56] = 0
    assert not outside.any()
    assert int(one.seen.sum()) == 32 * 32


def test_the_record_holds_what_made_the_map(model):
    (answer,) = explain_photos(model, photo(50, 40), ["grad_cam", "gradient", "score_cam"], "cat")
    cam, gradient, score = (json.loads(json.dumps(one.record())) for one in answer.explanations)
    assert cam["class_index"] == 2
    assert cam["layer"] == score["layer"] == ["relu#2"]
    assert gradient["layer"] == []
    assert cam["preprocess"] == json.loads(json.dumps(asdict(model.preprocess)))
    (answer,) = explain_photos(model, photo(50, 40), "grad_cam", layer=["conv1", "relu"])
    assert answer.explanations[0].layer == ("conv1", "relu")


# --- what may be handed over --------------------------------------------------------------------


def test_one_or_many_photos_of_every_kind(model, tmp_path):
    picture = photo(50, 40)
    picture.save(tmp_path / "b.png")
    photo(50, 40, 1).save(tmp_path / "a.png")
    (expected,) = explain_photos(model, [picture], ["grad_cam"])
    saliency = expected.explanations[0].saliency
    pixels = np.asarray(picture)
    path = tmp_path / "b.png"
    for one in (picture, pixels, path, str(path), path.read_bytes(), [path], (pixels,)):
        (answer,) = explain_photos(model, one, "grad_cam")
        assert torch.equal(answer.explanations[0].saliency, saliency)
    several = explain_photos(model, np.stack([pixels] * 3), "grad_cam")
    assert len(several) == 3
    assert all(torch.allclose(a.explanations[0].saliency, saliency, atol=1e-6) for a in several)
    for folder in (tmp_path, str(tmp_path / "*.png")):
        found = explain_photos(model, [folder, path], "grad_cam")
        assert [one.source for one in found] == [
            str(tmp_path / n) for n in ("a.png",) + ("b.png",) * 2
        ]
        assert torch.allclose(found[1].explanations[0].saliency, saliency, atol=1e-6)


def test_one_or_many_methods_and_targets(model):
    def asked(*arguments):
        (answer,) = explain_photos(model, photo(50, 40), *arguments)
        return [(one.method, one.target) for one in answer.explanations]

    assert asked("grad_cam", "cat") == asked(["grad_cam"], ["cat"]) == [("grad_cam", "cat")]
    assert asked(Method("grad_cam"), 2) == asked(("grad_cam",), (2,)) == [("grad_cam", "cat")]
    assert asked("grad_cam", torch.tensor([2, 0])) == [("grad_cam", "cat"), ("grad_cam", "ant")]
    assert asked("grad_cam", Contrast(0, 1)) == [("grad_cam", "Contrast(a=0, b=1)")]
    sums = Score(lambda outputs: outputs.sum(1))
    assert asked("grad_cam", sums) == [("grad_cam", "a function")]


def test_a_network_by_name():
    scene = photo(60, 60)
    (answer,) = explain_photos("scenes:resnet", scene, "grad_cam", "clock")
    assert answer.explanations[0].model == "scenes:resnet"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"targets": ["zebra"]}, ValueError, "no class 'zebra'"),
        ({"targets": []}, ValueError, "targets is empty"),
        ({"methods": []}, ValueError, "methods is empty"),
        ({"methods": "grad_camm"}, ValueError, "did you mean 'grad_cam'"),
        ({"layer": "conv9"}, ValueError, "no layer 'conv9'"),
        ({"batch_size": 0}, ValueError, "batch_size=0"),
        ({"sources": ["a", "b"]}, ValueError, "2 sources for 1 photos"),
        ({"sources": 3}, TypeError, "sources has int; give a name"),
        ({"sources": [None]}, TypeError, "sources has NoneType; give a name"),
        # Not a letter for each photo.
        ({"photos": [photo(9, 9)] * 2, "sources": "ab"}, ValueError, "1 sources for 2 photos"),
        ({"targets": 3.5}, TypeError, "target is 3.5"),
        ({"photos": 3}, TypeError, "photos is int"),
        ({"photos": torch.rand(1, 3, 9, 9)}, TypeError, "ask seewhy.explain of a tensor"),
        ({"model": nn.Linear(2, 2)}, TypeError, "model is Linear; give a name"),
        ({"model": "resnet50"}, ValueError, "names no zoo"),
    ],
)
def test_wrong_arguments_are_named_before_any_work(model, arguments, error, message):
    given = {"model": model, "photos": photo(9, 9), "methods": "grad_cam", **arguments}
    with pytest.raises(error, match=message):
        explain_photos(**given)


# --- other networks -----------------------------------------------------------------------------


def test_both_classes_of_a_binary_network():
    binary = LoadedModel(seeded(Cnn, classes=1), Preprocess(resize=32), ("crack",), "binary")
    pictures = [photo(40, 40, seed) for seed in range(3)]
    for answer, picture in zip(
        explain_photos(binary, pictures, "grad_cam", ["crack", "not crack", None]),
        pictures,
        strict=True,
    ):
        z = binary.module(binary.preprocess(picture)[None]).sigmoid().item()
        yes, no, predicted = answer.explanations
        assert (yes.target, yes.class_index) == ("crack", 1)
        assert yes.probability == pytest.approx(z)
        assert no.probability == pytest.approx(1 - z)
        assert predicted.target == answer.top[0][1] == ("crack" if z > 0.5 else "not crack")
        assert [number for _, _, number in answer.top] == pytest.approx(sorted((z, 1 - z))[::-1])
        shown = yes if z > 0.5 else no
        assert torch.equal(predicted.saliency, shown.saliency)
        assert not torch.equal(yes.saliency, no.saliency)


def test_a_segmentation_network_is_explained_by_its_regions():
    network = LoadedModel(seeded(Segmenter), Preprocess(resize=(32, 32)), tuple("abcd"), "parts")
    (answer,) = explain_photos(network, photo(48, 48), ["grad_cam", "gradient"], [None, "c"])
    share = {name: number for _, name, number in answer.top}
    winners = network.module(network.preprocess(photo(48, 48))[None])["out"].argmax(1)
    for index, name in enumerate("abcd"):
        assert share[name] == pytest.approx((winners == index).float().mean().item())
    assert answer.measure == "share"
    predicted, _, named, _ = answer.explanations
    assert (predicted.target, predicted.class_index) == answer.top[0][1::-1]
    assert (named.target, named.probability) == ("c", None)
    assert named.saliency.shape == (48, 48)
    assert not answer.failures


def test_a_regression_has_a_value_and_no_probability():
    age = LoadedModel(seeded(Cnn, classes=1), Preprocess(resize=32), ("age",), "age", "none")
    (answer,) = explain_photos(age, photo(40, 40), "grad_cam")
    value = age.module(age.preprocess(photo(40, 40))[None]).item()
    assert answer.top == [(0, "age", pytest.approx(value))]
    assert answer.measure == "value"
    (one,) = answer.explanations
    assert (one.target, one.probability, one.caption) == ("age", None, "age")
    assert f"age {value:.4g}" in repr(answer)


def test_outputs_of_another_kind_with_a_target_of_ones_own():
    class Boxes(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = seeded(Cnn)

        def forward(self, x):
            return {"boxes": self.net(x)[:, None].expand(-1, 3, -1)}

    boxes = LoadedModel(Boxes(), Preprocess(resize=32), name="boxes")

    def first(outputs):
        return outputs["boxes"][:, 0, 0]

    (answer,) = explain_photos(boxes, photo(40, 40), "gradient", first)
    assert answer.top == []
    assert [one.target for one in answer.explanations] == ["first"]
    with pytest.raises(ValueError, match="a class needs scores"):
        explain_photos(boxes, photo(40, 40), "grad_cam")


def test_more_channels_than_a_photo_has(tmp_path):
    network = LoadedModel(
        seeded(Cnn, channels=5), Preprocess(32, mean=0.5, std=0.5, channels=5), CLASSES, "bands"
    )
    bands = np.random.default_rng(0).random((40, 50, 5), dtype=np.float32)
    np.save(tmp_path / "bands.npy", bands.transpose(2, 0, 1))
    for source in (bands, tmp_path / "bands.npy"):
        (answer,) = explain_photos(network, source, "grad_cam", "cat")
        (one,) = answer.explanations
        assert one.image.size == (50, 40)
        x = network.preprocess(bands)[None]
        expected = explain(network.module, x, "grad_cam", 2)
        assert x.shape == (1, 5, 32, 40)
        assert float(one.saliency.max()) == pytest.approx(float(expected.max()), rel=0.1)
    with pytest.raises(ValueError, match="takes 5 channels"):
        explain_photos(network, photo(9, 9), "grad_cam")


def test_xrays_have_a_window(model):
    xray = (np.random.default_rng(0).random((40, 40)) * 3000 + 500).astype(np.uint16)
    with pytest.warns(Note, match="real range|its values are"):
        explain_photos(model, xray, "grad_cam")
    (answer,) = explain_photos(model, xray, "grad_cam", window=(500, 600))
    assert np.asarray(answer.explanations[0].image).mean() > 240
    assert json.loads(json.dumps(answer.explanations[0].record()))["window"] == [500, 600]


# --- failures -----------------------------------------------------------------------------------


def test_a_photo_that_fails_costs_no_other(tmp_path):
    dark = LoadedModel(seeded(Dark), Preprocess(resize=(32, 32)), CLASSES, "dark")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    white = Image.new("RGB", (40, 40), "white")
    pictures = [photo(40, 40), white, tmp_path / "bad.png", tmp_path / "gone.png", photo(40, 40, 1)]
    with pytest.warns(RuntimeWarning) as caught:
        found = explain_photos(dark, pictures, ["grad_cam", "gradient"], ["cat", None])
    assert [len(one.explanations) for one in found] == [4, 0, 0, 0, 4]
    reasons = [str(failure) for one in found for failure in one.failures]
    assert [reason.split(": ", 1)[1] for reason in reasons if "too bright" not in reason] == [
        next(r.split(": ", 1)[1] for r in reasons if "bad.png" in r),
        "no such file or folder; give an image file, a folder of images or a glob such as "
        "'photos/**/*.jpg'",
    ]
    assert "KeyError: 'too bright'" in reasons
    assert len(caught) == 3
    assert str(caught[1].message).count("bad.png") == 1
    (alone,) = explain_photos(dark, photo(40, 40, 1), ["grad_cam", "gradient"], ["cat", None])
    for one, other in zip(found[4].explanations, alone.explanations, strict=True):
        assert torch.allclose(one.saliency, other.saliency, atol=1e-6)


def test_a_name_that_is_too_long_is_a_failure_of_its_own(model, tmp_path):
    photo(40, 40).save(tmp_path / "good.png")
    wrong = "a" * 5000 + ".png"
    with pytest.warns(RuntimeWarning, match="File name too long") as said:
        bad, good = explain_photos(model, [wrong, tmp_path / "good.png"])
    assert (len(good.explanations), len(bad.failures), len(said)) == (1, 1, 1)
    assert len(str(said[0].message)) < 500
    for read in (
        lambda: load_image(wrong),
        lambda: load_dataset(f"folder:{wrong}"),
        lambda: load_model("scenes:resnet", weights=wrong),
        lambda: load_model("scenes:resnet", classes=wrong),
    ):
        with pytest.raises(ValueError, match=r"too long|no such") as error:
            read()
        assert len(str(error.value)) < 500


def test_a_method_or_target_that_fails_costs_no_other(model):
    silent = Score(lambda outputs: outputs.detach().sum(1))
    with pytest.warns(RuntimeWarning, match="grad_cam of a function"):
        found = explain_photos(
            model, [photo(40, 40), photo(40, 40, 1)], ["cam", "finer_cam", "grad_cam"],
            [silent, "cat"],
        )  # fmt: skip
    for answer in found:
        made = [(one.method, one.target) for one in answer.explanations]
        assert ("grad_cam", "cat") in made
        assert ("finer_cam", "cat") in made
        failed = [(one.method, one.target) for one in answer.failures]
        assert ("grad_cam", "a function") in failed
        assert ("finer_cam", "a function") in failed
        assert len(made) + len(failed) == 6


def test_broken_weights_are_named():
    broken = LoadedModel(seeded(Cnn), Preprocess(resize=32), CLASSES, "broken")
    with torch.no_grad():
        broken.module.head.weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"^broken returned NaN"):
        explain_photos(broken, photo(40, 40), "grad_cam")


def test_where_nothing_can_be_explained_the_first_reason_is_raised(model, tmp_path):
    with pytest.raises(ValueError, match=r"gone\.png: no such file"):
        explain_photos(model, [tmp_path / "gone.png", tmp_path], "grad_cam")
    with pytest.raises(ValueError, match="the class at rank 9: rank=9 is out of range"):
        explain_photos(model, photo(40, 40), "grad_cam", Predicted(9))


def test_answers_come_one_by_one_and_photos_are_read_as_needed(model):
    read = []

    def photos():
        for seed in range(6):
            read.append(seed)
            yield str(seed), photo(40, 40, seed)

    found = answers(question(model, "grad_cam"), photos(), batch_size=2)
    assert next(found).source == "0"
    assert read == [0, 1]
    assert [one.source for one in found] == list("12345")


def test_an_answer_shows_itself(model, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"?")
    photo(40, 40).save(tmp_path / "good.png")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bad, good = explain_photos(model, tmp_path, ["grad_cam"], "cat")
    assert "good.png: " in repr(good)
    assert "grad_cam of " in repr(good)
    assert " % cat" in repr(good)
    with Image.open(BytesIO(good._repr_png_())) as shown:
        assert shown.width > 600
    assert "failed: " in repr(bad)
    assert bad._repr_png_() is None
    assert issubclass(ImageError, ValueError)


@pytest.mark.parametrize(
    "name",
    [
        *("gradient", "guided_backprop", "occlusion", "random", "edges", "grad_cam", "tsgb"),
        *("integrated_gradients(steps=2)", "full_grad", "linear_approximation", "layer_cam"),
    ],
)
def test_a_record_names_the_layer_only_where_the_map_depends_on_it(name):
    torch.manual_seed(0)
    model = load_model("scenes:resnet")
    photo = Image.effect_noise((128, 128), 60).convert("RGB")
    early, late = (
        explain_photos(model, photo, name, layer=layer)[0].explanations[0]
        for layer in ("layer2", "layer4")
    )
    differ = not torch.equal(early.saliency, late.saliency)
    assert (early.layer, late.layer) == ((("layer2",), ("layer4",)) if differ else ((), ()))


def test_a_record_names_the_chosen_layer_of_those_who_read_it():
    """Attention comes from all blocks, and a gradient from none."""
    photo = Image.effect_noise((128, 128), 60).convert("RGB")
    reading = ["grad_cam", "auto(effort='quick')", "grad_cam+smooth(samples=2)"]
    others = ["attention_rollout", "attention_gradient", "le_grad", "gradient"]
    others.append("gradient+smooth(samples=2)")
    found = explain_photos("scenes:vit", photo, reading + others)[0].explanations
    assert [len(one.layer) for one in found] == [1] * len(reading) + [0] * len(others)


def test_a_folder_or_glob_without_photos_is_told_as_such(tmp_path):
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(ValueError, match="holds no images"):
        explain_photos("scenes:resnet", tmp_path)
    with pytest.raises(ValueError, match="matches no images"):
        explain_photos("scenes:resnet", str(tmp_path / "*.jpg"))
