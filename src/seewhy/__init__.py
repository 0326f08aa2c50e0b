"""Seewhy: see why a vision network said what it said."""

from seewhy.core import rules, targets
from seewhy.core.probe import Probe
from seewhy.data.load import load_dataset
from seewhy.evaluation import Evaluation, evaluate
from seewhy.explaining import explain
from seewhy.maps import normalize
from seewhy.metrics import Metric, list_metrics
from seewhy.models import list_models, load_model
from seewhy.naming import Method, Refinement, list_methods, list_refinements
from seewhy.photos import explain_photos

__version__ = "0.1.0"

__all__ = [
    "Evaluation",
    "Method",
    "Metric",
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
    "load_model",
    "normalize",
    "rules",
    "targets",
]
