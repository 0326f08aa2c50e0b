"""The page of one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from seewhy.bench.report.cell import Cell, cells_of
from seewhy.bench.report.charts import cost_charts, curve_charts
from seewhy.bench.report.gallery import PICTURES, gallery
from seewhy.bench.report.pictures import Kept, Names, fitting, kept
from seewhy.bench.report.provenance import provenance
from seewhy.bench.report.tables import classes, comparisons, leader_board, omissions, overview
from seewhy.bench.report.words import asked, count, findings
from seewhy.bench.store import Run
from seewhy.draw.page import highlights, labels, notice, tabs, write_page


def write_report(
    run: Run,
    path: Path,
    *,
    metric: str | None = None,
    images: int = 3,
    advance: Callable[[int], None] = lambda cells: None,
) -> None:
    """Write one self-contained HTML page about a run.

    metric: by which the gallery chooses its images; None for the first of the run's that is more
        than hit or miss.
    images: of each kind in the gallery: best and worst of each method, and most disagreed on.
        Fewer where there are many methods, or the run has fewer. 0 for no gallery.
    advance: called with 1 when a network's part on a dataset is done.

    All of it is in the run: no network is opened, no module imported, no dataset looked for.

    Raises ValueError for a run without values, and for a metric that it does not have.
    """
    cells = cells_of(run)
    known = {name: None for cell in cells for name in cell.metrics}
    if metric is not None and metric not in known:
        raise ValueError(f"the run has no values of {metric!r}; it has {', '.join(known)}")
    graded = [cell for cell in cells if cell.evaluation.rows]
    number = fitting((len(cell.methods) for cell in graded), images, PICTURES) if images else 0
    pictures = kept(run) if number else {}
    panels = []
    for place, cell in enumerate(graded):
        name = f"cell-{place}"
        parts = [
            leader_board(cell),
            comparisons(cell, name),
            curve_charts(cell),
            cost_charts(cell, name, run.manifest["calibration"]),
            _gallery(run, cell, pictures, number, metric) if number else "",
            classes(cell, name),
        ]
        panels.append((cell.title, "".join(parts)))
        advance(1)
    write_page(
        path,
        f"Benchmark “{run.manifest['config']['name']}”",
        asked(cells),
        [
            _chips(run, cells),
            _unfinished(run),
            highlights(findings(graded)),
            overview(graded) if len(graded) > 1 else "",
            tabs("cells", panels) if len(panels) > 1 else panels[0][1],
            omissions(cells),
            provenance(run),
        ],
    )


def _gallery(
    run: Run, cell: Cell, pictures: Mapping[Names, Kept], number: int, metric: str | None
) -> str:
    own = pictures.get((cell.network, cell.dataset))
    return gallery(cell, own, run.manifest["weights"].get(cell.network, ""), number, metric)


def _chips(run: Run, cells: Sequence[Cell]) -> str:
    failures = sum(len(cell.evaluation.failures) for cell in cells)
    chips = [
        ("complete" if run.complete else "incomplete", not run.complete),
        (count(failures, "failure"), failures > 0),
        (str(run.manifest["created"])[:10], False),
        (f"on {run.manifest['device']}", False),
        (f"Seewhy {run.manifest['versions']['seewhy']}", False),
        (f"config {run.manifest['config_hash'][:12]}", False),
    ]
    return labels(chips)


def _unfinished(run: Run) -> str:
    if run.complete:
        return ""
    done, shards = len(run.files), run.manifest["shards"]
    return notice(
        f"Incomplete: {done} of {count(shards, 'part')} are done, so this page covers the first "
        "images only, and some networks and datasets may be missing. Run `seewhy bench` with the "
        "same config to continue."
    )
