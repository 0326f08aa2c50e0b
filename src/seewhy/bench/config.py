"""What a benchmark's YAML file may say. Mistakes are reported with their line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from seewhy.data.load import reader_of
from seewhy.evaluation.protocols import protocol
from seewhy.metrics import metric, metrics_of
from seewhy.models.answers import Activation
from seewhy.naming import checked, parse, suggestion
from seewhy.options import SEEDS, near, options_of, shown
from seewhy.plugins import load_plugins
from seewhy.reading import text_of

TOLD = 20  # errors of a config
BYTES = 1_000_000  # of a config
PARTS = 50_000  # of a config: keys and values, those behind an alias each time that it stands there

Place = tuple[str | int, ...]
Side = Annotated[int, Field(ge=1)]


class ConfigError(ValueError):
    """The config cannot be run; the message names the file and the line, and what would do.

    name: the config's, where what is wrong are names in it that are not known.
    """

    name: str | None = None


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    alone: ClassVar[str] = ""  # the key whose value may stand for the whole

    @model_validator(mode="before")
    @classmethod
    def _spelled_out(cls, given: Any) -> Any:
        return {cls.alone: given} if cls.alone and isinstance(given, str) else given


class NetworkConfig(_Part):
    """A network, as the options of `seewhy evaluate` give it; `scenes:resnet` is one with no more.

    `size` is the side of a square, of which the photo's centre is cut, or [height, width], to which
    the whole photo is squashed; `mean` and `std` are one value or one per channel. `preprocess`,
    `activation` and `texts` are as in `seewhy.load_model`.
    """

    alone = "model"
    model: str
    name: str = ""
    weights: str | None = None
    classes: str | None = None
    size: Side | Annotated[list[Side], Field(min_length=2, max_length=2)] | None = None
    mean: float | list[float] | None = None
    std: float | list[float] | None = None
    preprocess: dict[str, Any] = {}
    activation: Activation | None = None
    texts: list[str] | None = None
    layer: str | list[str] | None = None

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        """Refuse two values for one setting, of which one would be silently ignored."""
        given = [("size", "resize"), ("size", "crop"), ("mean", "mean"), ("std", "std")]
        for key, setting in given:
            if getattr(self, key) is not None and setting in self.preprocess:
                raise ValueError(f"{key} stands beside preprocess with {setting}; give one of them")
        return self

    @property
    def title(self) -> str:
        """What rows call it."""
        return self.name or self.model


class DatasetConfig(_Part):
    """A dataset, as the options of `seewhy evaluate` give it; `scenes:50` is one with no more.

    Other keys are options of `seewhy.load_dataset`: `split`, of scenes `seed` and `size`.
    """

    model_config = ConfigDict(extra="allow")
    alone = "dataset"
    dataset: str
    name: str = ""
    limit: int | None = Field(None, ge=1)
    class_map: str | None = None
    top: int | None = Field(None, ge=1)

    @property
    def title(self) -> str:
        """What rows call it."""
        return self.name or self.dataset

    @property
    def options(self) -> dict[str, Any]:
        """What is asked of the dataset's reader."""
        return self.model_extra or {}


class Config(_Part):
    """A benchmark: every method by every metric, on every network and dataset.

    A protocol adds its metrics, and gives its methods where none are named. `plugins` are loaded
    first, see `seewhy.plugins`; they may lie beside the config. `timeout` is how many
    seconds an image may take, None for as many as it does; `pictures` how many of each kind the
    run keeps for its report, see `seewhy.bench.pictures`.
    """

    name: str = Field(pattern=r"^\w[\w.-]*$", max_length=100)
    networks: list[NetworkConfig] = Field(min_length=1)
    datasets: list[DatasetConfig] = Field(min_length=1)
    methods: list[str] = []
    metrics: list[str] = []
    protocol: str | None = None
    plugins: list[str] = []
    seed: int = Field(0, ge=0, lt=SEEDS)
    tolerance: float | None = Field(None, ge=0, le=1e6)
    steps: int | None = Field(None, ge=1, le=100_000)
    batch_size: int = Field(8, ge=1, le=100_000)
    shard: int = Field(64, ge=1)
    threads: int = Field(1, ge=1, le=1024)
    timeout: float | None = Field(None, gt=0)
    pictures: int = Field(3, ge=0, le=20)

    def network(self, title: str) -> NetworkConfig:
        """The network that rows call so."""
        return next(one for one in self.networks if one.title == title)

    def dataset(self, title: str) -> DatasetConfig:
        """The dataset that rows call so."""
        return next(one for one in self.datasets if one.title == title)


@dataclass(frozen=True)
class ConfigFile:
    """A config with the file that it was read from.

    `lines` holds the line on which each part begins, by its keys and places from the top.
    """

    path: Path
    text: str
    config: Config
    lines: dict[Place, int]

    def error(self, place: Place, message: object) -> ConfigError:
        """What is wrong with a part of the file; the part need not be written down."""
        return _error(self.path, self.lines, place, message)

    @contextmanager
    def about(self, *place: str | int) -> Iterator[None]:
        """A context whose errors are a ConfigError about a part of the file."""
        try:
            yield
        except (ValueError, OSError) as error:
            raise self.error(place, error) from None


