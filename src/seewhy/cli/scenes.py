"""`seewhy scenes`: the rendered scenes as files."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from seewhy.cli.common import out, usage_errors

app = typer.Typer(no_args_is_help=True, help="The rendered scenes with known evidence.")


Format = Literal["voc", "coco", "folder"]


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    count: Annotated[int, typer.Option(min=1, help="How many scenes.")] = 100,
    layout: Annotated[Format, typer.Option(help="Directory layout.")] = "voc",
    seed: Annotated[int, typer.Option(min=0, help="Seed: other seeds, other scenes.")] = 0,
    size: Annotated[
        int, typer.Option(min=16, max=8192, help="Side of each picture in pixels.")
    ] = 128,
) -> None:
    """Write scenes with their labels, boxes and masks for standard dataset readers."""
    from seewhy.data.scenes import export as export_scenes

    with usage_errors():
        root = export_scenes(folder, count, layout, seed=seed, size=size)
    out.print(f"{count} scenes in {escape(str(root))}")
