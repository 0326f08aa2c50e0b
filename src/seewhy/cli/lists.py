"""`seewhy methods`, `refinements`, `metrics`, `models`, `layers`: what there is."""

import inspect
import json
import re
from typing import Annotated, Any

import torch
import typer
from PIL import Image
from rich.markup import escape
from rich.padding import Padding

from seewhy.cli import options
from seewhy.cli.common import flag, out, table_of, usage_errors
from seewhy.core.probe import layers_of
from seewhy.metrics import Metric
from seewhy.metrics.registry import Measure
from seewhy.models import DEFAULT_MODEL, list_models
from seewhy.naming import Entry, Method, Named, Refinement
from seewhy.options import options_of

Names = Annotated[
    list[str] | None, typer.Argument(help="Show these alone, with all that is documented of them.")
]
Json = Annotated[bool, flag("--json", "Print one JSON list instead.")]


def methods(names: Names = None, as_json: Json = False, plugin: options.Plugins = None) -> None:
    """List the methods: what they do, source, options with defaults, and cost in passes."""
    tell(Method, names, as_json)


def refinements(names: Names = None, as_json: Json = False, plugin: options.Plugins = None) -> None:
    """List the refinements that can follow a method, as in grad_cam+NAME."""
    tell(Refinement, names, as_json)


def metrics(names: Names = None, as_json: Json = False, plugin: options.Plugins = None) -> None:
    """List the metrics: options, cost, direction, range, needs; what they measure, and source."""
    tell(Metric, names, as_json)


def models(
    zoo: Annotated[
        str | None,
        typer.Argument(help="List all networks of a source: photos, scenes, torchvision, timm."),
    ] = None,
    plugin: options.Plugins = None,
) -> None:
    """List the networks that --model knows."""
    with usage_errors():
        found = list_models(zoo)
    if zoo:
        out.print("\n".join(found), highlight=False)
        return
    table = table_of("zoo", "networks", "for example")
    for prefix in dict.fromkeys(name.split(":")[0] for name in found):
        own = [name for name in found if name.startswith(f"{prefix}:")]
        table.add_row(prefix, str(len(own)), ", ".join(own[:: max(1, len(own) // 4)][:4]))
    table.add_row("hf", "", "hf:microsoft/resnet-50, or hf:./folder")
    table.add_row("your own", "", "package.module:NAME --weights FILE")
    out.print(table)


def layers(
    model: options.ModelName = None,
    weights: options.Weights = None,
    size: options.Size = None,
    all_layers: Annotated[
        bool, flag("--all", "List every layer with maps, not only the stages.")
    ] = False,
    as_json: Json = False,
    plugin: options.Plugins = None,
) -> None:
    """List the layers that the CAM family can explain, and mark the one chosen by default."""
    with usage_errors():
        network = options.load(model or DEFAULT_MODEL, weights, size=size)
        side = network.preprocess(Image.new("RGB", (256, 256))).shape
        drawn = torch.Generator().manual_seed(0)
        noise = torch.rand(1, *side, generator=drawn, dtype=torch.float32)
        probe, recording, names = layers_of(network.module, noise)
    roles = dict.fromkeys(names, "stage") | dict.fromkeys(probe.layers, "default")
    rows: list[dict[str, Any]] = []
    for layer in recording.seen:
        shown = [call.shown(probe.calls) for call in (recording.public(layer), *layer.calls)]
        name = next((one for one in shown if one in roles), shown[0])
        role = roles.get(name, "")
        if role or (all_layers and not layer.pooled):
            shape = [layer.layout.channels, *layer.grid]
            read = layer.layout.kind + (" (guessed)" if layer.layout.guessed else "")
            row = {"layer": name, "kind": layer.kind, "shape": shape, "role": role, "read": read}
            rows.append(row)
    if as_json:
        print(json.dumps(rows))
        return
    table = table_of("layer", "kind", "channels", "resolution", "read as", "")
    for row in rows:
        channels, *grid = row["shape"]
        style = "bold green" if row["role"] == "default" else None
        read = str(row["read"]).replace("_", " ")
        cells = (row["layer"], row["kind"], channels, "x".join(map(str, grid)), read, row["role"])
        table.add_row(*(escape(str(cell)) for cell in cells), style=style)
    out.print(table)


def tell(kind: type[Named], names: list[str] | None, as_json: bool) -> None:
    """Print what is registered: methods, refinements or metrics, all or those that are named."""
    entries = kind.entries
    if names:
        with usage_errors():
            entries = {name: entries[kind(name).name] for name in names}
    rows: list[dict[str, Any]] = []
    for name, entry in sorted(entries.items()):
        row: dict[str, Any] = {
            "name": name,
            "summary": entry.summary,
            "options": {key: repr(value) for key, value in entry.options.items()},
            "passes": entry.passes,
            "source": entry.source,
        }
        given = ", ".join(f"{key}={value}" for key, value in row["options"].items())
        line = f"[b]{name}[/b]" + (f"({escape(given)})" if given else "")
        line += f"  [cyan]{escape(entry.passes)}[/cyan]"
        about = escape(documented(entry) if names else entry.summary)
        if isinstance(entry, Measure):
            low, high = entry.range
            row |= {
                "higher_is_better": entry.higher_is_better,
                "range": [low, high if high < float("inf") else None],  # JSON knows no infinity
                "needs": entry.wants,
                "caution": entry.caution,
            }
            way = "higher" if entry.higher_is_better else "lower"
            line += f"  {way} is better, {low:g} to {high:g}, needs {', '.join(entry.wants)}"
            about += f"\n[yellow]{escape(entry.caution)}[/yellow]" if entry.caution else ""
        rows.append(row)
        if not as_json:
            out.print(line, highlight=False, soft_wrap=True)
            out.print(Padding(f"{about}\n[dim]{escape(entry.source)}[/dim]", (0, 4)))
    if as_json:
        print(json.dumps(rows))
        return
    out.print("\n[dim]F: forward pass, B: backward pass, h: backward to the layer only[/dim]")
    if kind is Metric:
        out.print("[dim]E: explanation, S: steps, shares, samples, sides or layers[/dim]")
    else:
        out.print("[dim]rule pass: backward pass by the method's own rules[/dim]")
        out.print("[dim]K: channels of the layer, N: samples or masks, T: steps of a path[/dim]")


def documented(entry: Entry) -> str:
    """The whole documentation, each paragraph and option as one line; a metric's with its parts."""
    texts = [
        inspect.getdoc(function) or ""
        for function in entry.functions
        if function is entry.function or options_of(function)
    ]
    # A single end of a line is none, except before an option.
    lines = re.split(r"(\n{2,}|\n(?=[a-z]\w*(?:, \w+)*: ))", "\n\n".join(texts))
    return "".join(" ".join(line.split()) or line for line in lines)
