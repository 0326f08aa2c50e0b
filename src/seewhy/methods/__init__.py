"""Methods: functions of a probe. Importing this package registers them and the refinements."""

from seewhy import refine
from seewhy.methods import (
    ablation_cam,
    attention,
    auto,
    cam,
    cam_extended,
    excitation,
    full_grad,
    gradients,
    guidance,
    paths,
    perturbation,
    reference,
    score_cam,
    tsgb,
)

__all__ = [
    "ablation_cam",
    "attention",
    "auto",
    "cam",
    "cam_extended",
    "excitation",
    "full_grad",
    "gradients",
    "guidance",
    "paths",
    "perturbation",
    "reference",
    "refine",
    "score_cam",
    "tsgb",
]
