"""Floods of the viewer, and what they take of memory.

    python scripts/attacks/viewer_flood.py [GOAL in MB, 2000]

Each flood meets a viewer that has just been started. The memory is that of all its processes, what
they share counted for each; its peak, and what is left ten seconds after. During the flood another
visitor explains a scene.
"""

from __future__ import annotations

import io
import json
import os
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image
from viewer import Viewer, bomb, serving


def parallel(count: int, act: Callable[[int], object]) -> Counter[str]:
    """What came of so many calls at once."""

    def one(number: int) -> str:
        try:
            return str(act(number))
        except OSError as error:
            return type(error).__name__

    with ThreadPoolExecutor(count) as threads:
        return Counter(threads.map(one, range(count)))


def uploads(data: bytes, count: int, visitors: bool) -> Callable[[Viewer], Counter[str]]:
    """The same photo so many times at once, by one visitor or by as many."""

    def act(viewer: Viewer) -> Counter[str]:
        def give(number: int) -> int:
            headers = {"x_visitor": f"v{number}"} if visitors else {}
            return viewer.post("/photos?name=a.png", data, **headers)[0]

        return parallel(count, give)

    return act


def slow_bodies(count: int, size: int) -> Callable[[Viewer], Counter[str]]:
    """Requests whose bodies come almost whole, and then nothing."""

    def act(viewer: Viewer) -> Counter[str]:
        def send(number: int) -> str:
            with socket.create_connection(("127.0.0.1", viewer.port), 120) as one:
                head = f"POST /photos HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {size}\r\n\r\n"
                one.sendall(head.encode())
                part = bytes(250_000)
                for _ in range(size // len(part) - 1):
                    one.sendall(part)
                return one.recv(12).decode()[-3:] or "closed"

        return parallel(count, send)

    return act


def unread(count: int) -> Callable[[Viewer], Counter[str]]:
    """Downloads of a large picture that nobody reads."""

    def act(viewer: Viewer) -> Counter[str]:
        noise = np.random.default_rng(0).integers(0, 256, (3900, 4000, 3), np.uint8)
        stream = io.BytesIO()
        Image.fromarray(noise).save(stream, "JPEG", quality=80)
        token = viewer.give(stream.getvalue())

        def ask(number: int) -> str:
            with socket.create_connection(("127.0.0.1", viewer.port), 200) as one:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                one.sendall(
                    f"GET /photos/{token}/full.png HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
                )
                time.sleep(60)
                return one.recv(12).decode()[-3:] or "closed"

        return parallel(count, ask)

    return act


def questions(count: int) -> Callable[[Viewer], Counter[str]]:
    """Large questions, of values that are many in memory."""

    def act(viewer: Viewer) -> Counter[str]:
        number = viewer.numbers()["explain"]
        data = json.dumps(
            {"data": [[[]] * 450_000, 1, 2, 3, 4, 5], "fn_index": number, "session_hash": "x"}
        ).encode()
        return parallel(
            count,
            lambda _: viewer.post("/gradio_api/queue/join", data, content_type="application/json")[
                0
            ],
        )

    return act


def jobs(count: int) -> Callable[[Viewer], Counter[str]]:
    """As many large jobs as there are visitors, each for a large photo."""

    def act(viewer: Viewer) -> Counter[str]:
        data = bomb(4000, 4000)

        def ask(number: int) -> str:
            token = viewer.give(data, f"v{number}")
            values = [token, "scenes:resnet", [], ["tsgb", "grad_cam"], [], -1, 3]
            status, _ = viewer.ask("explain", values, f"s{number}")
            if status != 200:
                return f"join {status}"
            answer = viewer.answer(f"s{number}", 300)
            return "explained" if '"success":true' in answer.replace(" ", "") else "not explained"

        return parallel(count, ask)

    return act


def drawings(count: int) -> Callable[[Viewer], Counter[str]]:
    """Pictures of a large map, all at once."""

    def act(viewer: Viewer) -> Counter[str]:
        token = viewer.give(bomb(4000, 4000))
        viewer.ask("explain", [token, "scenes:resnet", [], ["tsgb"], [], -1, -2], "s")
        answer = viewer.answer("s", 120)
        result = answer.partition('"result":')[2].replace(" ", "").split('"')[1]
        return parallel(
            count, lambda n: viewer.get(f"/results/{result}/0.png?alpha=0.{n + 1}", 300)[0]
        )

    return act


def heads(count: int) -> Callable[[Viewer], Counter[str]]:
    """Connections that only begin."""

    def act(viewer: Viewer) -> Counter[str]:
        def begin(number: int) -> str:
            with socket.create_connection(("127.0.0.1", viewer.port), 60) as one:
                one.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 60_000)
                time.sleep(15)
                return "held"

        return parallel(count, begin)

    return act


