"""Can a map be trusted? Checks in plain words, and pictures with parts hidden."""

from seewhy.trust.checks import CHECKS, Check, examine
from seewhy.trust.hiding import Effect, effects, hide

__all__ = ["CHECKS", "Check", "Effect", "effects", "examine", "hide"]
