"""Scenes are what they say: the same bytes every time, true masks, exact counterfactuals."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from seewhy.data.scenes import CATEGORIES, SAMPLES, Scene, Scenes
from seewhy.data.scenes.render import MIN_VISIBLE

DIGEST = """
import hashlib
from seewhy.data.scenes import Scenes
for scene in Scenes(3, seed=5, size=96):
    print(hashlib.sha256(scene.image.tobytes() + scene.masks.tobytes()).hexdigest())
"""


def pixels(scene: Scene) -> np.ndarray:
    return np.asarray(scene.image)


def only(scene: Scene, i: int) -> Scene:
    """The scene without every other labelled object."""
    for k in reversed(range(len(scene.labels))):
        if k != i:
            scene = scene.without(k)
    return scene


def grown(mask: np.ndarray) -> np.ndarray:
    """The mask and its eight neighbours."""
    padded = np.pad(mask, 1)
    h, w = mask.shape
    return np.any([padded[y : y + h, x : x + w] for y in range(3) for x in range(3)], axis=0)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return list(Scenes(24, seed=5))


def test_same_bytes_again_and_in_another_process():
    here = [
        hashlib.sha256(scene.image.tobytes() + scene.masks.tobytes()).hexdigest()
        for scene in Scenes(3, seed=5, size=96)
    ]
    there = subprocess.run(
        [sys.executable, "-c", DIGEST], capture_output=True, text=True, check=True
    ).stdout.split()
    assert here == there
    assert len(set(here)) == 3


def test_a_scene_does_not_depend_on_the_dataset_around_it():
    assert np.array_equal(pixels(Scenes(9, seed=5)[7]), pixels(Scenes(500, seed=5)[7]))
    assert not np.array_equal(pixels(Scenes(9, seed=5)[7]), pixels(Scenes(9, seed=6)[7]))


def test_sequence_protocol():
    data = Scenes(5, seed=5)
    assert len(data) == 5
    assert [s.index for s in data] == [0, 1, 2, 3, 4]
    assert data[-1].key == data[4].key
    assert [s.index for s in data[1:3]] == [1, 2]
    with pytest.raises(IndexError, match="there are 5 scenes"):
        data[5]


def test_keys_are_unique_and_fit_for_files(scenes: list[Scene]):
    scene = scenes[0]
    keys = [s.key for s in scenes]
    keys += [s.key for s in Scenes(2, seed=5, size=64)]
    keys += [scene.without(0).key, scene.swapped(0, "key").key, scene.with_background(3).key]
    assert len(set(keys)) == len(keys)
    assert not any(set(key) & set('/\\:*?"<>| ') for key in keys)


def test_every_object_is_in_sight_where_its_mask_and_box_say(scenes: list[Scene]):
    for scene in scenes:
        assert 1 <= len(scene.labels) <= 4
        assert set(scene.labels) <= set(CATEGORIES)
        assert scene.masks.sum(axis=0).max() == 1
        for i, ((x0, y0, x1, y1), mask) in enumerate(zip(scene.boxes, scene.masks, strict=True)):
            inside = np.zeros_like(mask)
            inside[y0:y1, x0:x1] = True
            assert not (mask & ~inside).any()
            for line in (mask[y0], mask[y1 - 1], mask[:, x0], mask[:, x1 - 1]):
                assert line.any()
            # Nothing but distractors in front may be left out of this whole.
            whole = only(scene, i).masks[0]
            assert mask.sum() >= MIN_VISIBLE * whole.sum()
            assert not (mask & ~whole).any()


def test_targets_say_what_is_there(scenes: list[Scene]):
    for scene in scenes:
        named = {CATEGORIES[k] for k in np.flatnonzero(scene.target)}
        assert named == set(scene.labels)


def test_every_category_and_number_of_objects_comes_up():
    labels = [scene.labels for scene in Scenes(150, seed=5)]
    assert {name for names in labels for name in names} == set(CATEGORIES)
    assert {len(names) for names in labels} == {1, 2, 3, 4}
    assert len(CATEGORIES) >= 16


def test_the_ground_is_textured_everywhere(scenes: list[Scene]):
    for scene in scenes:
        grey = pixels(scene).astype(float).mean(axis=2)
        blocks = grey.reshape(8, 16, 8, 16).transpose(0, 2, 1, 3).reshape(64, -1)
        assert blocks.std(axis=1).min() > 0.5


def test_removing_an_object_changes_its_place_and_shadow_only(scenes: list[Scene]):
    for scene in scenes[:10]:
        for i in range(len(scene.labels)):
            gone = scene.without(i)
            changed = (pixels(scene) != pixels(gone)).any(axis=2)
            assert gone.labels == scene.labels[:i] + scene.labels[i + 1 :]
            assert not (changed & ~scene.touched[i]).any()
            assert changed[scene.masks[i]].mean() > 0.9
            # What was in front of it stays in front, what was behind shows.
            for was, now in zip(np.delete(scene.masks, i, axis=0), gone.masks, strict=True):
                assert not (was & ~now).any()
                assert not (now & ~was & ~grown(scene.masks[i])).any()


def test_touched_is_the_object_and_a_shadow_near_it(scenes: list[Scene]):
    for scene in scenes:
        for mask, touched in zip(scene.masks, scene.touched, strict=True):
            assert not (mask & ~touched).any()
            assert touched.mean() < 0.6


def test_swapping_changes_category_and_nothing_elsewhere(scenes: list[Scene]):
    for scene in scenes[:10]:
        other = "snail" if scene.labels[0] != "snail" else "guitar"
        swapped = scene.swapped(0, other)
        assert swapped.labels == (other, *scene.labels[1:])
        changed = (pixels(scene) != pixels(swapped)).any(axis=2)
        assert changed.any()
        assert not (changed & ~(scene.touched[0] | swapped.touched[0])).any()
        again = swapped.swapped(0, scene.labels[0])
        assert np.array_equal(pixels(again), pixels(scene))


def test_a_new_ground_leaves_the_objects_alone(scenes: list[Scene]):
    for scene in scenes[:10]:
        moved = scene.with_background(77)
        assert moved.labels == scene.labels
        assert np.array_equal(moved.masks, scene.masks)
        solid = scene.masks.any(axis=0) & ~grown(~scene.masks.any(axis=0))
        changed = (pixels(scene) != pixels(moved)).any(axis=2)
        # Save for a few pixels between two parts, through which the ground gleams.
        assert changed[solid].mean() < 0.03
        assert changed[~scene.touched.any(axis=0)].mean() > 0.7


def test_another_size_has_the_same_content(scenes: list[Scene]):
    for small, large in zip(scenes[:6], Scenes(6, seed=5, size=256), strict=True):
        assert large.labels == small.labels
        assert np.abs(large.boxes / 256 - small.boxes / 128).max() <= 1.6 / 128
        reduced = np.asarray(large.image.resize((128, 128), Image.Resampling.BOX), float)
        # Texture is finer in the larger one; colours and forms agree.
        assert np.abs(reduced - pixels(small)).mean() < 12


@pytest.mark.parametrize("size", [16, 97, 200])
def test_odd_sizes(size: int):
    scene = Scenes(1, seed=5, size=size)[0]
    assert scene.image.size == (size, size)
    assert scene.masks.shape == (len(scene.labels), size, size)


def test_samples_hold_two_categories_each():
    for index in SAMPLES:
        assert len(set(Scenes(index + 1)[index].labels)) >= 2


@pytest.mark.parametrize(("field", "value"), [("count", -1), ("seed", -1), ("size", 8)])
def test_arguments_out_of_range_are_named(field: str, value: int):
    with pytest.raises(ValueError, match=field):
        Scenes(**{"count": 3, field: value})


def test_unknown_objects_and_categories_are_named(scenes: list[Scene]):
    with pytest.raises(ValueError, match="'zebra' is not one of"):
        scenes[0].swapped(0, "zebra")
    with pytest.raises(IndexError, match="object 9"):
        scenes[0].without(9)
    with pytest.raises(ValueError, match="seed"):
        scenes[0].with_background(-1)
