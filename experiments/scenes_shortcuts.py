"""Is any category of the scenes given away by something other than its shape?

    python experiments/scenes_shortcuts.py

Two readers that cannot see shapes try to name what is in a scene: a linear probe on the picture's
colours, and one that knows the objects' positions. Then the bundled networks: which
object's removal moves the logit of a category most? Prints the tables of docs/scenes.md.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import time

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from seewhy.data.scenes import CATEGORIES, Scenes, effect, load_network

SEED = 11
TRAIN, TEST = 6000, 2000
EFFECT_SCENES = 500


def _look(index: int) -> tuple[NDArray, NDArray, NDArray, NDArray, list[tuple[float, float, int]]]:
    """Colour histogram, grid of object centres, number of objects, target, and the centres."""
    scene = Scenes(index + 1, SEED)[index]
    pixels = np.asarray(scene.image) // 32
    code = (pixels[..., 0].astype(int) * 8 + pixels[..., 1]) * 8 + pixels[..., 2]
    colours = np.sqrt(np.bincount(code.ravel(), minlength=512) / code.size)
    centres = (scene.boxes[:, :2] + scene.boxes[:, 2:]) / 2 / scene.size
    places, _, _ = np.histogram2d(centres[:, 0], centres[:, 1], bins=6, range=[[0, 1], [0, 1]])
    found = [
        (float(x), float(y), CATEGORIES.index(label))
        for (x, y), label in zip(centres, scene.labels, strict=True)
    ]
    return colours, places.ravel(), np.array([len(found)]), scene.target, found


def _mean_precision(x: NDArray, y: NDArray) -> float:
    """Mean average precision on the last scenes of a linear reader fitted on the first."""
    reader = make_pipeline(
        StandardScaler(), OneVsRestClassifier(LogisticRegression(C=0.01, max_iter=500))
    )
    reader.fit(x[:TRAIN], y[:TRAIN])
    scores = reader.predict_proba(x[TRAIN:])
    return float(average_precision_score(y[TRAIN:], scores, average="macro"))


def _share(hits: int, n: int) -> str:
    """A share with its 95 % Wilson interval."""
    z, p = 1.96, hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low, high = 100 * (centre - half), 100 * (centre + half)
    return f"{100 * p:.1f} % (95 % CI {low:.1f} to {high:.1f}; n = {n})"


def shortcuts() -> None:
    """The readers that cannot see shapes, against chance."""
    start = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        rows = list(pool.imap(_look, range(TRAIN + TEST), chunksize=50))
    rate = len(rows) / (time.perf_counter() - start)
    colours, places, counts, targets = (np.stack([row[k] for row in rows]) for k in range(4))
    print(f"{rate:.0f} scenes per second on {os.cpu_count()} cores, masks and statistics included")
    print(f"mean prevalence (chance):          {targets[TRAIN:].mean():.3f}")
    print(f"number of objects alone:           {_mean_precision(counts, targets):.3f}")
    print(f"objects' centres, 6 x 6 grid:      {_mean_precision(places, targets):.3f}")
    print(f"colour histogram, 512 bins:        {_mean_precision(colours, targets):.3f}")
    seen = np.array([c for row in rows[:TRAIN] for c in row[4]])
    new = np.array([c for row in rows[TRAIN:] for c in row[4]])
    guess = KNeighborsClassifier(100).fit(seen[:, :2], seen[:, 2]).predict(new[:, :2])
    hits = int((guess == new[:, 2]).sum())
    print(f"one object from its centre:        {_share(hits, len(new))}")
    print(f"  chance:                          {100 / len(CATEGORIES):.1f} %")


def effects(name: str) -> None:
    """Whose removal moves a category's logit most, in scenes of at least two objects."""
    network, _, preprocess = load_network(name)
    single, several, ground = [], [], []
    for scene in track(Scenes(EFFECT_SCENES), name):
        if len(scene.labels) < 2:
            continue
        grounds = (scene, scene.with_background(scene.index))
        other = torch.stack([preprocess(s.image) for s in grounds])
        with torch.no_grad():
            moved = network(other).diff(dim=0)[0].abs()
        for label in sorted(set(scene.labels)):
            change = effect(network, scene, label)
            own = scene.labels[int(change.abs().argmax())] == label
            if scene.labels.count(label) == 1:
                single.append(own)
                ground.append(bool(change.abs().max() > moved[CATEGORIES.index(label)]) and own)
            elif len(set(scene.labels)) > 1:
                several.append(own)
    print(f"{name}, one object of the category:     {_share(sum(single), len(single))}")
    print(f"{name}, ... and more than a new ground: {_share(sum(ground), len(ground))}")
    print(f"{name}, several of the category:        {_share(sum(several), len(several))}")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    shortcuts()
    for bundled in ("scenes:resnet", "scenes:vgg"):
        effects(bundled)
