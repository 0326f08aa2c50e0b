"""A run as a page for the browser, and two runs compared."""

from seewhy.bench.report.differences import write_comparison
from seewhy.bench.report.single import write_report

__all__ = ["write_comparison", "write_report"]
