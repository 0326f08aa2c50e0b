"""Evaluation: methods graded by metrics on a dataset, with what the numbers are worth."""

from seewhy.evaluate.evaluate import DEFAULT_METRICS, evaluate
from seewhy.evaluate.evaluation import Evaluation
from seewhy.evaluate.protocols import PROTOCOLS, Protocol, Published, protocol
from seewhy.evaluate.rows import Answers, Omission, Row
from seewhy.evaluate.summary import (
    Comparison,
    Summary,
    bootstrap_interval,
    compare,
    holm,
    sign_flip_test,
    summarize,
)

__all__ = [
    "DEFAULT_METRICS",
    "PROTOCOLS",
    "Answers",
    "Comparison",
    "Evaluation",
    "Omission",
    "Protocol",
    "Published",
    "Row",
    "Summary",
    "bootstrap_interval",
    "compare",
    "evaluate",
    "holm",
    "protocol",
    "sign_flip_test",
    "summarize",
]
