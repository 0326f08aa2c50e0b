"""The viewer as a web application, and a server for it."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from threading import Lock

import gradio as gr
import h11
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from PIL import ImageOps
from uvicorn.protocols.http.h11_impl import H11Protocol

from seewhy.app import view
from seewhy.app.guard import Guard
from seewhy.app.limits import Limits
from seewhy.app.log import calmly
from seewhy.app.page import THEME, Viewer, own_file, page_of
from seewhy.app.query import Network, Photo, fields_of, file_name, measured, numbered, png
from seewhy.data.samples import sample_photos
from seewhy.demo import sample_scenes
from seewhy.draw.overlays import ALPHA

SPARE = 100_000  # bytes that a request may have beside a photo
CONNECTIONS = 500  # at a time; each visitor's page has a few
NARROW = (  # outside of the page's parts, where Gradio lets no rule of `css` reach
    "<style>@media (max-width: 520px) {"
    " .gradio-container > .main { padding-inline: .8rem !important; } }</style>"
)
MAKING = Lock()  # of the samples, which a page asks for all at once


def application(
    networks: Mapping[str, Network],
    limits: Limits = Limits(),
    *,
    hosts: Collection[str] = (),
    frames: Sequence[str] = (),
) -> FastAPI:
    """The viewer of some networks, by label, as an ASGI application.

    hosts: names that it answers to beside localhost and addresses of numbers; "*.example.org" for
        all that end so.
    frames: addresses of sites that may show it in a frame.
    """
    viewer = Viewer(networks, limits)
    page = page_of(viewer)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        viewer.close()  # else the server waits for the job of now

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.add_middleware(
        Guard,
        bytes=limits.bytes + SPARE,
        hosts=hosts,
        frames=frames,
        joins={number: len(job.inputs) for number, job in page.fns.items() if job.fn},
        sessions=page._queue.pending_messages_per_session,
        hold=viewer.hold,
        patience=limits.patience,
    )
    add_routes(app, viewer)
    app.state.start = viewer.start
    mounted: FastAPI = gr.mount_gradio_app(
        app,
        page,
        path="/",
        theme=THEME,
        css=own_file("viewer.css"),
        head=NARROW,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        show_error=False,
    )
    return mounted


def add_routes(app: FastAPI, viewer: Viewer) -> None:
    """Photos in, and photos, maps and downloads out: all from memory, by token."""
    made = viewer.pictures.made

    @app.exception_handler(ValueError)
    async def in_words(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 422)

    @app.get("/viewer.js")
    def own_script() -> Response:
        return Response(own_file("viewer.js"), media_type="text/javascript")

    @app.post("/photos")
    async def give_photo(request: Request, name: str = "") -> JSONResponse:
        data = await request.body()
        size = await made(request, measured, data, viewer.limits)
        return accepted(viewer, Photo(data, file_name(name), size), request)

    @app.post("/samples/{number}")
    def take_sample(request: Request, number: int) -> JSONResponse:
        return accepted(viewer, numbered("sample", samples(), number), request)

    @app.get("/samples/{number}.png")
    def sample_picture(number: int) -> Response:
        photo = numbered("sample", samples(), number)
        return picture(png(ImageOps.fit(photo.image, (96, 96))))

    @app.get("/networks/{place}/classes.json")
    def classes(place: int) -> JSONResponse:
        network = numbered("network", [*viewer.networks.values()], place)
        return JSONResponse(view.class_names(network))

    @app.get("/photos/{token}.png")
    async def photo(request: Request, token: str) -> Response:
        return picture(await made(request, view.photo_shown, viewer.photos[token]))

    @app.get("/photos/{token}/full.png")
    async def whole_photo(request: Request, token: str) -> Response:
        return picture(await made(request, view.photo_whole, viewer.photos[token]))

    @app.get("/results/{token}/{index}.map")
    async def values(request: Request, token: str, index: int) -> Response:
        chosen = viewer.results[token].chosen(index)
        data = await made(request, view.levels_of, chosen.saliency)
        packed = {"content-encoding": "gzip"}
        return Response(data, media_type="application/octet-stream", headers=packed)

    @app.get("/results/{token}/{index}.png")
    async def overlay(
        request: Request, token: str, index: int, alpha: float = ALPHA, cmap: str = ""
    ) -> Response:
        result = viewer.results[token]
        fields = fields_of(result.chosen(index))
        return picture(await made(request, view.map_drawn, result.query.photo, fields, alpha, cmap))

    @app.get("/results/{token}/{index}.npz")
    async def saliency(request: Request, token: str, index: int) -> Response:
        chosen = viewer.results[token].chosen(index)
        data = await made(request, view.map_saved, chosen.saliency)
        return Response(data, media_type="application/octet-stream")

    @app.get("/results/{token}/{index}.json")
    def record(token: str, index: int) -> Response:
        content = json.dumps(view.record_of(viewer.results[token], index), indent=2)
        return Response(content, media_type="application/json")


def accepted(viewer: Viewer, photo: Photo, request: Request) -> JSONResponse:
    """A photo is kept; its token, name and size."""
    width, height = photo.size
    token = viewer.keep(photo, visitor(request))
    return JSONResponse({"photo": token, "name": photo.name, "width": width, "height": height})


def visitor(request: Request) -> str:
    """Who asks, as the page calls itself; all that do not say share one visitor's room."""
    name = request.headers.get("x-visitor", "")
    return name if re.fullmatch(r"\w{1,64}", name, re.ASCII) else ""


def picture(data: bytes) -> Response:
    """A PNG file, which the browser does not keep on its disk either."""
    return Response(data, media_type="image/png", headers={"cache-control": "no-store"})


def samples() -> list[Photo]:
    """The sample scenes and then the photos, each made once; see `page.offered`."""
    with MAKING:
        return made_samples()


@cache
def made_samples() -> list[Photo]:
    """All samples, made anew by each of the threads that ask before they are there."""
    scenes = [(scene.image, scene.key) for scene in sample_scenes()]
    photos = [(one.image, one.name) for one in sample_photos().values()]
    return [Photo(png(image), f"{name}.png", image.size) for image, name in (*scenes, *photos)]


def listen(host: str, port: int) -> socket.socket:
    """A socket at an address.

    Raises ValueError where the port is in use, or the address is none of this machine's.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ValueError(
            f"cannot listen at {host}:{port} ({error.strerror}); give another --port or --host"
        ) from None


class Punctual(H11Protocol):
    """HTTP whose next request must have begun when `timeout_keep_alive` is over, head and all.

    Else those who connect and ask nothing, or never to the end, would take up all connections.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request as for any other."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def data_received(self, data: bytes) -> None:
        """Take what has come; the wait ends with a request, not with its first byte."""
        self.conn.receive_data(data)
        self.handle_events()
        if self.conn.their_state is not h11.IDLE:  # older versions of uvicorn go on waiting
            self._unset_keepalive_if_required()


def run(app: FastAPI, at: socket.socket) -> None:
    """Serve until interrupted."""
    app.state.start()
    config = uvicorn.Config(
        app,
        http=Punctual,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=3,
        limit_concurrency=CONNECTIONS,
    )
    with calmly():
        uvicorn.Server(config).run(sockets=[at])
