"""A viewer in a process of its own, for the attacks on it: started, measured, spoken to."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image


class Viewer:
    """`seewhy serve` at a free port. `said()` is what it has printed."""

    def __init__(self, *options: str, cwd: Path | None = None) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - open for as long as the server
        call = [sys.executable, "-m", "seewhy", "serve", "--port", "0", *options]
        self._process = subprocess.Popen(call, stdout=self._log, stderr=self._log, cwd=cwd)
        self.pid, self.peak = self._process.pid, 0
        self.port = 0
        end = time.monotonic() + 120
        while not self.port:
            assert self._process.poll() is None, self.said()
            assert time.monotonic() < end, self.said()
            time.sleep(0.1)
            found = re.search(r"http://\S+:(\d+)/", self.said())
            self.port = int(found[1]) if found else 0
        while True:
            try:
                self.get("/", 2)
                break
            except OSError:
                time.sleep(0.1)
        self._measuring = True
        threading.Thread(target=self._measure, daemon=True).start()

    def said(self) -> str:
        """All that it has printed."""
        place = self._log.tell()
        self._log.seek(0)
        text = self._log.read().decode(errors="replace")
        self._log.seek(place)
        return text

    def alive(self) -> bool:
        """Whether it runs and answers."""
        try:
            return self._process.poll() is None and self.get("/", 10)[0] == 200
        except OSError:
            return False

    def family(self) -> list[int]:
        """Its process and all below."""
        parents: dict[int, int] = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    status = (folder / "stat").read_text().rsplit(")", 1)[1].split()
                    parents[int(folder.name)] = int(status[1])
                except (OSError, IndexError):
                    continue
        found = [self.pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def memory(self) -> int:
        """Bytes of all its processes, what they share counted for each."""
        total = 0
        for pid in self.family():
            try:
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            except (OSError, IndexError):
                continue
            total += pages * os.sysconf("SC_PAGE_SIZE")
        return total

    def _measure(self) -> None:
        while self._measuring:
            self.peak = max(self.peak, self.memory())
            time.sleep(0.05)

    def get(
        self, path: str, timeout: float = 60, **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers of an answer."""
        return self.request("GET", path, None, timeout, **headers)

    def post(
        self, path: str, body: bytes, timeout: float = 300, **headers: str
    ) -> tuple[int, bytes]:
        """Status and body of an answer."""
        return self.request("POST", path, body, timeout, **headers)[:2]

    def request(
        self, method: str, path: str, body: bytes | None, timeout: float, **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers of an answer; `_` in a header's name stands for `-`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            return answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}
        finally:
            connection.close()

    def give(self, data: bytes, visitor: str = "") -> str | None:
        """The token of a photo that was taken; None for one that was not."""
        headers = {"x_visitor": visitor} if visitor else {}
        status, body = self.post("/photos?name=a.png", data, **headers)
        return json.loads(body)["photo"] if status == 200 else None

    def numbers(self) -> dict[str, int]:
        """The number of each of the page's jobs, by its name."""
        config = json.loads(self.get("/config")[1])
        return {one["api_name"]: one["id"] for one in config["dependencies"]}

    def ask(self, name: str, data: Sequence[object], session: str) -> tuple[int, bytes]:
        """Have a job of the page wait."""
        body = {"data": list(data), "fn_index": self.numbers()[name], "session_hash": session}
        content = json.dumps(body).encode()
        return self.post("/gradio_api/queue/join", content, content_type="application/json")

    def answer(self, session: str, timeout: float) -> str:
        """All that comes of a session's jobs, until the last one ends."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", f"/gradio_api/queue/data?session_hash={session}")
            answer = connection.getresponse()
            found = b""
            end = time.monotonic() + timeout
            while b"process_completed" not in found and time.monotonic() < end:
                line = answer.readline()
                if not line:
                    break
                found += line
            return found.decode()
        finally:
            connection.close()

    def close(self) -> list[int]:
        """Stop it as Ctrl-C does; the processes that are still there afterwards."""
        self._measuring = False
        family = self.family()
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
        end = time.monotonic() + 20
        while (left := [pid for pid in family if running(pid)]) and time.monotonic() < end:
            time.sleep(0.1)
        return left


def running(pid: int) -> bool:
    """Whether a process is there, and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (OSError, IndexError):
        return False


@contextmanager
def serving(*options: str, cwd: Path | None = None) -> Iterator[Viewer]:
    """A viewer until the end of the context."""
    viewer = Viewer(*options, cwd=cwd)
    try:
        yield viewer
    finally:
        left = viewer.close()
        assert not left, f"processes are left: {left}"


def bomb(width: int, height: int, mode: str = "RGB") -> bytes:
    """A PNG of one colour: large as a picture, small as a file."""
    stream = io.BytesIO()
    Image.new(mode, (width, height)).save(stream, "PNG", compress_level=9)
    return stream.getvalue()
