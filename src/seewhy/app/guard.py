"""What stands between the network and the page: which requests come through, and how large.

Gradio serves and takes files by path; the page uses none of that, so those doors are shut.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGES = {"/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/viewer.js"}
FOLDERS = (
    "/assets/",
    "/static/",
    "/photos",
    "/samples/",
    "/results/",
    "/gradio_api/queue/",
    "/gradio_api/heartbeat/",
    "/gradio_api/startup-events",
    "/gradio_api/reset",
    "/gradio_api/cancel",
)

# The browser itself refuses whatever would lead elsewhere; Gradio builds its page by script.
POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; object-src 'none'; "
    "base-uri 'self'; form-action 'self'"
)


class Guard:
    """An ASGI middleware that lets through what the page itself asks for.

    app: what it guards.
    bytes: of a request's body, at most.
    hosts: names that the page may be called by; empty for any. It keeps a site that points its own
        name at this machine from speaking to the viewer.
    """

    def __init__(self, app: ASGIApp, bytes: int, hosts: Iterable[str] = ()) -> None:
        self.app, self.bytes, self.hosts = app, bytes, frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path, headers = scope["path"], Headers(scope=scope)
        if path not in PAGES and not path.startswith(FOLDERS):
            await refuse(scope, receive, send, 404, "there is nothing here")
        elif not self.may_call(headers):
            await refuse(scope, receive, send, 403, "this viewer serves its own page alone")
        elif scope["method"] != "POST":
            await self.app(scope, receive, with_policy(send))
        elif (body := await read(receive, headers, self.bytes)) is None:
            megabytes = self.bytes / 1e6
            await refuse(scope, receive, send, 413, f"at most {megabytes:g} MB are taken")
        elif path.startswith("/gradio_api/") and names_files(body):
            await refuse(scope, receive, send, 403, "files are not taken by path or address")
        else:
            await self.app(scope, replay(body, receive), with_policy(send))

    def may_call(self, headers: Headers) -> bool:
        """Whether a request was made to a name of ours and, if a page made it, by our own page."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self.hosts:
            return True
        return urlsplit(f"//{host}").hostname in self.hosts and (
            origin is None or urlsplit(origin).netloc == host
        )


async def refuse(scope: Scope, receive: Receive, send: Send, status: int, why: str) -> None:
    """Answer that a request is not served."""
    await JSONResponse({"error": why}, status)(scope, receive, send)


async def read(receive: Receive, headers: Headers, limit: int) -> bytes | None:
    """The body of a request, or None as soon as it proves larger than the limit."""
    announced = headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > limit:
        return None
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > limit:
            return None
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return bytes(body)


def replay(body: bytes, receive: Receive) -> Receive:
    """A body that was read, to be read again; what comes after it is the connection's own."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again


def names_files(body: bytes) -> bool:
    """Whether some value in this JSON might make Gradio open a file or an address."""
    try:
        return has_path(json.loads(body or b"null"))
    except (ValueError, RecursionError):
        return True


def has_path(value: object) -> bool:
    """Whether an object in this value has a "path", as Gradio's files do."""
    if isinstance(value, dict):
        return "path" in value or any(map(has_path, value.values()))
    return isinstance(value, list) and any(map(has_path, value))


def with_policy(send: Send) -> Send:
    """Responses with headers that keep the browser from loading anything from elsewhere."""

    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["content-security-policy"] = POLICY
            headers["x-content-type-options"] = "nosniff"
            headers["referrer-policy"] = "no-referrer"
        await send(message)

    return guarded
