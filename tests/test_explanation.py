"""An explanation shows, saves and describes itself."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from seewhy.cli.explain import save_marked
from seewhy.data.preprocess import Preprocess
from seewhy.draw import Tile, contour, gallery, keys, overlay
from seewhy.explanation import Explanation, gallery_of, legend_of


def explanation(**changes: object) -> Explanation:
    generator = torch.Generator().manual_seed(0)
    seen = torch.zeros(30, 40, dtype=torch.bool)
    seen[:, 5:35] = True
    given = Explanation(
        image=Image.effect_noise((40, 30), 60).convert("RGB"),
        saliency=torch.rand(30, 40, generator=generator) * seen,
        seen=seen,
        method="grad_cam",
        target="tabby cat",
        probability=0.8712,
        model="torchvision:resnet50",
        source="photos/cat.jpg",
        class_index=281,
        layer=("layer4",),
        preprocess=Preprocess(256, (224, 224), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
    )
    return replace(given, **changes)  # type: ignore[arg-type]


def same(first: Image.Image, second: Image.Image) -> bool:
    return first.size == second.size and first.tobytes() == second.tobytes()


def test_pictures_mark_what_was_not_seen() -> None:
    e = explanation()
    assert same(e.overlay(), overlay(e.image, e.saliency, seen=e.seen))
    assert same(e.overlay(alpha=0.3), overlay(e.image, e.saliency, seen=e.seen, alpha=0.3))
    assert same(e.contour(levels=(0.4,)), contour(e.image, e.saliency, (0.4,), seen=e.seen))
    assert not same(e.overlay(), overlay(e.image, e.saliency))


def test_a_map_with_both_signs_is_drawn_signed() -> None:
    e = explanation(saliency=torch.linspace(-1, 1, 40).expand(30, -1))
    assert same(e.overlay(), overlay(e.image, e.saliency, seen=e.seen, signed=True))
    assert same(e.overlay(signed=False), overlay(e.image, e.saliency, seen=e.seen))


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of a file's size")
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_picture_that_a_full_disk_cuts_off_is_an_error(tmp_path: Path, suffix: str) -> None:
    code = (
        "import resource, sys, torch\n"
        "from pathlib import Path\n"
        "from PIL import Image\n"
        "from seewhy.cli.explain import save_marked\n"
        "from seewhy.explanation import Explanation\n"
        "image = Image.effect_noise((90, 90), 60).convert('RGB')\n"
        "seen = torch.ones(90, 90, dtype=torch.bool)\n"
        "one = Explanation(image, torch.rand(90, 90), seen, 'grad_cam', 'cat', 0.5, 'net')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
        "for save in (one.save, lambda path: save_marked(one.overlay(), Path(path))):\n"
        "    try:\n"
        "        save(sys.argv[1])\n"
        "    except OSError as error:\n"
        "        print(error.strerror)\n"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / f"map.{suffix}")]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["File too large"] * 2, done.stderr


def test_notebooks_show_the_overlay() -> None:
    e = explanation()
    with Image.open(io.BytesIO(e._repr_png_())) as shown:
        assert shown.format == "PNG"
        assert same(shown.convert("RGB"), e.overlay())


def test_files(tmp_path: Path) -> None:
    e = explanation()
    e.save(tmp_path / "a.png", cmap="viridis")
    e.save(str(tmp_path / "a.JPG"))
    e.save_saliency(tmp_path / "a.npy")
    with Image.open(tmp_path / "a.png") as saved:
        assert same(saved, e.overlay(cmap="viridis"))
    with Image.open(tmp_path / "a.JPG") as saved:
        assert (saved.format, saved.size) == ("JPEG", (40, 30))
    assert np.array_equal(np.load(tmp_path / "a.npy"), e.saliency.numpy())
    for suffix in (".xyz", "", ".h5", ".xbm"):  # the last two Pillow opens
        with pytest.raises(ValueError, match=rf"b{suffix}: suffix '{suffix}' .* give \.png"):
            e.save(tmp_path / f"b{suffix}")
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    "saver", [Explanation.save, lambda e, path: save_marked(e.overlay(), path)]
)
def test_red_and_blue_stay_apart_in_a_jpeg(saver: Any, tmp_path: Path) -> None:
    """In pixel-fine maps, whose colours JPEG would otherwise average over 2 x 2 pixels."""
    signs = torch.arange(30)[:, None] + torch.arange(40)
    grey, seen = Image.new("RGB", (40, 30), "grey"), torch.ones(30, 40, dtype=torch.bool)
    e = explanation(image=grey, saliency=1.0 - 2 * (signs % 2), seen=seen)
    saver(e, tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as saved:
        pixels = [np.asarray(one).astype(int) for one in (saved, e.overlay())]
    shown, drawn = (one[..., 0] - one[..., 2] for one in pixels)
    assert (shown * np.sign(drawn) > abs(drawn) / 2).all()


def test_record_survives_json() -> None:
    assert json.loads(json.dumps(explanation().record())) == {
        "source": "photos/cat.jpg",
        "size": [40, 30],
        "model": "torchvision:resnet50",
        "target": "tabby cat",
        "probability": 0.8712,
        "method": "grad_cam",
        "class_index": 281,
        "layer": ["layer4"],
        "preprocess": {
            "resize": 256,
            "crop": [224, 224],
            "mean": [0.5, 0.5, 0.5],
            "std": [0.25, 0.25, 0.25],
            "interpolation": "bilinear",
            "channels": 3,
        },
        "window": None,
        "version": version("seewhy"),
    }


@pytest.mark.parametrize(
    ("probability", "caption"),
    [
        (0.8712, "87.1 % tabby cat"),
        (1.0, "100.0 % tabby cat"),
        (0.0001, "<0.1 % tabby cat"),
        (None, "tabby cat"),
    ],
)
def test_caption(probability: float | None, caption: str) -> None:
    assert explanation(probability=probability).caption == caption


def test_parts_must_belong_together() -> None:
    with pytest.raises(ValueError, match=r"saliency is \(40, 30\); the photo is \(30, 40\)"):
        explanation(saliency=torch.zeros(40, 30))
    with pytest.raises(ValueError, match=r"seen is \(30, 40\), torch.float32"):
        explanation(seen=torch.zeros(30, 40))
    with pytest.raises(FrozenInstanceError):
        explanation().target = "dog"  # type: ignore[misc]


def test_gallery_has_a_row_per_photo_and_target_and_a_column_per_method() -> None:
    cat, dog = explanation(), explanation(target="dog", probability=0.02)
    other = explanation(source=None, image=Image.new("RGB", (40, 30), "navy"), target="sea")

    def cell(e: Explanation) -> Tile:
        return Tile(e.method, e.caption, e.overlay())

    def layer(e: Explanation) -> Explanation:
        return replace(e, method="layer_cam", saliency=e.saliency**3)

    expected = gallery(
        [
            [Tile("cat.jpg", cat.model, cat.image), cell(cat), cell(layer(cat))],
            [Tile("cat.jpg", cat.model, dog.image), cell(dog), cell(layer(dog))],
            [Tile("", cat.model, other.image), None, cell(layer(other))],
        ],
        legend=keys(unseen=True),
    )
    given = [cat, dog, layer(other), layer(dog), layer(cat)]
    shown = gallery_of(iter([given[0], given[1], given[3], given[2], given[4]]))
    assert same(shown, expected)
    with pytest.raises(ValueError, match="explanations is empty"):
        gallery_of([])


def test_one_method_has_its_targets_side_by_side() -> None:
    cat = explanation()
    dog = replace(cat, target="dog")
    cells = [Tile(one.method, one.caption, one.overlay()) for one in (cat, dog)]
    photo = Tile("cat.jpg", cat.model, cat.image)
    expected = gallery([[photo, *cells]], legend=keys(unseen=True))
    assert same(gallery_of([cat, dog]), expected)


def test_photos_that_share_a_name_have_a_row_each() -> None:
    first = explanation()
    second = explanation(image=Image.new("RGB", (40, 30), "navy"))
    rows = [
        [Tile("cat.jpg", one.model, one.image), Tile(one.method, one.caption, one.overlay())]
        for one in (first, second)
    ]
    assert same(gallery_of([first, second]), gallery(rows, legend=keys(unseen=True)))
    copied = replace(first, image=first.image.copy(), method="layer_cam")
    both = replace(first, method="layer_cam")
    assert same(gallery_of([first, copied]), gallery_of([first, both]))


def test_the_legend_tells_of_what_is_there_alone() -> None:
    plain = explanation(seen=torch.ones(30, 40, dtype=torch.bool))
    signed = replace(plain, saliency=plain.saliency - 0.5)
    empty = replace(plain, saliency=torch.zeros(30, 40))
    for given, wanted in (
        ([plain], keys()),
        ([signed], keys(positive=False, signed=True)),
        ([signed, explanation()], keys(signed=True, unseen=True)),
        ([empty], keys(positive=False)),
    ):
        found = legend_of(given)
        assert [key.meaning for key in found] == [key.meaning for key in wanted]


@pytest.mark.parametrize("size", [(40, 30), (400, 300), (300, 900)])
def test_an_empty_map_says_so_on_the_photo(size: tuple[int, int]) -> None:
    seen = torch.ones(size[1], size[0], dtype=torch.bool)
    photo = Image.new("RGB", size, (200, 40, 40))
    for value in (0.0, 3.0):
        e = explanation(image=photo, saliency=torch.full(seen.shape, value), seen=seen)
        assert e.nothing == "No evidence for “tabby cat” in this photo"
        for picture in (e.overlay(), e.contour()):
            assert picture.size == size
            pixels = np.asarray(picture).astype(int)
            assert pixels[0, 0, 0] > 2 * pixels[0, 0, 1], "the photo is still seen"
            letters = np.argwhere(pixels.min(-1) > 150)
            assert len(letters), "and there are white letters"
            middle = (letters.min(0) + letters.max(0) + 1) / 2 / pixels.shape[:2]
            assert abs(middle - 0.5).max() < 0.1, "in the middle"
    full = explanation(image=photo, saliency=torch.eye(max(size))[: size[1], : size[0]], seen=seen)
    assert not full.empty
