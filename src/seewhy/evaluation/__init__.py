"""Evaluation: methods graded by metrics on a dataset, with what the numbers are worth."""

from seewhy.evaluation.evaluation import Evaluation
from seewhy.evaluation.protocols import PROTOCOLS, Protocol, Published, protocol
from seewhy.evaluation.rows import Answers, Omission, Row
from seewhy.evaluation.statistics import (
    Comparison,
    Summary,
    bootstrap_intervals,
    compare,
    holm,
    sign_flip_tests,
    summarize,
)
from seewhy.evaluation.values import Values

__all__ = [
    "PROTOCOLS",
    "Answers",
    "Comparison",
    "Evaluation",
    "Omission",
    "Protocol",
    "Published",
    "Row",
    "Summary",
    "Values",
    "bootstrap_intervals",
    "compare",
    "holm",
    "protocol",
    "sign_flip_tests",
    "summarize",
]
