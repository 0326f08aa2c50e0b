"""The page: what stands where, and which values go to which function."""

import logging
import re
import traceback
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from html import escape
from importlib.resources import files
from typing import Any, cast, get_args

import gradio as gr
from gradio.context import LocalContext

from seewhy.app import show
from seewhy.app.code import as_command, as_python
from seewhy.app.jobs import START, Jobs, Pictures, checks, explain, hidden
from seewhy.app.limits import Limits
from seewhy.app.query import (
    LONGEST_TEXT,
    MOST_TEXTS,
    NOTHING,
    PREDICTED,
    Network,
    Photo,
    Result,
    query_of,
    texts_of_page,
)
from seewhy.app.store import Store
from seewhy.app.view import palettes, view_of
from seewhy.data.images import SUFFIXES
from seewhy.data.samples import sample_photos
from seewhy.data.scenes import SAMPLES
from seewhy.naming import DEFAULT_METHOD, list_refinements
from seewhy.trust import Check
from seewhy.trust.hiding import Fill
from seewhy.trust.lights import caution

log = logging.getLogger("seewhy.app")

FILLS = get_args(Fill)
THEME = gr.themes.Default(
    primary_hue="blue",
    neutral_hue="slate",
    font=["system-ui", "sans-serif"],  # the system's own: nothing is fetched
    font_mono=["ui-monospace", "monospace"],
).set(  # darker than Gradio's own on white, lighter on black, to be legible: a contrast of 4.5
    body_text_color_subdued="*neutral_500",
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_hover="*primary_700",
    link_text_color_dark="*secondary_400",
    link_text_color_hover_dark="*secondary_300",
)
HEAD = '<script src="viewer.js"></script>'
INTRODUCTION = """# Seewhy
See which parts of a photo are evidence for a class. Compare methods, and check the maps."""


class Viewer:
    """What one viewer serves: its networks and limits, and the photos and results it remembers."""

    def __init__(self, networks: Mapping[str, Network], limits: Limits) -> None:
        self.networks, self.limits = dict(networks), limits
        self.photos: Store[Photo] = Store("photo", limits.photos, limits.memory * 1e6)
        self.results: Store[Result] = Store("result", limits.results, limits.memory * 1e6)
        self.jobs, self.pictures = Jobs(self.networks, limits.seconds), Pictures()

    def start(self) -> None:
        """Begin the processes of jobs and pictures, which else the first visitor waits for."""
        self.jobs.start()
        self.pictures.start()

    def close(self) -> None:
        """End these processes, whatever they are doing."""
        self.jobs.close()
        self.pictures.close()

    def keep(self, photo: Photo, visitor: str) -> str:
        """Remember a visitor's photo; its token. Raises ValueError where there is no room."""
        return self.photos.add(photo, visitor, len(photo.content))

    def hold(self, values: object) -> None:
        """What a job that now waits is about, by the tokens in its values, stays until it begins.

        However many wait before it, and whatever its visitor gives in the meantime.
        """
        seconds = (self.limits.queue + 2) * (self.limits.seconds + START)
        for token in tokens(values):
            self.photos.hold(token, seconds)
            self.results.hold(token, seconds)

    def begin(self, value: object) -> None:
        """What a job that now begins is about, by the tokens in its value, may go after it."""
        for token in tokens(value):
            self.photos.begin(token)
            self.results.begin(token)

    def network(self, label: object) -> Network:
        """A network of the list. Raises ValueError for any other label."""
        if not isinstance(label, str) or label not in self.networks:
            raise ValueError(f"unknown network; there are {', '.join(self.networks)}")
        return self.networks[label]

    def remembered(self, kept: object) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """What was chosen before the page was loaded again: network, methods, refinements."""
        network, methods, refinements = (
            kept if isinstance(kept, list) and len(kept) == 3 else [None] * 3
        )
        return (
            gr.update(value=network) if network in list(self.networks) else gr.skip(),
            gr.update(value=methods) if isinstance(methods, list) else gr.skip(),
            gr.update(value=refinements) if isinstance(refinements, list) else gr.skip(),
        )

    def explain(
        self,
        photo: object,
        network: object,
        texts: object,
        methods: object,
        refinements: object,
        first: object,
        second: object,
        progress: gr.Progress = gr.Progress(),
    ) -> tuple[dict[str, Any], str, str, str]:
        """The maps, what the network sees, and the same call as Python and as a command line."""

        def report(what: str, done: int, total: int) -> None:
            if has_left():
                raise ValueError("stopped, as the page that asked was closed or loaded again")
            progress(done / total, desc=f"{what}: {done} of {total}")

        self.begin(photo)
        with in_words("explaining"):
            if photo is None:
                raise ValueError("there is no photo yet; give one, or take a sample")
            visitor = self.photos.owner(photo)
            query = query_of(
                self.network(network),
                self.photos[photo],
                methods,
                refinements,
                (PREDICTED if first is None else first, NOTHING if second is None else second),
                self.limits,
                texts,
            )
            result = explain(self.jobs, query, report)
            assert isinstance(photo, str)
            token = self.results.add(result, visitor, result.bytes)
            return view_of(result, token, photo), *beside(result)

    def shown(self, view: object) -> tuple[Any, Any, Any]:
        """What stands beside the maps that a page shows again, as it was loaded again."""
        self.begin(view)
        try:
            return beside(self.results[view.get("result") if isinstance(view, dict) else None])
        except ValueError:  # it is no longer remembered
            return gr.skip(), gr.skip(), gr.skip()

    def check(self, view: object) -> Iterator[str]:
        """The checks of the map chosen on the page, as they become ready."""
        self.begin(view)
        with in_words("checking a map"):
            if not isinstance(view, dict):
                raise ValueError("there is no map yet; explain a photo first")
            result = self.results[view.get("result")]
            index: Any = view.get("chosen")
            chosen = result.chosen(index)
            (method, target), query = result.pairs[index], result.query
            work = partial(checks, query.photo, method, target)
            # The checks stay on the page beneath the maps of the next photo.
            about = f"{method} for {chosen.target} in {query.photo.name}, {chosen.model}"
            done: list[Check] = []
            yield show.checks(done, about, caution(chosen.model))
            for found in self.jobs.run(work, query.network, query.texts):
                done.append(found)
                yield show.checks(done, about, caution(chosen.model))

    def ask(self, brushed: object, network: object, texts: object, fill: object) -> str:
        """How the probabilities move with the brushed region hidden, and what was looked at."""
        self.begin(brushed)
        with in_words("asking the network"):
            if not isinstance(brushed, dict) or not isinstance(brushed.get("photo"), str):
                raise ValueError("there is no photo yet; give one, or take a sample")
            photo, asked = self.photos[brushed["photo"]], self.network(network)
            wanted = texts_of_page(asked, texts)
            drawn = re.fullmatch(r"data:image/png;base64,([\w+/=]+)", str(brushed.get("mask")))
            if not drawn:
                raise ValueError("nothing is brushed yet; brush over what should be hidden")
            kind = cast(Fill, fill)  # which is looked at where it is used
            work = partial(hidden, photo, b64decode(drawn[1]), kind)
            (found,) = self.jobs.run(work, asked, wanted)
            return show.changes(*found, values=asked.named(wanted).activation == "none")


