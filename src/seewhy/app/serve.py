"""The viewer as a web application, and a server for it."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from functools import cache
from io import BytesIO

import gradio as gr
import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from seewhy.app.guard import Guard
from seewhy.app.limits import Limits
from seewhy.app.page import THEME, Viewer, page_of, script, style
from seewhy.app.question import Network, Photo, png, read_photo
from seewhy.app.view import map_data, preview, record_of
from seewhy.data.scenes import SAMPLES, Scene
from seewhy.demo import sample_scenes

LOCAL = ("127.0.0.1", "localhost", "::1")
SPARE = 100_000  # bytes that a request may have beside a photo


def application(
    networks: Mapping[str, Network], limits: Limits | None = None, *, local: bool = True
) -> FastAPI:
    """The viewer of some networks, by label, as an ASGI application.

    local: it answers to this machine's own names alone; False where others may call it.
    """
    limits = limits or Limits()
    viewer = Viewer(networks, limits)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, bytes=limits.bytes + SPARE, hosts=LOCAL if local else ())
    add_routes(app, viewer)
    mounted: FastAPI = gr.mount_gradio_app(
        app,
        page_of(viewer),
        path="/",
        theme=THEME,
        css=style(),
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

    @app.exception_handler(ValueError)
    async def in_words(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 422)

    @app.get("/viewer.js")
    def own_script() -> Response:
        return Response(script(), media_type="text/javascript")

    @app.post("/photos")
    async def give_photo(request: Request, name: str = "") -> JSONResponse:
        photo = await run_in_threadpool(read_photo, await request.body(), name, viewer.limits)
        return accepted(viewer, photo)

    @app.post("/samples/{number}")
    def take_sample(number: int) -> JSONResponse:
        scene = sample(number)
        return accepted(viewer, Photo(scene.image, f"{scene.key}.png"))

    @app.get("/samples/{number}.png")
    def sample_picture(number: int) -> Response:
        return picture(png(sample(number).image.resize((96, 96))))

    @app.get("/photos/{token}.png")
    def photo_shown(token: str) -> Response:
        return picture(preview(viewer.photos[token].image))

    @app.get("/photos/{token}/full.png")
    def photo_full(token: str) -> Response:
        return picture(png(viewer.photos[token].image))

    @app.get("/results/{token}/{index}.map")
    def values(token: str, index: int) -> Response:
        data = map_data(viewer.results[token].chosen(index))
        packed = {"content-encoding": "gzip"}
        return Response(data, media_type="application/octet-stream", headers=packed)

    @app.get("/results/{token}/{index}.png")
    def overlay(token: str, index: int, alpha: float = 0.75, cmap: str = "") -> Response:
        chosen = viewer.results[token].chosen(index)
        return picture(png(chosen.overlay(alpha=alpha, cmap=cmap or None)))

    @app.get("/results/{token}/{index}.npz")
    def saliency(token: str, index: int) -> Response:
        stream = BytesIO()
        chosen = viewer.results[token].chosen(index)
        np.savez_compressed(stream, saliency=chosen.saliency.numpy())
        return Response(stream.getvalue(), media_type="application/octet-stream")

    @app.get("/results/{token}/{index}.json")
    def record(token: str, index: int) -> Response:
        content = json.dumps(record_of(viewer.results[token], index), indent=2)
        return Response(content, media_type="application/json")


def accepted(viewer: Viewer, photo: Photo) -> JSONResponse:
    """A photo is kept; its token, name and size."""
    width, height = photo.image.size
    token = viewer.photos.add(photo)
    return JSONResponse({"photo": token, "name": photo.name, "width": width, "height": height})


def picture(data: bytes) -> Response:
    """A PNG file."""
    return Response(data, media_type="image/png")


def sample(number: int) -> Scene:
    """One of the sample scenes. Raises ValueError where there is none of that number."""
    if not 0 <= number < len(SAMPLES):
        raise ValueError(f"scene {number} does not exist; give 0 to {len(SAMPLES) - 1}")
    return samples()[number]


@cache
def samples() -> list[Scene]:
    """The sample scenes, each drawn once."""
    return sample_scenes()


def listen(host: str, port: int) -> socket.socket:
    """A socket at an address.

    Raises ValueError where the port is in use, or the address is none of this machine's.
    """
    try:
        return socket.create_server((host, port), family=family(host))
    except OSError as error:
        raise ValueError(
            f"cannot listen at {host}:{port} ({error.strerror}); give another --port or --host"
        ) from None


def family(host: str) -> socket.AddressFamily:
    """IPv6 for an address with colons, else IPv4."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def run(app: FastAPI, at: socket.socket) -> None:
    """Serve until interrupted."""
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=3)
    uvicorn.Server(config).run(sockets=[at])
