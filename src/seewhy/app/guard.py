"""A filter in front of the page: which requests are allowed, and how large they may be.

Gradio serves and accepts files by path; the page does not need that, so those routes are closed.
"""

import asyncio
import json
import logging
import re
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from seewhy.aside import give_back
from seewhy.reading import parsed

log = logging.getLogger("seewhy.app")

PAGES = {"/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/viewer.js"}
FOLDERS = (
    "/assets/",
    "/static/",
    "/photos",
    "/samples/",
    "/networks/",
    "/results/",
    "/gradio_api/queue/",
    "/gradio_api/startup-events",
    "/gradio_api/reset",
    "/gradio_api/cancel",
)
JOIN, ANSWERS = "/gradio_api/queue/join", "/gradio_api/queue/data"
QUESTION = 300_000  # bytes of a request that is no photo; a brushed region has a few thousand
LONGEST = 255  # bytes of a path; a file system raises an error for a longer name
AT_ONCE = 120_000_000  # bytes of all requests and answers together that are under way
LARGE = 1_000_000  # bytes after which memory is given back
PIECE = 262_144  # bytes of an answer that are sent at a time
RATE = 125_000  # bytes a second that a slow connection carries, 1 Mbit/s
FOREIGN = (
    "this viewer serves its own page alone; a proxy in front of it has to pass on the Host header "
    "that the browser sends"
)

# The browser itself refuses whatever would lead elsewhere; Gradio builds its page by script.
POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors "
)


