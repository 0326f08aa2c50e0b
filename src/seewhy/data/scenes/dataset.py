"""Scenes as a dataset, and the counterfactuals of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from seewhy.data.dataset import Dataset, DatasetError, Sample, annotations_of
from seewhy.data.scenes import render
from seewhy.data.scenes.objects import CATEGORIES, number_of
from seewhy.options import Count, Seed

_MOST = 1_000_000
LARGEST = 8192  # pixels of a side


@dataclass(frozen=True, eq=False)
class Scene:
    """One rendered picture and what is in it.

    `labels` names the category of each object, from back to front; the rows of `boxes`, `masks`
    and `touched` follow it. `without`, `swapped` and `with_background` give the counterfactuals:
    everything else in them is the same, to the byte.
    """

    seed: int
    index: int
    size: int
    composition: render.Composition = field(repr=False)
    change: str = ""

    @property
    def key(self) -> str:
        """A stable name, fit for a file: equal keys mean equal pixels."""
        return key_of(self.seed, self.index, self.size) + self.change

    @property
    def labels(self) -> tuple[str, ...]:
        """The category of each object, from back to front."""
        return tuple(e.kind for e in self.composition.elements if e.labelled)

    @cached_property
    def _drawing(self) -> render.Drawing:
        return render.draw(self.composition, self.size)

    @property
    def image(self) -> Image.Image:
        """The picture, RGB, size x size."""
        return Image.fromarray(self._drawing.image)

    @property
    def masks(self) -> NDArray[np.bool_]:
        """What is visible of each object: (N, size, size) bool; no two overlap."""
        return self._drawing.masks

    @property
    def touched(self) -> NDArray[np.bool_]:
        """Every pixel that each object or its shadow may change: (N, size, size) bool."""
        return self._drawing.touched

    @property
    def boxes(self) -> NDArray[np.int64]:
        """Tight boxes around the masks: (N, 4) as x0, y0, x1, y1 in pixels, ends exclusive.

        An object that a swap has covered wholly has the box 0, 0, 0, 0.
        """
        boxes = [Image.fromarray(mask).getbbox() or (0, 0, 0, 0) for mask in self.masks]
        return np.array(boxes, np.int64).reshape(-1, 4)

    @property
    def target(self) -> NDArray[np.float32]:
        """One for every category present, zero elsewhere: (18,)."""
        return np.isin(CATEGORIES, self.labels).astype(np.float32)

    def without(self, i: int) -> Scene:
        """The same scene without object `i`: what was behind it shows.

        Raises IndexError where there is no such object.
        """
        at = self._element(i)
        elements = self.composition.elements
        return self._changed(f"-without{i}", elements=elements[:at] + elements[at + 1 :])

    def swapped(self, i: int, category: str) -> Scene:
        """The same scene with another category in the place, pose and colours of object `i`.

        Its outline is another one, so it may cover more or less of what is behind it. Raises
        IndexError where there is no such object and ValueError for an unknown category.
        """
        number_of("category", category)
        at = self._element(i)
        elements = list(self.composition.elements)
        elements[at] = elements[at].as_kind(category)
        return self._changed(f"-swap{i}={category}", elements=tuple(elements))

    def with_background(self, seed: int) -> Scene:
        """The same elements and light on another ground, in colours of its own."""
        if seed < 0:
            raise ValueError(f"seed: {seed} is negative; a background's seed is 0 or more")
        return self._changed(f"-ground{seed}", ground=seed, ground_palette=render.palette(seed))

    def _element(self, i: int) -> int:
        """Where labelled object `i` is among all elements."""
        places = [k for k, e in enumerate(self.composition.elements) if e.labelled]
        if not 0 <= i < len(places):
            raise IndexError(f"object {i}: {self.key} has objects 0 to {len(places) - 1}")
        return places[i]

    def _changed(self, change: str, **parts: object) -> Scene:
        composition = replace(self.composition, **parts)  # type: ignore[arg-type]
        return replace(self, composition=composition, change=self.change + change)


def key_of(seed: int, index: int, size: int) -> str:
    """The key of an unchanged scene, which need not be composed for that."""
    return f"scene-{seed}-{index:06d}-{size}"


class Scenes(Sequence[Scene]):
    """`count` scenes, rendered when asked for: scene `i` is a pure function of (seed, i, size).

    `size` is the side of the picture in pixels (128 is what the bundled networks were trained
    on); the same scene at another size has the same content.
    """

    def __init__(self, count: int, seed: int = 0, size: int = 128) -> None:
        for name, value, least in (("count", count, 0), ("seed", seed, 0), ("size", size, 16)):
            if value < least:
                raise ValueError(f"{name}: {value} is too small; at least {least} is needed")
        if size > LARGEST:  # one more zero would fill the memory
            raise ValueError(f"size: {size} is too large; at most {LARGEST} pixels are drawn")
        self.seed, self.size, self._length = seed, size, count

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Scene: ...
    @overload
    def __getitem__(self, index: slice) -> list[Scene]: ...
    def __getitem__(self, index: int | slice) -> Scene | list[Scene]:
        """Scene `index`, counted from the end where negative, or a list of them for a slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(self._length)[index]]
        i = index + self._length if index < 0 else index
        if not 0 <= i < self._length:
            raise IndexError(f"scene {index}: there are {self._length} scenes")
        return Scene(self.seed, i, self.size, render.composition(self.seed, i))


def read_scenes(count: int | str = 100, *, seed: Seed = 0, size: Count = 128) -> Dataset:
    """The first `count` scenes of a seed, `size` pixels wide; nothing is read from a disk.

    A category that is wholly covered is not annotated. The pointing game is played on masks.

    Raises ValueError for a count, seed or size out of range or that is no number.
    """
    try:
        whole = int(count)
    except ValueError:
        raise DatasetError(f"scenes:{count} says not how many; write scenes:100") from None
    if whole > _MOST:
        raise DatasetError(f"scenes:{count} are too many; {_MOST:,} at most")
    scenes = Scenes(whole, seed, size)
    index = {key_of(seed, number, size): number for number in range(whole)}

    def read(key: str) -> Sample:
        scene = scenes[index[key]]
        seen = np.flatnonzero(scene.masks.any((1, 2)))
        labels = [scene.labels[i] for i in seen]
        boxes = torch.from_numpy(scene.boxes[seen]).double()
        masks = [*torch.from_numpy(scene.masks[seen])]
        return Sample(key, scene.image, annotations_of(labels, boxes, masks), scene)

    return Dataset(f"scenes:{count}", tuple(index), read, region="masks")