def scans(count: int, scans: int) -> Callable[[Viewer], Counter[str]]:
    """Progressive JPEGs with so many scans: small files that take long to decode."""
    stream = io.BytesIO()
    Image.new("L", (4000, 4000)).save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    starts = [i for i in range(len(data) - 1) if data[i : i + 2] == b"\xff\xda"]
    last = data[starts[-1] : -2]
    bombs = data[:-2] + last * scans + data[-2:]
    return uploads(bombs, count, True)


FLOODS: dict[str, Callable[[Viewer], Counter[str]]] = {
    "60 uploads of 16 megapixels in 62 kB, one visitor": uploads(bomb(4000, 4000), 60, False),
    "60 uploads of 16 megapixels in 62 kB, 60 visitors": uploads(bomb(4000, 4000), 60, True),
    "60 uploads of 16 megapixels with transparency": uploads(bomb(4000, 4000, "RGBA"), 60, True),
    "60 uploads of 16 megapixels of 16 bits": uploads(bomb(4000, 4000, "I;16"), 60, True),
    "60 uploads of 1 x 16,000,000": uploads(bomb(1, 16_000_000), 60, True),
    "60 uploads of 530 x 30,000": uploads(bomb(530, 30_000), 60, True),
    "60 uploads of 20 MB of nothing": uploads(bytes(20_000_000), 60, True),
    "60 bodies of 20 MB that stop before their end": slow_bodies(60, 20_000_000),
    "6 JPEGs of 2,000 scans": scans(6, 2000),
    "60 large pictures that nobody reads": unread(60),
    "60 questions of 2 MB": questions(60),
    "30 visitors explain 16 megapixels": jobs(30),
    "60 drawings of a map of 16 megapixels": drawings(60),
    "300 connections that only begin": heads(300),
}


def main(goal: int) -> int:
    """All floods, or those that have a word of the environment's FLOOD in them."""
    bad = 0
    asked = os.environ.get("FLOOD", "")
    print(f"{'flood':52} {'before':>7} {'peak':>7} {'after':>7}  seconds  what came of it")
    for name, flood in FLOODS.items():
        if asked not in name:
            continue
        with serving() as viewer:
            viewer.ask(
                "explain",
                [viewer.give(bomb(64, 64)), "scenes:resnet", [], ["tsgb"], [], -1, -2],
                "w",
            )
            viewer.answer("w", 120)  # so that all its processes are there
            before = viewer.memory()
            viewer.peak = 0
            other: list[str] = []

            def bystander(viewer: Viewer = viewer, other: list[str] = other) -> None:
                time.sleep(1)
                status, body = viewer.post("/samples/0", b"", x_visitor="other")
                if status != 200:
                    other.append(f"no photo ({status})")
                    return
                token = json.loads(body)["photo"]
                for go in range(40):
                    status, _ = viewer.ask(
                        "explain", [token, "scenes:resnet", [], ["tsgb"], [], -1, -2], f"o{go}"
                    )
                    if status == 200:
                        said = viewer.answer(f"o{go}", 400).replace(" ", "")
                        if '"success":true' in said:
                            other.append("explained")
                            return
                    time.sleep(2)
                other.append("not explained")

            thread = threading.Thread(target=bystander)
            thread.start()
            begun = time.monotonic()
            came = flood(viewer)
            seconds = time.monotonic() - begun
            thread.join()
            time.sleep(10)
            after, alive = viewer.memory(), viewer.alive()
            lines = len(viewer.said().splitlines())
            if lines >= 200:
                print(viewer.said()[:3000])
            fine = viewer.peak < goal * 1e6 and alive and other == ["explained"] and lines < 200
            bad += not fine
            sizes = "".join(f"{size / 1e6:7.0f} " for size in (before, viewer.peak, after))
            said = ", ".join(f"{count} {what}" for what, count in came.most_common())
            print(
                f"{name:52} {sizes} {seconds:7.0f}  {said}; a bystander: {other}; "
                f"log: {lines} lines"
                f"{'' if fine else '  BAD'}{'' if alive else '  DEAD'}",
                flush=True,
            )
    print(f"{bad} floods beyond {goal} MB, or that cost a bystander something")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(int([*sys.argv[1:], "2000"][0])))
