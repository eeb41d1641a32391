"""A server on this machine that breaks off, lies and refuses on purpose."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONTENT = os.urandom(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT; `cuts` says after how many bytes each next answer breaks off.

    `statuses` are refusals and `leads_to` redirects that come before it.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.cuts: list[int] = []
        self.statuses: list[int] = []
        self.ranges: list[str | None] = []
        self.resumes = True
        self.shift = 0
        """Bytes by which a part that is told begins elsewhere than asked for."""
        self.leads_to: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file.bin"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        if self.server.statuses:
            self.send_error(self.server.statuses.pop(0))
            return
        if self.server.leads_to:
            self.send_response(302)
            self.send_header("Location", self.server.leads_to.pop(0))
            self.end_headers()
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if start >= len(self.server.content) and asked:
            self.send_error(416)
            return
        start = start if self.server.resumes else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start + self.server.shift}-/*")
        self.send_header("Content-Length", str(len(self.server.content) - start))
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts else None
        self.wfile.write(self.server.content[start:][:cut])

    def log_message(self, *_: object) -> None: ...


@contextmanager
def serving() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield made
    finally:
        made.shutdown()
        thread.join()
        made.server_close()