def has_left() -> bool:
    """Whether the page that asked for the running job was closed or loaded again."""
    blocks, job = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    event = None if blocks is None else blocks._queue.event_ids_to_events.get(str(job))
    return event is not None and not event.alive


def beside(result: Result) -> tuple[str, str, str]:
    """What the network sees, and the query as Python and as a command line."""
    query = result.query
    sees = show.predictions(result.answer, query.network.model.name)
    return sees, as_python(query), as_command(query)


def tokens(values: object) -> Iterator[str]:
    """The texts among a job's values, in which tokens are."""
    if isinstance(values, str):
        yield values
    elif isinstance(values, dict | list):
        for value in values.values() if isinstance(values, dict) else values:
            yield from tokens(value)


@contextmanager
def in_words(doing: str) -> Iterator[None]:
    """Errors as words on the page, and in the log without the photo or its name."""
    try:
        yield
    except ValueError as error:
        log.warning(f"{doing}: %s", error)
        raise gr.Error(escape(str(error)), print_exception=False) from None
    except Exception as error:
        places = [*traceback.format_tb(error.__traceback__), *getattr(error, "__notes__", ())]
        where = "".join(places)
        log.error(f"{doing} failed: %s\n%s", type(error).__name__, where)
        message = f"{doing} failed ({type(error).__name__}); the log of the viewer says where"
        raise gr.Error(escape(message), print_exception=False) from None


def kind(network: Network) -> str:
    """Which samples a network was made for."""
    return "scenes" if network.model.name.startswith("scenes:") else "photos"


def offered() -> list[tuple[str, str]]:
    """The kind of each sample, and what it shows, in the order of `serve.samples`."""
    scenes = [("scenes", f"Sample scene {number}") for number in range(1, len(SAMPLES) + 1)]
    return scenes + [("photos", f"Sample photo: {name}") for name in sample_photos()]


def own(script: str, name: str = "", **props: Any) -> gr.HTML:
    """A part of the page that a function of viewer.js fills."""
    return gr.HTML(
        None,
        html_template=f'<div class="seewhy-{script}"></div>',
        js_on_load=f"seewhy.{script}(element, props, watch)",
        head=HEAD,
        apply_default_css=False,
        elem_id=name or script,
        **props,
    )


