"""The evaluations of papers, by name: which metrics and methods, and the published figures.

Published figures are of other networks and photos. They are printed beside ours to be compared in
kind, and never mixed with them.
"""

from __future__ import annotations

from dataclasses import dataclass

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


_BASELINES = ("center_gaussian", "edges", "random")
_CAMS = ("grad_cam", "grad_cam_plus_plus", "layer_cam", "xgrad_cam")


def _gig_cam(metric: str, voc: float, ilsvrc: float) -> tuple[Published, Published]:
    return (
        Published("GIG-CAM(F)", "ResNet-50", "VOC 2012", metric, voc),
        Published("GIG-CAM(F)", "ResNet-50", "ILSVRC 2012", metric, ilsvrc),
    )


PROTOCOLS = {
    "gig-cam": Protocol(
        "Gao et al. 2025, GIG-CAM and multi-scale fusion",
        (
            "gig_cam+multiscale(combine='ratio')",
            "gig_cam",
            "integrated_grad_cam",
            *_CAMS,
            *_BASELINES,
        ),
        ("pointing_game", "energy_pointing_game", "average_drop", "increase"),
        "The four metrics are the paper's; the methods beside its own are a choice of ours.",
        (
            *_gig_cam("pointing_game", 82.80, 85.90),
            *_gig_cam("energy_pointing_game", 62.41, 59.69),
            *_gig_cam("average_drop", 22.59, 17.04),
            *_gig_cam("increase", 31.00, 21.95),
        ),
    ),
    "global-guidance": Protocol(
        "Fahim et al. 2022, global guidance maps",
        ("global_guidance", *_CAMS, "score_cam", *_BASELINES),
        (
            "average_drop",
            "increase",
            "win",
            "insertion",
            "deletion",
            "energy_pointing_game",
            "complexity",
            "gini",
        ),
        "The abstract says that there are seven metrics but does not list them. These are a "
        "reading of ours: simplicity, one of the seven, is measured in two ways.",
    ),
    "tsgb": Protocol(
        "Cheng et al. 2022, target-selective gradient backprop",
        (
            "tsgb",
            "gradient",
            "guided_backprop",
            "excitation_backprop",
            "contrastive_excitation_backprop",
            "grad_cam",
            *_BASELINES,
        ),
        (
            "pointing_game",
            "energy_pointing_game",
            "target_selectivity",
            "insertion",
            "deletion",
            "gini",
        ),
        "A choice of ours after the paper's claims: selective for the target, fine-grained and "
        "faithful.",
    ),
    "gradual": Protocol(
        "Szandała 2021, gradual extrapolation",
        (
            "grad_cam+gradual",
            "grad_cam",
            "grad_cam_plus_plus+gradual",
            "grad_cam_plus_plus",
            *_BASELINES,
        ),
        ("pointing_game", "energy_pointing_game", "average_drop", "increase", "iou", "gini"),
        "A choice of ours after the paper's claim: a coarse map becomes sharp and stays in place.",
    ),
}


def protocol(name: str) -> Protocol:
    """The protocol of that name; a ValueError suggests the nearest."""
    if name not in PROTOCOLS:
        raise ValueError(f"there is no protocol {name!r}{suggestion(name, PROTOCOLS)}")
    return PROTOCOLS[name]
