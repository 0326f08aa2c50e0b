"""From a config to work units: what is computed, and in which parts.

Shards, batches and threads depend only on the plan. So the rows are identical to the bit for any
engine, any number of workers and any number of interruptions.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from seewhy.bench import fingerprints
from seewhy.bench.config import Config, ConfigFile, settings_of
from seewhy.core.requests import asked_layers
from seewhy.data.class_map import ClassMap, read_class_map
from seewhy.data.dataset import Dataset
from seewhy.data.load import below, load_dataset
from seewhy.evaluation.grids import grids_of
from seewhy.evaluation.task import Task, check
from seewhy.metrics import metrics_of
from seewhy.models import LoadedModel, load_model
from seewhy.models.loaded import check_classifier
from seewhy.models.zoos import ZOOS
from seewhy.naming import parse
from seewhy.plugins import on_path


@dataclass(frozen=True)
class Shard:
    """A work unit: some images of a dataset for one network; both by their names in the rows."""

    number: int
    network: str
    dataset: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """Everything that a worker needs.

    config: the benchmark's config.
    root: the folder for the config's relative paths.
    device: the device of the networks.
    weights: a fingerprint of each network's weights.
    networks: a fingerprint of each network's other properties.
    images: a fingerprint of each dataset without its samples.
    class_maps: a fingerprint of each class map.
    shards: all shards, network by network, dataset by dataset.
    """

    config: Config
    root: Path
    device: str
    weights: dict[str, str]
    networks: dict[str, str]
    images: dict[str, str]
    class_maps: dict[str, str]
    shards: tuple[Shard, ...]

    @property
    def facts(self) -> dict[str, Any]:
        """What decides the rows, see `seewhy.bench.fingerprints.facts`."""
        return fingerprints.facts(
            self.config.model_dump(mode="json"),
            self.config.seed,
            self.device,
            weights=self.weights,
            networks=self.networks,
            images=self.images,
            class_maps=self.class_maps,
        )

    def data(self, dataset: str) -> Dataset:
        """The dataset of that name, whose folder is relative to `root`."""
        source = self.config.dataset(dataset)
        with _in_words(source.dataset):
            found = load_dataset(below(self.root, source.dataset), **source.options)
        return found[: source.limit]

    def model(self, network: str) -> LoadedModel:
        """The network of that name, on the device; the same weights on every worker.

        Raises ValueError where it has others here than where the plan was made.
        """
        model = self.opened(network, self.device)
        if fingerprints.of_weights(model.module) != self.weights[network]:
            raise ValueError(
                f"{network} has other weights on this worker than where the run was started; "
                "every worker needs the same files"
            )
        return model

    def opened(self, network: str, device: str) -> LoadedModel:
        """The network of that name; what it draws at random is the same whenever the seed is.

        Files are relative to `root`, below which a module of one's own is looked for, too; only
        that one, as a file there that is called as some package is not to be taken for it.
        """
        about = self.config.network(network)
        weights, spec = about.weights, about.model
        if spec.startswith(("hf:./", "hf:../")):
            spec = f"hf:{self._below(spec.removeprefix('hf:'))}"
        preprocess = dict(about.preprocess)
        if about.size is not None:
            crop = about.size if isinstance(about.size, int) else None
            preprocess |= {"resize": about.size, "crop": crop}
        preprocess |= about.model_dump(include={"mean", "std"}, exclude_none=True)
        beside = on_path(self.root) if spec.partition(":")[0] not in ZOOS else nullcontext()
        with beside, torch.random.fork_rng(), _in_words(spec):
            torch.manual_seed(self.config.seed)
            return load_model(
                spec,
                weights=weights if weights in (None, "random") else self._below(weights),
                classes=None if about.classes is None else self._below(about.classes),
                preprocess=preprocess,
                activation=about.activation,
                texts=about.texts,
                device=device,
            )

    def task(self, model: LoadedModel, network: str, dataset: str, data: Dataset) -> Task:
        """What is asked of a network that has been opened, and of a dataset that has."""
        about, config = self.config.dataset(dataset), self.config
        settings = settings_of(config)
        return Task(
            model,
            data,
            tuple(map(parse, config.methods)),
            metrics_of(config.metrics, settings),
            self.class_map(dataset),
            config.network(network).layer,
            about.top,
            settings,
        )

    def class_map(self, dataset: str) -> ClassMap | None:
        """The class map that the config gives for a dataset."""
        path = self.config.dataset(dataset).class_map
        return None if path is None else read_class_map(self._below(path))

    def _below(self, path: str) -> Path:
        return self.root / Path(path).expanduser()


def make_plan(file: ConfigFile, device: str = "cpu") -> Plan:
    """Open all networks and datasets of a config, and cut the work into shards.

    Raises ConfigError, with the line, for what cannot be opened, and for a network without one
    score per class.
    """
    config = file.config
    plan = Plan(config, file.path.resolve().parent, device, {}, {}, {}, {}, ())
    datasets: dict[str, Dataset] = {}
    for place, source in enumerate(config.datasets):
        with file.about("datasets", place, "dataset"):
            data = datasets[source.title] = plan.data(source.title)
            if not data.keys:
                raise ValueError(f"{source.dataset}: holds no images")
        with file.about("datasets", place, "class_map"):
            if (classes := plan.class_map(source.title)) is not None:
                plan.class_maps[source.title] = fingerprints.of_class_map(classes)
        plan.images[source.title] = fingerprints.of_dataset(data)
    keys: dict[tuple[str, str], tuple[str, ...]] = {}
    for place, network in enumerate(config.networks):
        with file.about("networks", place, "model"):
            model = plan.opened(network.title, "cpu")
            check_classifier(model)
        with file.about("networks", place, "layer"):
            asked_layers(model.module, network.layer)
        for at, (title, data) in enumerate(datasets.items()):
            asked = plan.task(model, network.title, title, data)
            with file.about("metrics"):
                check(asked)
            with file.about("datasets", at, "dataset"):
                keys[network.title, title] = grids_of(asked) if data.grid else data.keys
        plan.weights[network.title] = fingerprints.of_weights(model.module)
        plan.networks[network.title] = fingerprints.of_network(model, network.model)
    return replace(plan, shards=sliced(keys, config.shard))


def sliced(keys: dict[tuple[str, str], tuple[str, ...]], size: int) -> tuple[Shard, ...]:
    """The images of each network and dataset in shards of a size."""
    slices = [
        (network, dataset, own[start : start + size])
        for (network, dataset), own in keys.items()
        for start in range(0, len(own), size)
    ]
    return tuple(Shard(number, *slice_) for number, slice_ in enumerate(slices))


def cells_in(shards: Iterable[Shard]) -> list[dict[str, Any]]:
    """Network, dataset, images and shards of each pair of network and dataset."""
    cells: dict[tuple[str, str], dict[str, Any]] = {}
    for shard in shards:
        cell = cells.setdefault(
            (shard.network, shard.dataset),
            {"network": shard.network, "dataset": shard.dataset, "images": 0, "shards": 0},
        )
        cell["images"] += len(shard.keys)
        cell["shards"] += 1
    return list(cells.values())


@contextmanager
def _in_words(spec: str) -> Iterator[None]:
    """Networks and datasets are anyone's, and so are their errors: here they are ValueErrors."""
    try:
        yield
    except (ValueError, OSError):
        raise
    except Exception as error:
        raise ValueError(f"{spec}: {type(error).__name__}: {error}") from error
