"""What the tests of the viewer share."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from PIL import Image

from seewhy.app.limits import Limits
from seewhy.app.page import Viewer
from seewhy.app.query import Network

THOUSAND = tuple(f"thing number {index}" for index in range(1000))
LIMITS = Limits(megabytes=1, megapixels=0.5, seconds=60, queue=4, maps=6, photos=8, results=4)


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"), dtype=int)


@contextmanager
def opened(networks: Mapping[str, Network]) -> Iterator[Viewer]:
    """A viewer of these networks, whose processes end with it."""
    viewer = Viewer(networks, LIMITS)
    yield viewer
    viewer.close()


@contextmanager
def served(networks: Mapping[str, Network]) -> Iterator[str]:
    """Where a viewer of these networks listens."""
    import uvicorn

    from seewhy.app.serve import application, listen

    at = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(application(networks, LIMITS), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [at]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{at.getsockname()[1]}"
    server.should_exit = server.force_exit = True
    thread.join(10)