def page_of(viewer: Viewer) -> gr.Blocks:
    """The page of a viewer. Events are private to it and wait in one queue of bounded length."""
    labels = list(viewer.networks)
    fits = {label: kind(network) for label, network in viewer.networks.items()}
    looking = {label: one.texts for label, one in viewer.networks.items() if one.texts}
    limits = viewer.limits
    job: dict[str, Any] = {
        "concurrency_id": "network",
        "concurrency_limit": 1,
        "api_visibility": "private",
    }
    page: gr.Blocks = gr.Blocks(title="Seewhy", analytics_enabled=False, fill_width=True)
    with page:
        gr.Markdown(INTRODUCTION, elem_id="head")
        with gr.Row(equal_height=False):
            with gr.Column(scale=1, min_width=320, elem_id="question"):
                photo = own(
                    "photo",
                    samples=offered(),
                    fits=fits,
                    megabytes=limits.megabytes,
                    suffixes=",".join(sorted({*SUFFIXES, ".npy"})),
                )
                network = gr.Dropdown(labels, value=labels[0], label="Network", elem_id="network")
                texts = own("texts", first=looking, most=MOST_TEXTS, longest=LONGEST_TEXT)
                chosen = gr.Dropdown(
                    [name for names in show.groups().values() for name in names],
                    value=[DEFAULT_METHOD, "le_grad" if labels[0] in looking else "tsgb"],
                    multiselect=True,
                    allow_custom_value=True,
                    label="Methods",
                    info="or type a method with options: rise(masks=500), grad_cam+gradual",
                    elem_id="methods",
                )
                gr.HTML(show.methods(), elem_id="about-methods")
                refined = gr.Dropdown(
                    list_refinements(),
                    value=[],
                    multiselect=True,
                    label="Refine each with",
                    elem_id="refinements",
                )
                first = own(
                    "classes",
                    "first",
                    label="Explain the class",
                    none=["the predicted class", PREDICTED],
                )
                second = own("classes", "second", label="compared with", none=["none", NOTHING])
                run = gr.Button("Explain", variant="primary", elem_id="explain")
                sees = gr.HTML(elem_id="sees")
            with gr.Column(scale=3, min_width=340, elem_id="answer"):
                status = gr.HTML(elem_id="status")
                maps = own("maps", palettes=palettes())
                with gr.Tabs():
                    with gr.Tab("Can I trust it?", id="trust"):
                        gr.Markdown(
                            "Checks of the selected map. The rules of the lights were measured on "
                            "scenes; a light is a hint, not a proof."
                        )
                        doubt = gr.Button("Check the selected map", elem_id="doubt")
                        verdicts = gr.HTML(elem_id="verdicts")
                    with gr.Tab("Hide a part", id="ask"), gr.Row(equal_height=False):
                        with gr.Column(min_width=300):
                            brush = own("brush")
                        with gr.Column(min_width=300):
                            fill = gr.Radio(
                                FILLS, value=FILLS[0], label="Fill with", elem_id="fill"
                            )
                            ask = gr.Button("Hide it and compare", elem_id="ask-network")
                            moved = gr.HTML(elem_id="moved", min_height=90)
                    with gr.Tab("Code", id="code"):
                        python = gr.Code(
                            label="Python",
                            language="python",
                            wrap_lines=True,
                            buttons=["copy"],
                            elem_id="python",
                        )
                        command = gr.Code(
                            label="Command line",
                            language="shell",
                            wrap_lines=True,
                            lines=1,
                            buttons=["copy"],
                            elem_id="command",
                        )
        network.change(None, network, None, js="label => { seewhy.fit(label) }")
        choices = [network, chosen, refined]
        kept = gr.BrowserState(None, storage_key="seewhy", secret="seewhy")
        gr.on(
            [one.change for one in choices],
            None,
            choices,
            kept,
            js="(...chosen) => [chosen]",
        )
        page.load(
            viewer.remembered, kept, choices, show_progress="hidden", api_visibility="private"
        )
        page.load(
            viewer.shown,
            maps,
            [sees, python, command],
            js="() => [JSON.parse(sessionStorage.getItem('seewhy-view'))]",
            show_progress="hidden",
            api_visibility="private",
        )
        run.click(
            viewer.explain,
            [photo, network, texts, chosen, refined, first, second],
            [maps, sees, python, command],
            show_progress_on=status,
            **job,
        )
        doubt.click(viewer.check, maps, verdicts, show_progress="hidden", **job)
        ask.click(viewer.ask, [brush, network, texts, fill], moved, show_progress_on=moved, **job)
    page.queue(max_size=limits.queue, api_open=False)
    return page


def own_file(name: str) -> str:
    """The page's own script or style."""
    return files("seewhy.app").joinpath(name).read_text(encoding="utf-8")
