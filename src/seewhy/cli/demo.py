"""`seewhy demo`: real photos explained, and methods graded where the truth is known."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from seewhy.cli.common import flag, out, progress, table_of, usage_errors
from seewhy.cli.output import Output
from seewhy.models import DEFAULT_MODEL


def demo(
    folder: Annotated[Path, typer.Option("--out", help="Output folder.")] = Path("demo"),
    overwrite: Annotated[bool, flag("--overwrite", "Replace an earlier page and gallery.")] = False,
) -> None:
    """Explain sample photos, and measure methods on scenes, without any download."""
    from seewhy import demo as demonstration

    with usage_errors():
        output = Output(folder, [], overwrite)
        for name in ("index.html", "gallery.jpg"):
            output.check(folder / name)
    with progress("Explaining", demonstration.steps()) as advance:
        grades = demonstration.demo(folder, advance)
    pointing, energy = (
        {one.method: one for one in grades.summary() if one.metric == metric}
        for metric in demonstration.METRICS
    )
    table = table_of("method", "maximum on the object", "share of the map on it")
    for method, hit in pointing.items():
        table.add_row(method, demonstration.shown(hit), demonstration.shown(energy[method]))
    out.print(f"Photos explained with [b]{DEFAULT_MODEL}[/b], the default network.")
    out.print(f"scenes:resnet, measured on {hit.values} objects, 95 % intervals:\n")
    out.print(table)
    page, gallery = (folder / "index.html").resolve(), folder / "gallery.jpg"
    out.print(f"\nOpen [b]{escape(str(page))}[/b] or {escape(str(gallery))}", soft_wrap=True)
    out.print("Next: seewhy explain YOUR-PHOTO.jpg", soft_wrap=True)
