"""Scenes as a dataset: rendered when asked for, with everything known of them."""

import numpy as np
import torch

from seewhy.data.dataset import Annotation, Dataset, DatasetError, Sample
from seewhy.options import Count, Seed

_MOST = 1_000_000


def read_scenes(count: int | str = 100, *, seed: Seed = 0, size: Count = 128) -> Dataset:
    """The first `count` scenes of a seed, `size` pixels wide; nothing is read from a disk.

    A category that is wholly covered is not annotated. The pointing game is played on masks.

    Raises ValueError for a count, seed or size out of range or that is no number.
    """
    from seewhy.data.scenes.dataset import Scenes, key_of

    scenes = Scenes(_whole(count), seed, size)
    index = {key_of(seed, number, size): number for number in range(len(scenes))}

    def read(key: str) -> Sample:
        scene = scenes[index[key]]
        labels, boxes = np.array(scene.labels), torch.from_numpy(scene.boxes).double()
        masks = torch.from_numpy(scene.masks)
        annotations = []
        for label in dict.fromkeys(scene.labels):
            own = torch.from_numpy(labels == label) & masks.flatten(1).any(1)
            if own.any():
                annotations.append(Annotation(label, boxes[own], masks[own].any(0)))
        return Sample(key, scene.image, tuple(annotations), scene)

    return Dataset(f"scenes:{count}", tuple(index), read, region="masks")


def _whole(count: int | str) -> int:
    try:
        whole = int(count)
    except ValueError:
        raise DatasetError(f"scenes:{count} says not how many; write scenes:100") from None
    if whole > _MOST:
        raise DatasetError(f"scenes:{count} are too many; {_MOST:,} at most")
    return whole
