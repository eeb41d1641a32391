"""A Hugging Face hub on this machine, as far as its client asks for models.

Large files (those of `large`) redirect to a content server, as the real one does; `cuts` says after
how many bytes each next download breaks off.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "owner/tiny"


def blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324 - git's


class FakeHub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.large: set[str] = set()
        self.listed_sha256: dict[str, str] = {}
        """What the listing claims instead of the truth."""
        self.cuts: list[int] = []
        self.status = 0
        """Answered to every question about the repository, unless 0."""
        self.error_code = ""
        self.private_token = ""
        self.asked: list[tuple[str, str, str | None]] = []
        """Method, path and Range of every request."""
        self.tokens_at_the_content_server: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def downloads(self) -> list[str | None]:
        """The ranges of the downloads."""
        return [
            asked for method, path, asked in self.asked if method == "GET" and "/api/" not in path
        ]

    def listing(self) -> dict[str, object]:
        siblings = []
        for path, content in self.files.items():
            one = {"rfilename": path, "size": len(content), "blobId": blob_id(content)}
            if path in self.large:
                right = hashlib.sha256(content).hexdigest()
                sha256 = self.listed_sha256.get(path, right)
                one["lfs"] = {"size": len(content), "sha256": sha256, "pointerSize": 134}
            siblings.append(one)
        return {"id": REPOSITORY, "modelId": REPOSITORY, "sha": COMMIT, "siblings": siblings}


class Handler(BaseHTTPRequestHandler):
    server: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        hub, path = self.server, unquote(urlsplit(self.path).path)
        hub.asked.append((self.command, path, self.headers.get("Range")))
        token = self.headers.get("Authorization")
        if path.startswith("/content/"):
            hub.tokens_at_the_content_server.append(token)
            self._send(hub.files[path.removeprefix("/content/")], body=body)
        elif hub.status:
            self._refuse(hub.status, hub.error_code)
        elif hub.private_token and token != f"Bearer {hub.private_token}":
            self._refuse(401, "RepoNotFound")
        elif path.startswith(f"/api/models/{REPOSITORY}"):
            self._list(path.removeprefix(f"/api/models/{REPOSITORY}"))
        elif path.startswith(f"/{REPOSITORY}/resolve/main/"):
            self._resolve(path.removeprefix(f"/{REPOSITORY}/resolve/main/"), body=body)
        else:
            self._refuse(404, "RepoNotFound")

    def _list(self, rest: str) -> None:
        if rest not in ("", "/revision/main", f"/revision/{COMMIT}"):
            self._refuse(404, "RevisionNotFound")
            return
        self._send(json.dumps(self.server.listing()).encode(), body=True, cut=False)

    def _resolve(self, path: str, *, body: bool) -> None:
        content = self.server.files[path]
        if path not in self.server.large:
            self._send(content, body=body, etag=blob_id(content))
            return
        sha256 = self.server.listed_sha256.get(path, hashlib.sha256(content).hexdigest())
        self.send_response(302)
        self.send_header(
            "Location", f"{self.server.url.replace('127.0.0.1', 'localhost')}/content/{path}"
        )
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("X-Linked-Etag", f'"{sha256}"')
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, content: bytes, *, body: bool, etag: str = "", cut: bool = True) -> None:
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        rest = content[start:]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(rest)))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if etag:
            self.send_header("ETag", f'"{etag}"')
            self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if not body:
            return
        end = self.server.cuts.pop(0) if cut and self.server.cuts else len(rest)
        self.wfile.write(rest[:end])
        self.close_connection = end < len(rest)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@contextmanager
def hub_serving() -> Iterator[FakeHub]:
    made = FakeHub()
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield made
    finally:
        made.shutdown()
        thread.join()
        made.server_close()