def read_config(path: str | Path) -> ConfigFile:
    """Read a benchmark's YAML file.

    Its plugins are loaded. Raises ConfigError for a file that is missing, too long or no YAML, that
    grows without end by its aliases, and for each unknown key, value of the wrong kind, plugin that
    cannot be loaded and unknown name of a method, metric or protocol, all together.
    """
    path = Path(path)
    try:
        text = text_of(path, BYTES)
    except ValueError as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from None
    try:
        tree = yaml.compose(text, yaml.SafeLoader)
        found = list(islice(_lines(tree, ()), PARTS + 1))
        if len(found) > PARTS:
            raise ConfigError(f"{path}: has more than {PARTS:,} parts, aliases written out")
        content = yaml.safe_load(text)
    except ConfigError:
        raise
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply, or holds itself by an alias") from None
    except Exception as error:  # of a value that is none, PyYAML raises whatever its parsers do
        raise ConfigError(f"{path}: no YAML ({error})") from None
    lines: dict[Place, int] = {}
    for place, line in found:
        if place in lines:
            message = f"{place[-1]!r} is there already, on line {lines[place]}"
            raise ConfigError(f"{path}, line {line}: {message}")
        lines[place] = line
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: give keys with values, such as networks, datasets and methods")
    try:
        config = Config.model_validate(content)
    except ValidationError as error:
        wrong = error.errors()
        said = [_error(path, lines, *_explained(one)) for one in wrong[:TOLD]]
        if len(wrong) > TOLD:
            said.append(ConfigError(f"{path}: {len(wrong) - TOLD:,} more are wrong"))
        raise _together(said) from None
    file = ConfigFile(path, text, config, lines)
    for number, plugin in enumerate(config.plugins):
        with file.about("plugins", number):
            load_plugins([plugin], path.parent)
    if errors := list(_wrong_names(file)):
        unknown = _together(errors)
        unknown.name = config.name
        raise unknown
    return replace(file, config=_with_protocol(config))


def _with_protocol(config: Config) -> Config:
    """The config with all methods and metrics spelled out in one way, each once."""
    papers = protocol(config.protocol) if config.protocol else None
    methods = config.methods or (papers.methods if papers else ())
    metrics = [*(papers.metrics if papers else ()), *config.metrics]
    asked = {
        "methods": list(dict.fromkeys(str(parse(one)) for one in methods)),
        "metrics": [str(one) for one in metrics_of(metrics, settings_of(config))],
    }
    return config.model_copy(update=asked)


def settings_of(config: Config) -> dict[str, Any]:
    """What options of metrics stand at where a metric does not give them."""
    return config.model_dump(include={"tolerance", "steps"}, exclude_none=True)


def _wrong_names(file: ConfigFile) -> Iterator[ConfigError]:
    """Methods, metrics and protocols that there are not, and names that are there twice."""
    config = file.config
    named: list[tuple[Place, Callable[[str], object], str]] = [
        *((("methods", place), parse, name) for place, name in enumerate(config.methods)),
        *((("metrics", place), metric, name) for place, name in enumerate(config.metrics)),
        *([(("protocol",), protocol, config.protocol)] if config.protocol else []),
    ]
    for where, check, name in named:
        try:
            check(name)
        except ValueError as error:
            yield file.error(where, error)
    for key, asked in (("methods", config.methods), ("metrics", config.metrics)):
        if not asked and not config.protocol:
            yield file.error((key,), f"{key} is empty; name at least one, or a protocol")
    for place, one in enumerate(config.datasets):
        try:
            function = reader_of(one.dataset).function
        except ValueError as error:
            yield file.error(("datasets", place, "dataset"), error)
            continue
        known = options_of(function)
        for key, value in one.options.items():
            if key not in known:
                meant = suggestion(key, [*DatasetConfig.model_fields, *known])
                yield file.error(("datasets", place, key), f"unknown key {key!r}{meant}")
                continue
            try:
                checked(f"the dataset {one.dataset!r}", [function], {key: value})
            except ValueError as error:
                yield file.error(("datasets", place, key), error)
    for part, titles in (
        ("networks", [one.title for one in config.networks]),
        ("datasets", [one.title for one in config.datasets]),
    ):
        for place, title in enumerate(titles):
            if title in titles[:place]:
                message = f"two {part} are called {title!r}; give one a name of its own: 'name: …'"
                yield file.error((part, place), message)


def _explained(error: Any) -> tuple[Place, str]:
    """The place and the message of one of pydantic's errors."""
    place: Place = error["loc"]
    # Of a union pydantic appends which of its types it tried.
    parts: dict[str, type[_Part]] = {"networks": NetworkConfig, "datasets": DatasetConfig}
    within = parts.get(str(place[0]), Config) if len(place) > 2 else Config
    known = list(within.model_fields)
    if error["type"] == "extra_forbidden":
        return place, f"unknown key {place[-1]!r}{suggestion(str(place[-1]), known)}"
    if error["type"] == "missing":
        meant = ""
        others = [one for one in error["input"].items() if one[0] not in known]
        if len(place) > 1 and others:
            key, value = others[0]  # which YAML makes of `scenes: 50`
            meant = f"; if {key}:{value} is meant, write it without the space"
            if likely := near(str(key), [str(place[-1])], 1):
                meant = f", but there is {key!r}{likely}"
        return place, f"{place[-1]} is missing{meant}"
    keys = [key for key in place if isinstance(key, int) or key in known or key in parts]
    named = ".".join(map(str, keys))
    return tuple(keys), f"{named} is {shown(error['input'])}: {error['msg']}"


def _error(path: Path, lines: dict[Place, int], place: Place, message: object) -> ConfigError:
    while place and place not in lines:
        place = place[:-1]
    return ConfigError(f"{path}, line {lines[place]}: {message}" if place else f"{path}: {message}")


def _together(errors: list[ConfigError]) -> ConfigError:
    return ConfigError("\n".join(dict.fromkeys(map(str, errors))))


def _lines(node: yaml.Node | None, place: Place) -> Iterator[tuple[Place, int]]:
    """Each part's place and line; a key that is written twice comes twice. None: an empty file."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*place, str(key.value))
            yield below, key.start_mark.line + 1
            yield from _lines(value, below)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*place, index), value.start_mark.line + 1
            yield from _lines(value, (*place, index))
