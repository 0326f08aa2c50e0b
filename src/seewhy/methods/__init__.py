"""Methods: functions of a probe. Importing this package registers them and the refinements."""

from seewhy import refine
from seewhy.methods import (
    ablation_cam,
    attention,
    auto,
    baselines,
    cam,
    cam_extended,
    excitation,
    full_grad,
    gradients,
    guidance,
    paths,
    perturbation,
    score_cam,
    tsgb,
)

__all__ = [
    "ablation_cam",
    "attention",
    "auto",
    "baselines",
    "cam",
    "cam_extended",
    "excitation",
    "full_grad",
    "gradients",
    "guidance",
    "paths",
    "perturbation",
    "refine",
    "score_cam",
    "tsgb",
]
