"""`seewhy demo`: a gallery of bundled scenes by every method."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from seewhy.cli.common import out, progress


def demo(
    folder: Annotated[Path, typer.Option("--out", help="Where the pictures go.")] = Path("demo"),
) -> None:
    """Explain a few bundled scenes by every method, and grade the methods; no download."""
    from seewhy import demo as demonstration
    from seewhy.data.scenes import SAMPLES

    with progress("Explaining scenes", len(SAMPLES), quiet=False) as advance:
        grades = demonstration.demo(folder, advance)
    table = Table("method", "pointing game", "energy on the object", box=None)
    for grade in grades:
        table.add_row(
            grade.method,
            demonstration.shown(grade.pointing),
            demonstration.shown(grade.energy),
        )
    out.print(f"scenes:resnet, graded on {grades[0].count} objects, 95 % intervals\n")
    out.print(table)
    page = (folder / "index.html").resolve()
    out.print(f"\nOpen [b]{page}[/b] or {folder / 'gallery.png'}", soft_wrap=True)
    out.print("Next: seewhy bench benchmarks/recipes/scenes-small.yaml", soft_wrap=True)
