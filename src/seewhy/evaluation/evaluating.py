"""`evaluate`: methods, metrics and a dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seewhy.core.probe import layer_requests
from seewhy.data.class_map import read_class_map
from seewhy.data.dataset import Dataset
from seewhy.data.load import load_dataset
from seewhy.evaluation.evaluation import Evaluation
from seewhy.evaluation.grids import in_grids
from seewhy.evaluation.run import Question, answers
from seewhy.evaluation.store import AnswersFile
from seewhy.metrics import Metric, metrics_of
from seewhy.models import LoadedModel, load_model
from seewhy.naming import DEFAULT_METHOD, Method, parse

EVALUATED = (DEFAULT_METHOD, "random")
"""Methods that are evaluated where none are named: is the default better than chance?"""

DEFAULT_METRICS = (
    "pointing_game",
    "energy_pointing_game",
    "average_drop",
    "increase",
    "insertion",
    "deletion",
)


def evaluate(
    model: LoadedModel | str,
    dataset: Dataset | str,
    methods: Sequence[str | Method] = EVALUATED,
    metrics: Sequence[str | Metric | Callable[..., Any]] = DEFAULT_METRICS,
    *,
    class_map: Mapping[str, Sequence[int]] | str | Path | None = None,
    top: int | None = None,
    layer: str | Sequence[str] | None = None,
    tolerance: float | None = None,
    steps: int | None = None,
    batch_size: int = 8,
    folder: str | Path | None = None,
    advance: Callable[[int], None] = lambda images: None,
) -> Evaluation:
    """Evaluate methods with metrics: one row per image, target, method and metric.

    Targets are the categories annotated in each image. A method's maps are computed once for all
    metrics, all methods share one forward pass, and metrics share passes where they can. The
    pointing game uses the photo at its own size, all other metrics the network's input.

    model: a network from `seewhy.load_model`, or its name.
    dataset: a dataset from `seewhy.load_dataset`, or its name.
    methods: names such as "grad_cam+gradual", or `Method` objects.
    metrics: names such as "gini" or "iou(threshold=0.3)", `Metric` objects, or functions registered
        by `seewhy.metrics.register_metric`.
    class_map: the network's classes for each category, as a mapping or a JSON file; the most likely
        of them in the image is explained. None: the dataset's own map, else the classes that have
        the category's name or synonym.
    top: leave out targets whose class is not among the network's `top` most likely classes.
    layer: the layer for the CAM family, see `seewhy.explain`.
    tolerance: tolerance of the pointing game in pixels of the photo, unless a metric sets its own
        as in "pointing_game(tolerance=5)". None: 15 on photos whose longer side has 500 pixels or
        more, in proportion less on smaller ones.
    steps: steps of insertion and deletion, unless a metric sets its own. None: 32.
    batch_size: images per forward pass.
    folder: a folder in which `images.jsonl` keeps the results of each finished image. The same call
        resumes an interrupted evaluation, and retries failures.
    advance: called with the number of images that have just been finished.

    Images and targets that could not be evaluated are in the result's `omissions`, with the reason.

    Raises ValueError for unknown names, an empty list or dataset, wrong options, and a folder that
    belongs to an evaluation with other settings.
    """
    loaded = load_model(model) if isinstance(model, str) else model
    data = load_dataset(dataset) if isinstance(dataset, str) else dataset
    if not isinstance(loaded, LoadedModel):
        raise TypeError(
            f"model is a {type(loaded).__name__}; wrap it with its preprocessing and class names: "
            "seewhy.models.LoadedModel(module, preprocess, classes)"
        )
    if not isinstance(data, Dataset):
        raise TypeError(f"dataset is a {type(data).__name__}; see seewhy.load_dataset")
    if isinstance(class_map, str | Path):
        class_map = read_class_map(class_map)
    settings = {"tolerance": tolerance, "steps": steps}
    settings = {name: value for name, value in settings.items() if value is not None}
    question = in_grids(
        Question(
            loaded,
            data,
            tuple(dict.fromkeys(map(parse, methods))),
            metrics_of(metrics, settings),
            None if class_map is None else {k: tuple(found) for k, found in class_map.items()},
            layer,
            top,
            settings,
        )
    )
    check(question, batch_size)
    data = question.dataset
    store = (
        None if folder is None else AnswersFile(Path(folder) / "images.jsonl", _settings(question))
    )
    done = {
        one.image: one
        for one in ([] if store is None else store.done)
        if not any(omission.failed for omission in one.omissions)
    }
    missing = [key for key in data.keys if key not in done]
    advance(len(data) - len(missing))
    for one in answers(question, missing, batch_size):
        if store is not None:
            store.add(one)
        done[one.image] = one
        advance(1)
    return Evaluation.of([done[key] for key in data.keys])


def check(question: Question, batch_size: int) -> None:
    """Raise ValueError for empty lists, options out of range and an unknown layer."""
    for name, given in (
        ("methods", question.methods),
        ("metrics", question.metrics),
        ("dataset", question.dataset.keys),
    ):
        if not given:
            raise ValueError(f"{name} is empty; at least one is needed")
    for name, value, least in (
        ("top", question.top, 1),
        ("tolerance", question.settings.get("tolerance"), 0),
        ("steps", question.settings.get("steps"), 1),
        ("batch_size", batch_size, 1),
    ):
        if value is not None and value < least:
            raise ValueError(f"{name}={value}; it should be {least} at least")
    for metric in question.metrics:
        compares = any(need.startswith("other_method_") for need in metric.all_needs)
        if compares and len(question.methods) < 2:
            raise ValueError(f"the metric {str(metric)!r} compares methods; name two at least")
    layer_requests(question.model.module, question.layer)


def digest_of(module: nn.Module) -> str:
    """A fingerprint of all weights and buffers, the same wherever they are."""
    digest = sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _settings(question: Question) -> dict[str, Any]:
    """What must be the same for answers to belong together."""
    return {
        "version": version("seewhy"),
        "model": question.model.name,
        "weights": digest_of(question.model.module),
        "preprocessing": str(question.model.preprocess),
        "dataset": question.dataset.name,
        "methods": [str(method) for method in question.methods],
        "metrics": [str(metric) for metric in question.metrics],
        "class map": question.class_map or question.dataset.classes,
        "layer": question.layer,
        "top": question.top,
        **question.settings,
    }
