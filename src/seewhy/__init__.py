"""Seewhy: saliency maps of vision networks, and measurements of how good they are."""

import seewhy.interrupting  # before torch, whose import takes seconds
import seewhy.methods  # noqa: F401 - registers methods and refinements
from seewhy.core import rules, targets
from seewhy.core.probe import Probe
from seewhy.data.images import load_image
from seewhy.data.load import load_dataset
from seewhy.data.preprocess import Preprocess
from seewhy.draw import overlay
from seewhy.evaluating import evaluate
from seewhy.evaluation.evaluation import Evaluation
from seewhy.explaining import explain
from seewhy.maps import normalize
from seewhy.metrics import Metric, list_metrics
from seewhy.models import LoadedModel, list_models, load_model
from seewhy.naming import Method, Refinement, list_methods, list_refinements
from seewhy.photos import explain_photos
from seewhy.plugins import load_installed

__version__ = "0.2.0"

__all__ = [
    "Evaluation",
    "LoadedModel",
    "Method",
    "Metric",
    "Preprocess",
    "Probe",
    "Refinement",
    "evaluate",
    "explain",
    "explain_photos",
    "list_methods",
    "list_metrics",
    "list_models",
    "list_refinements",
    "load_dataset",
    "load_image",
    "load_model",
    "normalize",
    "overlay",
    "rules",
    "targets",
]

load_installed()
