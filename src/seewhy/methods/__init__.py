"""Methods: functions of a probe. Importing this package registers them and the refinements."""

from seewhy import refine  # noqa: F401
from seewhy.methods import (  # noqa: F401
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
