"""From a config to work units: what is computed, and in which parts.

Shards, batches and threads depend only on the plan. So the rows are identical to the bit for any
engine, any number of workers and any number of interruptions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from seewhy.bench import fingerprints
from seewhy.bench.config import Config, ConfigFile, DatasetConfig, NetworkConfig, settings_of
from seewhy.core.probe import layer_requests
from seewhy.data.class_map import read_class_map
from seewhy.data.dataset import Dataset
from seewhy.data.load import below, load_dataset
from seewhy.evaluation.grids import gridded, grids_of
from seewhy.evaluation.run import Question, check, digest_of
from seewhy.metrics import metrics_of
from seewhy.models import LoadedModel, load_model
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
    def cells(self) -> list[dict[str, Any]]:
        """Network, dataset, images and shards of each pair of network and dataset."""
        cells: dict[tuple[str, str], dict[str, Any]] = {}
        for shard in self.shards:
            cell = cells.setdefault(
                (shard.network, shard.dataset),
                {"network": shard.network, "dataset": shard.dataset, "images": 0, "shards": 0},
            )
            cell["images"] += len(shard.keys)
            cell["shards"] += 1
        return list(cells.values())

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

    def model(self, network: str) -> LoadedModel:
        """The network of that name, on the device; the same weights on every worker.

        Raises ValueError where it has others here than where the plan was made.
        """
        model = open_network(self.config.network(network), self.root, self.config.seed, self.device)
        if digest_of(model.module) != self.weights[network]:
            raise ValueError(
                f"{network} has other weights on this worker than where the run was started; "
                "every worker needs the same files"
            )
        return model

    def question(self, model: LoadedModel, network: str, dataset: str, data: Dataset) -> Question:
        """What is asked of a network that has been opened, and of a dataset that has.

        Of a dataset of grids it knows no keys: the shards do, which the network has chosen.
        """
        about, source = self.config.network(network), self.config.dataset(dataset)
        return gridded(_question(self.config, about, source, self.root, model, data))

    def data(self, dataset: str) -> Dataset:
        """The dataset of that name."""
        return open_dataset(self.config.dataset(dataset), self.root)


def make_plan(file: ConfigFile, device: str = "cpu") -> Plan:
    """Open all networks and datasets of a config, and cut the work into shards.

    Raises ConfigError, with the line, for what cannot be opened.
    """
    config, root = file.config, file.path.resolve().parent
    datasets: dict[str, Dataset] = {}
    for place, source in enumerate(config.datasets):
        with file.about("datasets", place, "dataset"):
            datasets[source.title] = open_dataset(source, root)
            if not datasets[source.title].keys:
                raise ValueError(f"{source.dataset}: holds no images")
    weights, others = {}, {}
    keys: dict[tuple[str, str], tuple[str, ...]] = {}
    for place, network in enumerate(config.networks):
        with file.about("networks", place, "model"):
            model = open_network(network, root, config.seed, "cpu")
        with file.about("networks", place, "layer"):
            layer_requests(model.module, network.layer)
        for at, source in enumerate(config.datasets):
            with file.about("datasets", at, "class_map"):
                asked = _question(config, network, source, root, model, datasets[source.title])
            with file.about("metrics"):
                check(asked, config.batch_size)
            with file.about("datasets", at, "dataset"):
                own = grids_of(asked) if asked.dataset.grid else asked.dataset.keys
            keys[network.title, source.title] = own
        weights[network.title] = digest_of(model.module)
        others[network.title] = fingerprints.of_network(model, network.model)
    return Plan(
        config,
        root,
        device,
        weights,
        others,
        {name: fingerprints.of_dataset(data) for name, data in datasets.items()},
        {
            source.title: fingerprints.of_class_map(read_class_map(_below(root, source.class_map)))
            for source in config.datasets
            if source.class_map is not None
        },
        sliced(keys, config.shard),
    )


def sliced(keys: dict[tuple[str, str], tuple[str, ...]], size: int) -> tuple[Shard, ...]:
    """The images of each network and dataset in shards of a size."""
    slices = [
        (network, dataset, own[start : start + size])
        for (network, dataset), own in keys.items()
        for start in range(0, len(own), size)
    ]
    return tuple(Shard(number, *slice_) for number, slice_ in enumerate(slices))


@contextmanager
def _in_words(spec: str) -> Iterator[None]:
    """Networks and datasets are anyone's, and so are their errors: here they are ValueErrors."""
    try:
        yield
    except (ValueError, OSError):
        raise
    except Exception as error:
        raise ValueError(f"{spec}: {type(error).__name__}: {error}") from error


def open_dataset(source: DatasetConfig, root: Path) -> Dataset:
    """The dataset of a config, whose folder is relative to `root`."""
    with _in_words(source.dataset):
        return load_dataset(below(root, source.dataset), **source.options)[: source.limit]


def open_network(network: NetworkConfig, root: Path, seed: int, device: str) -> LoadedModel:
    """The network of a config; what it draws at random is the same whenever the seed is.

    Files are relative to `root`, below which a module of one's own is looked for, too; only that
    one, as a file there that is called as some package is not to be taken for it.
    """
    weights, spec = network.weights, network.model
    if spec.startswith(("hf:./", "hf:../")):
        spec = f"hf:{_below(root, spec.removeprefix('hf:'))}"
    own = spec.partition(":")[0] not in ZOOS
    preprocess = dict(network.preprocess)
    if isinstance(network.size, int):
        preprocess |= {"resize": network.size, "crop": network.size}
    elif network.size is not None:
        preprocess |= {"resize": network.size, "crop": None}
    preprocess |= {"mean": network.mean} if network.mean is not None else {}
    preprocess |= {"std": network.std} if network.std is not None else {}
    with on_path(root) if own else nullcontext(), torch.random.fork_rng(), _in_words(spec):
        torch.manual_seed(seed)
        return load_model(
            spec,
            weights=weights if weights in (None, "random") else _below(root, weights),
            classes=None if network.classes is None else _below(root, network.classes),
            preprocess=preprocess,
            activation=network.activation,
            texts=network.texts,
            device=device,
        )


def _question(
    config: Config,
    network: NetworkConfig,
    source: DatasetConfig,
    root: Path,
    model: LoadedModel,
    data: Dataset,
) -> Question:
    settings = settings_of(config)
    return Question(
        model,
        data,
        tuple(map(parse, config.methods)),
        metrics_of(config.metrics, settings),
        None if source.class_map is None else read_class_map(_below(root, source.class_map)),
        network.layer,
        source.top,
        settings,
    )


def _below(root: Path, path: str) -> Path:
    return root / Path(path).expanduser()
