"""Seewhy: see why a vision network said what it said."""

from seewhy.explain import explain
from seewhy import targets
from seewhy.naming import Method, Refinement, methods, refinements
from seewhy.probe import Probe

__version__ = "0.1.0"

__all__ = ["Method", "Probe", "Refinement", "explain", "methods", "refinements", "targets"]
