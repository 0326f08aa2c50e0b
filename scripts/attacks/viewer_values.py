"""Requests to the viewer with values of the wrong kind: answers in words, memory as it was.

    python scripts/attacks/viewer_values.py [REQUESTS, 5000] [SEED, 0]

Bodies, tokens, indices, options and headers are drawn from values that no page sends, put into
requests that a page does send. Each answer has a status below 500, names no place in the code, and
so has the log; jobs that are taken end in words. Memory is that of all of the viewer's processes,
after half of the requests and at their end.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Callable
from http.client import IncompleteRead
from typing import Any
from urllib.parse import quote

from victim import Outcomes
from viewer import Viewer, bomb, serving

GROWTH = 40_000_000  # bytes that the processes may have more at the end
CODE = re.compile(rb'Traceback|File "|\.py", line|site-packages')
DEEP: Any = None
for _ in range(900):
    DEEP = [DEEP]
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2**31, -(2**63), 2**64, 10**400, 0.5, -0.0, 1e308, float("nan"),
    float("inf"), "", " ", "0", "grad_cam", "\0", "\ud800", "\u202e", "a" * 10_000, "../etc/passwd",
    "{}", "null", [], {}, [[]], [None], [1, "a"], {"": None}, {"result": 0}, {"result": []},
    {"result": None, "chosen": "0"}, {"photo": 1, "mask": 2}, {"photo": "x", "mask": "y"},
    {"__class__": "x"}, {"data": []}, DEEP, ["grad_cam"] * 1000, {str(i): i for i in range(1000)},
    ["grad_cam(steps=[])"], ["grad_cam+" * 50], "data:image/png;base64,AAAA",
]  # fmt: skip
PARTS = [
    "", "0", "-1", "1e3", "0x1", "9" * 30, "NaN", "true", "%00", "%2e%2e", "%ff%fe", "a" * 3000,
    "\u0663", "null", "[]", "{}", "%0d%0aX: y", "0.png", "*",
]  # fmt: skip
MASK = "data:image/png;base64,AAAA"
PATHS = [
    "/photos/{}.png", "/photos/{}/full.png", "/results/{}/{}.map", "/results/{}/{}.png",
    "/results/{}/{}.npz", "/results/{}/{}.json", "/samples/{}.png", "/samples/{}",
    "/networks/{}/classes.json", "/{}", "/gradio_api/{}", "/gradio_api/queue/{}",
    "/gradio_api/queue/data?session_hash={}", "/gradio_api/heartbeat/{}", "/assets/{}",
    "/static/{}", "/photos?name={}",
]  # fmt: skip
OPTIONS = ["alpha", "cmap", "name", "session_hash", "index", "token", ""]
HEADERS = ["x_visitor", "content_type", "accept_encoding", "range", "cookie", "if_none_match"]
SAID = ["", "a", "0", "x" * 4000, "application/json", "bytes=0-", "bytes=9999-", "\xff", "a=b; c"]


def text(value: Any) -> bytes:
    return json.dumps(value).encode()


class Attack:
    """One viewer, a photo and a map of it, and what is drawn against them."""

    def __init__(self, viewer: Viewer, draw: random.Random) -> None:
        self.viewer, self.draw = viewer, draw
        self.numbers = viewer.numbers()
        self.takes = {"explain": 7, "check": 1, "ask": 4, "remembered": 1, "shown": 1}
        self.photo = viewer.give(bomb(64, 48)) or ""
        values = [self.photo, "scenes:resnet", [], ["grad_cam"], [], -1, -2]
        viewer.ask("explain", values, "first")
        found = re.search(r'"result": ?"([\w-]+)"', viewer.answer("first", 60))
        assert found, "the viewer explains nothing"
        self.result = found[1]

    def any(self) -> Any:
        return self.draw.choice([*VALUES, self.photo, self.result])

    def get(self) -> tuple[int, bytes, dict[str, str]]:
        known = [*PARTS, self.photo, self.result, "0"]
        path = self.draw.choice(PATHS)
        path = path.format(*(self.draw.choice(known) for _ in range(path.count("{}"))))
        if self.draw.random() < 0.5:
            value = quote(str(self.any())[:2000], errors="replace")
            path += ("&" if "?" in path else "?") + f"{self.draw.choice(OPTIONS)}={value}"
        path = quote(path, safe="/?&=%")
        headers = {self.draw.choice(HEADERS): self.draw.choice(SAID)}
        kind = self.draw.choice(["GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
        body = text(self.any()) if kind in ("POST", "PUT") else None
        return self.viewer.request(kind, path, body, 5, **headers)

    def upload(self) -> tuple[int, bytes, dict[str, str]]:
        body = self.draw.choice(
            [text(self.any()), b"\x89PNG\r\n\x1a\n" + self.draw.randbytes(200), b"", bomb(9, 9)]
        )
        headers = {self.draw.choice(HEADERS): self.draw.choice(SAID)}
        name = quote(str(self.any())[:500], errors="replace")
        return self.viewer.request("POST", f"/photos?name={name}", body, 30, **headers)

    def json(self) -> tuple[int, bytes, dict[str, str]]:
        path = self.draw.choice(["join", "join", "data", "cancel", "reset", "startup-events"])
        path = f"/gradio_api/{'queue/' if path in ('join', 'data') else ''}{path}"
        fields = ["data", "fn_index", "session_hash", "event_id", "trigger_id", "event_data"]
        body: Any = {key: self.any() for key in self.draw.sample(fields, self.draw.randint(0, 6))}
        if self.draw.random() < 0.2:
            body = self.any()
        content = text(body)
        if self.draw.random() < 0.2:
            content = content[: self.draw.randint(0, len(content))] + self.draw.randbytes(3)
        headers = {"content_type": self.draw.choice(["application/json", "text/plain", "x"])}
        return self.viewer.request("POST", path, content, 5, **headers)

    def job(self, name: str, session: str) -> tuple[int, bytes, dict[str, str]]:
        """A job of the page with some values that are none; all that comes of it."""
        right: dict[str, list[Any]] = {
            "explain": [self.photo, "scenes:resnet", [], ["grad_cam"], [], -1, -2],
            "check": [{"result": self.result, "chosen": 0}],
            "ask": [
                {"photo": self.photo, "mask": MASK},
                "scenes:resnet",
                [],
                0,
            ],
            "remembered": [["scenes:resnet", ["grad_cam"], []]],
            "shown": [{"result": self.result}],
        }
        values = right[name]
        for place in self.draw.sample(range(len(values)), self.draw.randint(1, len(values))):
            if isinstance(values[place], dict) and self.draw.random() < 0.7:
                key = self.draw.choice([*values[place]])
                values[place] = {**values[place], key: self.any()}
            else:
                values[place] = self.any()
        number = self.numbers[name]
        body = {"data": values, "fn_index": number, "session_hash": session}
        status, said, headers = self.viewer.request(
            "POST", "/gradio_api/queue/join", text(body), 30, content_type="application/json"
        )
        if status == 200:
            said = self.viewer.answer(session, 60).encode()
            status = 200 if b"process_completed" in said else 599
        return status, said, headers


def main(count: int, seed: int) -> int:
    found, draw = Outcomes(), random.Random(seed)
    with serving("--model", "scenes:resnet") as viewer:
        attack = Attack(viewer, draw)
        print(f"the page's jobs: {attack.numbers}", flush=True)
        jobs = [name for name in attack.takes if name in attack.numbers]
        kinds: list[Callable[[], tuple[int, bytes, dict[str, str]]]] = [
            attack.get, attack.get, attack.upload, attack.json,
        ]  # fmt: skip
        before = 0
        for number in range(count):
            if number == count // 2:
                before = viewer.memory()
            try:
                if draw.random() < 0.1:
                    name = draw.choice(jobs)
                    what = f"a job, {name}"
                    status, said, _ = attack.job(name, f"s{number}")
                else:
                    act = draw.choice(kinds)
                    what = act.__name__
                    status, said, _ = act()
            except TimeoutError:
                # What a page listens to stays open, and says nothing.
                found.add(f"{what}: open")
                continue
            except IncompleteRead as cut:
                found.add(f"{what}: cut off", about=f"{cut.partial!r}")
                continue
            except (OSError, UnicodeError, ValueError) as error:
                found.add(f"{what}: not sent ({type(error).__name__})")
                continue
            bad = status >= 500 or bool(CODE.search(said))
            found.add(f"{what}: {status}", bad=bad, about=f"{said[-300:]!r}")
        after = viewer.memory()
        alive, log = viewer.alive(), viewer.said()
        bad_log = "Traceback" in log or len(log) > 400 * count
        found.add(f"alive at the end: {alive}", bad=not alive)
        found.add(f"the log is calm: {not bad_log}", bad=bad_log, about=log[-1500:])
        grown = after - before
        found.add("its memory is as it was", bad=grown > GROWTH, about=f"{grown / 1e6:.0f} MB more")
        print(f"MB: {before / 1e6:.0f}, then {after / 1e6:.0f}; most {viewer.peak / 1e6:.0f}")
        lines = [re.sub(r"\d+", "1", line)[:90] for line in log.splitlines()]
        for line in sorted(set(lines), key=lines.count)[-12:]:
            print(f"  log, {lines.count(line)} times: {line}")
    return found.close("values of the wrong kind")


if __name__ == "__main__":
    given = [int(one) for one in sys.argv[1:]] + [5000, 0][len(sys.argv) - 1 :]
    sys.exit(main(*given))
