"""The evaluations of papers, by name: which metrics and methods, and the published figures.

Published figures are of other networks and photos. They are printed beside ours to be compared in
kind, and never mixed with them.
"""

import tomllib
from dataclasses import dataclass
from importlib.resources import files

from seewhy.naming import suggestion


@dataclass(frozen=True)
class Published:
    """A figure that a paper reports, in per cent."""

    method: str
    network: str
    dataset: str
    metric: str
    percent: float


@dataclass(frozen=True)
class Protocol:
    """What a paper measures.

    source: the paper.
    methods: its own method first, then what it is compared with, here with the baselines that
        know nothing of the network.
    metrics: names of metrics.
    note: how far this is the paper's own choice.
    published: its figures, as far as they are known.
    """

    source: str
    methods: tuple[str, ...]
    metrics: tuple[str, ...]
    note: str
    published: tuple[Published, ...] = ()


def _read() -> dict[str, Protocol]:
    text = files("seewhy.evaluation").joinpath("protocols.toml").read_text("utf-8")
    found = {}
    for name, said in tomllib.loads(text).items():
        published = tuple(Published(*figure) for figure in said.pop("published", ()))
        said = {key: tuple(v) if isinstance(v, list) else v for key, v in said.items()}
        found[name] = Protocol(**said, published=published)
    return found


PROTOCOLS = _read()


def protocol(name: str) -> Protocol:
    """The protocol of that name; a ValueError suggests the nearest."""
    if name not in PROTOCOLS:
        raise ValueError(f"there is no protocol {name!r}{suggestion(name, PROTOCOLS)}")
    return PROTOCOLS[name]
