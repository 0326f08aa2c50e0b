"""`seewhy serve`: the viewer in the browser."""

from __future__ import annotations

import importlib.util
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from seewhy.cli import options
from seewhy.cli.common import out, usage_errors
from seewhy.models import DEFAULT_MODEL
from seewhy.models.zoos import reads_texts

if TYPE_CHECKING:
    from seewhy.app.query import Network

TEXTS = ("a photo of an animal", "a photo of food", "a photo of a person")
"""What text-image networks look for at first, where nothing else is asked."""

SCENES = ("scenes:resnet", "scenes:vgg", "scenes:vit")


def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A network to offer on the page, as in `seewhy explain`; repeatable. The bundled "
            "networks are always available."
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            help="Weights: a file, 'random', or 'pretrained' for the zoo's weights. Repeatable: "
            "one for each --model, in the same order."
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(help="Address to listen on. 0.0.0.0 lets in everyone on the network."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 chooses a free port.")] = 7860,
    max_megabytes: Annotated[float, typer.Option(help="Maximum size of a photo's file.")] = 20,
    max_megapixels: Annotated[float, typer.Option(help="Maximum size of a photo.")] = 16,
    max_seconds: Annotated[
        float, typer.Option(help="Maximum time of a job, after which it is stopped.")
    ] = 120,
    max_queue: Annotated[
        int, typer.Option(help="Maximum number of waiting jobs; one runs at a time.")
    ] = 8,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            help="A host name of the page besides localhost and numeric addresses: "
            "viewer.example.org, or *.example.org. Repeatable."
        ),
    ] = None,
    allow_frame: Annotated[
        list[str] | None,
        typer.Option(
            help="A site that may show the page in a frame: https://example.org. Repeatable."
        ),
    ] = None,
    classes: options.Classes = None,
    size: options.Size = None,
    mean: options.Mean = None,
    std: options.Std = None,
    activation: options.ActivationName = None,
    text: options.Texts = None,
    device: options.Device = "cpu",
    plugin: options.Plugins = None,
) -> None:
    """Open the viewer: look at maps in the browser, compare them, and check them.

    --classes, --size, --mean, --std and --activation are as in `seewhy explain`, and apply to
    every --model. --text is what text-image networks (CLIP, SigLIP) look for at first; on the page
    you can add texts and remove them.

    Everything stays on this machine: no photo is written to disk, and the page loads nothing from
    other servers. Stop it with Ctrl+C.
    """
    with usage_errors():
        if importlib.util.find_spec("gradio") is None:
            raise ValueError("the viewer needs Gradio: pip install 'seewhy[app]'")
        from seewhy.app.limits import Limits
        from seewhy.app.serve import application, listen, run

        limits = Limits(max_megabytes, max_megapixels, max_seconds, max_queue)
        own = {"classes": classes, "size": size, "mean": mean, "std": std, "activation": activation}
        if not model and any(one is not None for one in (*own.values(), text)):
            raise ValueError(
                "--classes, --size, --mean, --std, --activation and --text need a --model"
            )
        networks = allowed(model or [], weights or [], text, device, **own)
        at = listen(host, port)
    app = application(networks, limits, hosts=[host, *(allow_host or [])], frames=allow_frame or [])
    shown = f"[{host}]" if ":" in host else host
    out.print(f"Seewhy is at [b]http://{escape(shown)}:{at.getsockname()[1]}/[/b]", highlight=False)
    run(app, at)


def allowed(
    models: list[str],
    weights: list[str],
    texts: list[str] | None = None,
    device: str = "cpu",
    **own: Any,
) -> dict[str, Network]:
    """The networks asked for and the bundled ones, loaded, each by its label on the page.

    own: options of `seewhy.cli.options.load` for the networks asked for.

    Raises ValueError where there are not as many weights as models, or texts for no network.
    """
    from seewhy.app.query import Network

    if weights and len(weights) != len(models):
        raise ValueError(
            f"{len(weights)} --weights for {len(models)} --model; give one for each, 'pretrained' "
            "for the zoo's own"
        )
    files = [None if given == "pretrained" else given for given in weights] or [None] * len(models)
    looking = {spec: texts or list(TEXTS) for spec in models if reads_texts(spec)}
    if texts and not looking:
        raise ValueError("--text needs a text-image network: --model hf:… of CLIP or SigLIP")
    asked = {
        (spec, file): partial(
            options.load, spec, file, device=device, texts=looking.get(spec), **own
        )
        for spec, file in zip(models, files, strict=True)
    }
    for spec in (DEFAULT_MODEL, *SCENES):
        asked.setdefault((spec, None), partial(options.load, spec, None, device=device))
    networks: dict[str, Network] = {}
    for (spec, file), again in asked.items():
        label = spec if spec not in networks else f"{spec} ({file or 'pretrained'})"
        networks[label] = Network(again(), file, again)
    return networks