class Guard:
    """An ASGI middleware that allows only the requests that the page itself makes.

    app: the application behind it.
    bytes: maximum size of a photo's request.
    hosts: host names of the page, besides localhost and numeric addresses; "*.example.org" stands
        for all names with this ending. So a site that resolves its own name to this machine cannot
        talk to the viewer.
    frames: addresses of sites that may show the page in a frame.
    joins: how many values each of the page's jobs takes, by its number.
    sessions: those that have asked for a job; Gradio breaks off the answers of any other.
    hold: called with the values of a job before it starts to wait.
    patience: seconds within which a request must arrive, and an answer must be taken; and, where
        these are large, what they take at 1 Mbit/s. No part of a request may take longer.
    """

    def __init__(
        self,
        app: ASGIApp,
        bytes: int,
        hosts: Collection[str] = (),
        frames: Sequence[str] = (),
        joins: Mapping[int, int] | None = None,
        sessions: Container[object] = (),
        hold: Callable[[object], None] = lambda values: None,
        patience: float = 30,
    ) -> None:
        self.app, self.bytes, self.hosts = app, bytes, [host.lower() for host in hosts]
        self.policy = POLICY + (" ".join(frames) or "'none'")
        self.joins, self.hold, self.patience = joins or {}, hold, patience
        self.sessions = sessions
        self.under_way = 0
        self.told = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await self.send(message, send)

        try:
            await self.serve(scope, receive, noting)
        except Refused as refusal:
            await refuse(scope, receive, noting, *refusal.args)
        except TimeoutError:
            log.warning("an answer was not taken in %g seconds, and was cut off", self.patience)
        except asyncio.CancelledError:
            log.warning("a request was cut off, as the viewer ends")
        except Exception as error:  # what strangers send may lead anywhere in what serves the page
            log.error("a request failed: %s", type(error).__name__)
            if not begun:
                await refuse(scope, receive, noting, 500, "this request cannot be served")

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; raises Refused for one that the page does not make."""
        path, headers = scope["path"], Headers(scope=scope)
        if (path not in PAGES and not path.startswith(FOLDERS)) or len(path.encode()) > LONGEST:
            raise Refused(404, "there is nothing here")
        self.check_sender(headers)
        asks = QueryParams(scope["query_string"]).get("session_hash")
        if path == ANSWERS and asks not in self.sessions:
            raise Refused(404, "this session has asked nothing")
        self.check_room()
        if scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        limit = self.bytes if path == "/photos" else min(self.bytes, QUESTION)
        with self.counted() as count:
            body = await self.read(receive, headers, limit, count)
            if path.startswith("/gradio_api/") and not self.is_question(path, body):
                raise Refused(403, "the page asks nothing of the kind")
            await self.app(scope, replay(body, receive), send)

    def check_room(self) -> None:
        """Raise Refused while too much is under way."""
        if self.under_way > AT_ONCE:
            raise Refused(503, "too much at once; try again in a minute")

    def check_sender(self, headers: Headers) -> None:
        """Raise Refused for a request to another's name, or from another's page."""
        host, origin = headers.get("host", ""), headers.get("origin")
        try:
            name = urlsplit(f"//{host}").hostname or ""
            from_here = origin is None or urlsplit(origin).netloc.lower() == host.lower()
        except ValueError:
            raise Refused(403, "this is no address") from None
        if not self.knows(name):
            raise Refused(
                403,
                "this viewer is not served under this host name; whoever started it can allow it "
                "with --allow-host",
            )
        if not from_here:
            if not self.told:  # behind such a proxy the page stays empty
                log.warning("a request was refused: %s", FOREIGN)
                self.told = True
            raise Refused(403, FOREIGN)

    def knows(self, name: str) -> bool:
        """Whether the page may be called by a name: numeric addresses always."""
        try:
            ip_address(name.partition("%")[0])
        except ValueError:
            return name == "localhost" or any(fnmatchcase(name, host) for host in self.hosts)
        return True

    def is_question(self, path: str, body: bytes) -> bool:
        """Whether the page may have sent this to Gradio; what a job is about is held for it."""
        try:
            content = parsed(body)
            # Neither NaN nor half a character can be answered.
            json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
            if names_files(content):
                return False
        except (ValueError, RecursionError):
            return False
        if path != JOIN:
            return isinstance(content, dict)
        if not isinstance(content, dict) or not isinstance(values := content.get("data"), list):
            return False
        number, session = content.get("fn_index"), content.get("session_hash")
        known = isinstance(number, int) and self.joins.get(number) == len(values)
        if not known or not re.fullmatch(r"\w{1,64}", str(session), re.ASCII):
            return False
        self.hold(values)
        return True

    @contextmanager
    def counted(self) -> Iterator[Callable[[int], None]]:
        """A function that counts bytes as under way until the end of the context."""
        own = 0

        def count(more: int) -> None:
            nonlocal own
            own += more
            self.under_way += more

        try:
            yield count
        finally:
            self.under_way -= own
            if own > LARGE:
                give_back()

    async def read(
        self, receive: Receive, headers: Headers, limit: int, count: Callable[[int], None]
    ) -> bytes:
        """The body of a request; raises Refused as soon as it proves too large or too slow."""
        too_large = Refused(413, f"at most {limit / 1e6:g} MB are taken")
        announced = headers.get("content-length", "0")
        expected = int(announced[:20]) if announced.isdecimal() else 0
        if expected > limit:
            raise too_large
        patience = self.patience + expected / RATE
        body = bytearray()
        try:
            async with asyncio.timeout(patience):
                while True:
                    async with asyncio.timeout(self.patience):
                        message = await receive()
                    part = message.get("body", b"")
                    count(len(part))
                    body += part
                    if len(body) > limit:
                        raise too_large
                    self.check_room()
                    if not message.get("more_body"):  # the last part, or the end of the connection
                        return bytes(body)
        except TimeoutError:
            raise Refused(408, "this took too long to come") from None

    async def send(self, message: Message, send: Send) -> None:
        """Send a part of an answer; raises TimeoutError where a large one is not taken in time."""
        if message["type"] == "http.response.start":
            # The browser uses no other servers, and other pages do not use this one.
            headers = MutableHeaders(scope=message)
            for name in [name for name in headers if name.startswith("access-control-")]:
                del headers[name]
            headers["content-security-policy"] = self.policy
            headers["cross-origin-resource-policy"] = "same-origin"
            headers["x-content-type-options"] = "nosniff"
            headers["referrer-policy"] = "no-referrer"
        body = message.get("body", b"")
        if len(body) <= PIECE:
            await send(message)
            return
        with self.counted() as count:
            count(len(body))
            async with asyncio.timeout(self.patience + len(body) / RATE):
                for start in range(0, len(body), PIECE):
                    piece = body[start : start + PIECE]
                    more = start + PIECE < len(body) or message.get("more_body", False)
                    await send({"type": message["type"], "body": piece, "more_body": more})


class Refused(Exception):
    """A request that is refused, with a status and a reason."""


async def refuse(scope: Scope, receive: Receive, send: Send, status: int, why: str) -> None:
    """Answer that a request is not served."""
    await JSONResponse({"error": why}, status)(scope, receive, send)


def replay(body: bytes, receive: Receive) -> Receive:
    """A body that was already read, so that it can be read again; then the connection continues."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again


def names_files(value: Any) -> bool:
    """Whether an object in this value has a "path", as Gradio's files do."""
    if isinstance(value, dict):
        return "path" in value or any(map(names_files, value.values()))
    return isinstance(value, list) and any(map(names_files, value))
