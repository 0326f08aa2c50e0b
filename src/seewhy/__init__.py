"""Seewhy: see why a vision network said what it said."""

from seewhy import targets
from seewhy.data.load import load_dataset
from seewhy.evaluate import Evaluation, evaluate
from seewhy.explain import explain
from seewhy.maps import normalize
from seewhy.metrics import metrics
from seewhy.models import load_model
from seewhy.naming import Method, Refinement, methods, refinements
from seewhy.photos import explain_photos
from seewhy.probe import Probe

__version__ = "0.1.0"

__all__ = [
    "Evaluation",
    "Method",
    "Probe",
    "Refinement",
    "evaluate",
    "explain",
    "explain_photos",
    "load_dataset",
    "load_model",
    "methods",
    "metrics",
    "normalize",
    "refinements",
    "targets",
]
