"""`evaluate`: methods and metrics on one network and one dataset."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from seewhy.bench import check_packages
from seewhy.data.class_map import read_class_map
from seewhy.data.dataset import Dataset
from seewhy.data.load import load_dataset
from seewhy.evaluation.evaluation import Evaluation
from seewhy.evaluation.grids import in_grids
from seewhy.evaluation.run import answers, in_order
from seewhy.evaluation.task import Task, check
from seewhy.metrics import Metric, metrics_of
from seewhy.models import LoadedModel, load_model
from seewhy.models.loaded import check_classifier
from seewhy.naming import DEFAULT_METHOD, Method, parse
from seewhy.options import Count, NotNegative, listed, settled

MetricLike = str | Metric | Callable[..., Any]

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
    methods: str | Method | Iterable[str | Method] = EVALUATED,
    metrics: MetricLike | Iterable[MetricLike] = DEFAULT_METRICS,
    *,
    class_map: Mapping[str, Sequence[int]] | str | Path | None = None,
    top: Count | None = None,
    layer: str | Sequence[str] | None = None,
    tolerance: NotNegative | None = None,
    steps: Count | None = None,
    batch_size: Count = 8,
    folder: str | Path | None = None,
    advance: Callable[[int], None] = lambda images: None,
) -> Evaluation:
    """Evaluate methods with metrics: one row per image, target, method and metric.

    Targets are the categories annotated in each image. A method's maps are computed once for all
    metrics, all methods share one forward pass, and metrics share passes where they can. The
    pointing game uses the photo at its own size, all other metrics the network's input.

    model: a network from `seewhy.load_model`, or its name.
    dataset: a dataset from `seewhy.load_dataset`, or its name.
    methods: one or several names such as "grad_cam+gradual", or `Method` objects.
    metrics: one or several names such as "gini" or "iou(threshold=0.3)", `Metric` objects, or
        functions registered by `seewhy.metrics.register_metric`.
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
    folder: a folder in which the results of each batch are saved, like the shards of `seewhy
        bench`: the same call resumes an interrupted evaluation and retries failures, and `seewhy
        report` makes a page of it. Needs `seewhy[bench]`. None: only in memory.
    advance: called with the number of images that have just been finished.

    Images and targets that could not be evaluated are in the result's `omissions`, with the reason.

    Raises ValueError for unknown names, an empty list or dataset, wrong options, a network without
    one score per class, and a folder that holds something else, or was made with other settings or
    photos.
    """
    given = {"top": top, "batch_size": batch_size, "tolerance": tolerance, "steps": steps}
    checked = settled("an evaluation", evaluate, {**given, "folder": folder, "advance": advance})
    top, batch_size = checked["top"], checked["batch_size"]
    settings = {name: checked[name] for name in ("tolerance", "steps") if checked[name] is not None}
    loaded = load_model(model) if isinstance(model, str) else model
    data = load_dataset(dataset) if isinstance(dataset, str) else dataset
    if not isinstance(loaded, LoadedModel):
        raise TypeError(
            f"model is a {type(loaded).__name__}; wrap it with its preprocessing and class names: "
            "seewhy.models.LoadedModel(module, preprocess, classes)"
        )
    if not isinstance(data, Dataset):
        raise TypeError(f"dataset is a {type(data).__name__}; see seewhy.load_dataset")
    task = Task(
        loaded,
        data,
        tuple(dict.fromkeys(map(parse, listed(methods)))),
        metrics_of(listed(metrics), settings),
        None if class_map is None else read_class_map(class_map),
        layer,
        top,
        settings,
    )
    check(task)
    check_classifier(loaded)
    task = in_grids(task)
    data = task.dataset
    if folder is not None:
        return _kept(task, batch_size, Path(folder), advance)
    found = in_order(data.keys, answers(task, data.keys, batch_size), advance)
    return Evaluation.of(found, map(str, task.methods))


def _kept(task: Task, batch_size: int, folder: Path, advance: Callable[[int], None]) -> Evaluation:
    """The evaluation by way of a run in a folder, as benchmarks have them: a shard is a batch."""
    check_packages()
    from seewhy.bench import fingerprints
    from seewhy.bench.plan import Shard, sliced
    from seewhy.bench.run import continued, written
    from seewhy.bench.work import Found

    model, data = task.model, task.dataset
    network, dataset = model.name or type(model.module).__name__, data.name
    shards = sliced({(network, dataset): data.keys}, batch_size)
    config = {
        "name": "evaluation",
        "methods": list(map(str, task.methods)),
        "metrics": list(map(str, task.metrics)),
        "layer": task.layer,
        "top": task.top,
        "batch_size": batch_size,
        **task.settings,
    }
    classes = task.class_map
    about = fingerprints.facts(
        config,
        0,
        str(model.device),
        weights={network: fingerprints.of_weights(model.module)},
        networks={network: fingerprints.of_network(model, model.name)},
        images={dataset: fingerprints.of_dataset(data)},
        class_maps={} if classes is None else {dataset: fingerprints.of_class_map(classes)},
    )

    def finished(shard: Shard) -> Found:
        return shard, in_order(shard.keys, answers(task, shard.keys, batch_size), advance)

    with continued(folder, about, shards, {dataset: data}) as (run, todo, samples):
        advance(len(data) - sum(len(shard.keys) for shard in todo))
        for _ in written(run, map(finished, todo), {dataset: data}, samples):
            pass
        return run.evaluations()[network, dataset]
