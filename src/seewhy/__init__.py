"""Seewhy: see why a vision network said what it said."""

from seewhy import targets
from seewhy.explain import explain
from seewhy.maps import normalize
from seewhy.models import load_model
from seewhy.naming import Method, Refinement, methods, refinements
from seewhy.photos import explain_photos
from seewhy.probe import Probe

__version__ = "0.1.0"

__all__ = [
    "Method",
    "Probe",
    "Refinement",
    "explain",
    "explain_photos",
    "load_model",
    "methods",
    "normalize",
    "refinements",
    "targets",
]
