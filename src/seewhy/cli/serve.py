"""`seewhy serve`: the viewer in the browser."""

from __future__ import annotations

import importlib.util
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from seewhy.cli.common import Device, load, out, usage_errors

if TYPE_CHECKING:
    from seewhy.app.question import Network

BUNDLED = (("scenes:resnet", None), ("scenes:vgg", None))


def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A network that the page may ask, as in `seewhy explain`; repeatable. The bundled "
            "ones are always there."
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            help="Weights: a file, 'random', or 'pretrained' for the zoo's own. Repeatable: as "
            "many as --model, in the same order."
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(help="Address to listen at. 0.0.0.0 lets in everyone who reaches this one."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes one that is free.")] = 7860,
    max_megabytes: Annotated[float, typer.Option(help="Of a photo's file.")] = 20,
    max_megapixels: Annotated[float, typer.Option(help="Of a photo.")] = 16,
    max_seconds: Annotated[
        float, typer.Option(help="Of a job; then it is stopped, if need be with its process.")
    ] = 120,
    max_queue: Annotated[
        int, typer.Option(help="Jobs that may wait for their turn; one runs at a time.")
    ] = 8,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            help="A name that the page may be called by, beside localhost and addresses of "
            "numbers: viewer.example.org, or *.example.org. Repeatable."
        ),
    ] = None,
    allow_frame: Annotated[
        list[str] | None,
        typer.Option(
            help="A site that may show the page in a frame: https://example.org. Repeatable."
        ),
    ] = None,
    device: Device = "cpu",
) -> None:
    """Open the viewer: look at maps in the browser, compare them, and doubt them.

    Everything stays on this machine: no photo is written to disk, and the page loads nothing from
    elsewhere. Stop it with Ctrl+C.
    """
    with usage_errors():
        if importlib.util.find_spec("gradio") is None:
            raise ValueError("the viewer needs Gradio: pip install 'seewhy[app]'")
        from seewhy.app.limits import Limits
        from seewhy.app.serve import application, listen, run

        limits = Limits(max_megabytes, max_megapixels, max_seconds, max_queue)
        networks = allowed(model or [], weights or [], device)
        at = listen(host, port)
    app = application(networks, limits, hosts=[host, *(allow_host or [])], frames=allow_frame or [])
    shown = f"[{host}]" if ":" in host else host
    out.print(f"Seewhy is at [b]http://{escape(shown)}:{at.getsockname()[1]}/[/b]", highlight=False)
    run(app, at)


def allowed(models: list[str], weights: list[str], device: str) -> dict[str, Network]:
    """The bundled networks and those asked for, loaded, each by its label on the page.

    Raises ValueError where there are not as many weights as models.
    """
    from seewhy.app.question import Network

    if weights and len(weights) != len(models):
        raise ValueError(
            f"{len(weights)} --weights for {len(models)} --model; give one for each, 'pretrained' "
            "for the zoo's own"
        )
    files = [None if given == "pretrained" else given for given in weights] or [None] * len(models)
    networks: dict[str, Network] = {}
    for spec, file in dict.fromkeys([*zip(models, files, strict=True), *BUNDLED]):
        label = spec if spec not in networks else f"{spec} ({file or 'pretrained'})"
        again = partial(load, spec, file, None, None, None, None, device)
        networks[label] = Network(again(), file, again)
    return networks
