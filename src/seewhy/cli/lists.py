"""`seewhy methods`, `refinements`, `metrics`, `models`, `layers`: what there is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from seewhy.cli.common import ModelName, Size, Weights, load, out, usage_errors

if TYPE_CHECKING:
    from seewhy.naming import Entry


def methods(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """List the methods: what they do, source, options with defaults, and cost in passes."""
    import seewhy.methods  # noqa: F401 - registers them
    from seewhy.naming import METHODS

    list_entries(METHODS, as_json)


def refinements(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """List the refinements that can follow a method, as in grad_cam+NAME."""
    import seewhy.methods  # noqa: F401 - registers them
    from seewhy.naming import REFINEMENTS

    list_entries(REFINEMENTS, as_json)


def metrics(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """List the metrics: what they measure, which way is better, range, source and cost."""
    from seewhy.metrics import list_metrics, metric

    described = [metric(name) for name in list_metrics()]
    if as_json:
        rows = [
            {
                "name": one.name,
                "summary": one.summary,
                "higher_is_better": one.higher_is_better,
                # JSON knows no infinity.
                "range": [one.range[0], one.range[1] if one.range[1] < float("inf") else None],
                "passes": one.passes,
                "source": one.source,
                "caution": one.caution,
            }
            for one in described
        ]
        print(json.dumps(rows))
        return
    for one in described:
        direction = "higher" if one.higher_is_better else "lower"
        about = f"{direction} is better, {one.range[0]:g} to {one.range[1]:g}"
        out.print(f"[b]{one.name}[/b]  [cyan]{escape(one.passes)}[/cyan]  {about}", highlight=False)
        caution = f"\n[yellow]{escape(one.caution)}[/yellow]" if one.caution else ""
        about = f"{escape(one.summary)}{caution}\n[dim]{escape(one.source)}[/dim]"
        out.print(Padding(about, (0, 4)))
    out.print("\n[dim]F: forward pass, E: explanation, S: steps, samples or layers[/dim]")


def models(
    zoo: Annotated[
        str | None,
        typer.Argument(help="photos, scenes, torchvision or timm: list all of its networks."),
    ] = None,
) -> None:
    """List the networks that --model knows."""
    from seewhy.models.load import list_models

    with usage_errors():
        found = list_models(zoo)
    if zoo:
        out.print("\n".join(found), highlight=False)
        return
    table = Table("zoo", "networks", "for example", box=None)
    for prefix in dict.fromkeys(name.split(":")[0] for name in found):
        own = [name for name in found if name.startswith(f"{prefix}:")]
        table.add_row(prefix, str(len(own)), ", ".join(own[:: max(1, len(own) // 4)][:4]))
    table.add_row("hf", "", "hf:microsoft/resnet-50, or hf:./folder")
    table.add_row("your own", "", "package.module:NAME --weights FILE")
    out.print(table)


def layers(
    model: ModelName = None,
    weights: Weights = None,
    size: Size = None,
    all_layers: Annotated[
        bool, typer.Option("--all", help="Every layer with maps, not only the stages.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """List the layers that the CAM family can explain, and mark the one chosen by default."""
    import torch
    from PIL import Image

    from seewhy.core.probe import layers_of
    from seewhy.models import DEFAULT_MODEL

    with usage_errors():
        loaded = load(model or DEFAULT_MODEL, weights, None, size, None, None, "cpu")
        side = loaded.preprocess(Image.new("RGB", (256, 256))).shape
        drawn = torch.Generator().manual_seed(0)
        noise = torch.rand(1, *side, generator=drawn, dtype=torch.float32)
        probe, recording, names = layers_of(loaded.module, noise)
    roles = dict.fromkeys(names, "stage") | dict.fromkeys(probe.layers, "default")
    rows: list[dict[str, Any]] = []
    for layer in recording.seen:
        shown = [call.shown(probe.calls) for call in (recording.public(layer), *layer.calls)]
        name = next((one for one in shown if one in roles), shown[0])
        role = roles.get(name, "")
        if role or (all_layers and not layer.pooled):
            shape = [layer.layout.channels, *layer.grid]
            row = {"layer": name, "kind": layer.kind, "shape": shape, "role": role}
            read = layer.layout.kind + (" (guessed)" if layer.layout.guessed else "")
            rows.append({**row, "read": read})
    if as_json:
        print(json.dumps(rows))
        return
    table = Table("layer", "kind", "channels", "resolution", "read as", "", box=None)
    for row in rows:
        channels, *grid = row["shape"]
        style = "bold green" if row["role"] == "default" else None
        read = str(row["read"]).replace("_", " ")
        cells = (row["layer"], row["kind"], channels, "x".join(map(str, grid)), read, row["role"])
        table.add_row(*map(str, cells), style=style)
    out.print(table)


def list_entries(entries: dict[str, Entry], as_json: bool) -> None:
    """Print registered methods or refinements."""
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "summary": entry.summary,
            "options": {key: repr(value) for key, value in entry.options.items()},
            "passes": entry.passes,
            "source": entry.source,
        }
        for name, entry in sorted(entries.items())
    ]
    if as_json:
        print(json.dumps(rows))
        return
    for row in rows:
        options = ", ".join(f"{key}={value}" for key, value in row["options"].items())
        call = f"[b]{row['name']}[/b]" + (f"({escape(options)})" if options else "")
        out.print(f"{call}  [cyan]{escape(row['passes'])}[/cyan]", highlight=False)
        out.print(Padding(f"{escape(row['summary'])}\n[dim]{escape(row['source'])}[/dim]", (0, 4)))
    out.print("\n[dim]F: forward pass, B: backward pass, h: backward to the layer only[/dim]")
