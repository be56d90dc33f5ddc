"""A server on this machine alone, which has files, and troubles when it is told to."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

from frostline import downloads

ASIDE = ("/api/agent-harnesses",)
"""What huggingface-hub asks for of its own accord, once a day, on some machines: neither noted nor troubled."""


class Server:
    """What the server has, by path, what it was asked for, and what goes wrong with the next requests.

    The troubles, one for each request until none is left: "" for none, "breaks down" for an answer 503, "refuses" for
    403, "stalls" for silence. A file without bytes is one over which the server talks nonsense.
    """

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.files: dict[str, bytes] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.asked: list[str] = []
        self.troubles: deque[str] = deque()
        self.over = Event()

    def refusal(self, path: str) -> dict[str, str]:  # noqa: ARG002
        """Return the headers of the answer that there is no such file."""
        return {}


class Answer(BaseHTTPRequestHandler):
    """Answers as a server of files does."""

    def __init__(self, server: Server, *arguments: object) -> None:
        self.mine = server
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path in ASIDE:
            self.reply(404, {}, b"")
            return
        self.mine.asked.append(path)
        trouble = self.mine.troubles.popleft() if self.mine.troubles else ""
        if trouble == "stalls":
            self.mine.over.wait()
        elif trouble == "breaks down":
            self.reply(503, {}, b"")
        elif trouble == "refuses":
            self.reply(403, {}, b"")
        elif path not in self.mine.files:
            self.reply(404, self.mine.refusal(path), b"")
        elif content := self.mine.files[path]:
            self.reply(200, self.mine.headers.get(path, {}), content)
        else:
            self.wfile.write(b"this is not HTTP\r\n\r\n")

    def reply(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def point_hub_at(address: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let huggingface-hub ask there, as by its environment variables, with a cache of its own."""
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache / "hub"))
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(cache / "assets"))
    monkeypatch.setattr(downloads, "WAITS", (0.01, 0.01))


@contextmanager
def serving(kind: type[Server] = Server) -> Iterator[Server]:
    """Yield a server that listens at a free port until it is left."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as listening:
        mine = kind(listening.server_port)
        listening.RequestHandlerClass = partial(Answer, mine)  # type: ignore[assignment]
        Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        yield mine
        mine.over.set()
        listening.shutdown()
