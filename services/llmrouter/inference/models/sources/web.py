"""A file behind a URL, read from any place on (HTTP Range, RFC 9110 section 14)."""

from __future__ import annotations

import http.client
import ipaddress
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import urlsplit

from llmrouter.inference.models.sources.download import Answer, BrokenOffError, refusal

__all__ = ["WebFile", "is_confidential", "place_of"]

_TIMEOUT = 30.0
_MAX_REDIRECTS = 5
_BROKEN = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError)
_RANGE_REFUSED = 416


def is_confidential(url: str) -> bool:
    """Whether nobody between can read or change what comes: https, or http on this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname))


def place_of(url: str) -> str:
    """Return host and path of a URL, without what may be a secret: its query and its user."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that is none"
    return f"{parts.hostname or ''}{parts.path}"


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class WebFile:
    """A file that a web server hands out; see `Remote` for the contract."""

    url: str
    allowed: Callable[[str], bool] = is_confidential
    """Which URLs may be asked, redirects included."""

    @property
    def place(self) -> str:
        """Host and path."""
        return place_of(self.url)

    @contextmanager
    def open(self, start: int) -> Iterator[Answer]:
        """Ask for the bytes from `start` on, as `Remote.open` says."""
        answer = self._ask(start)
        if answer is None:
            yield _Nothing(start)
            return
        with answer:
            yield _WebAnswer(answer, start)

    def _ask(self, start: int) -> Any:
        """Return the server's answer; None where it has nothing beyond `start`."""
        if not self.allowed(self.url):
            raise refusal(self, "only https is fetched, or http from this machine")
        headers = {"User-Agent": "llmrouter", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        request = urllib.request.Request(self.url, headers=headers)  # noqa: S310 - scheme checked
        opener = urllib.request.build_opener(_Redirects(self))
        try:
            return opener.open(request, timeout=_TIMEOUT)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == _RANGE_REFUSED and start:
                return None
            if error.code < 500 and error.code not in (408, 429):
                raise refusal(self, f"the server answers {error.code} {error.reason}") from error
            raise BrokenOffError(f"the server answers {error.code}") from error
        except _BROKEN as error:
            raise BrokenOffError(f"no connection ({error})") from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, and none to where the file itself might not lie."""

    max_redirections = _MAX_REDIRECTS

    def __init__(self, file: WebFile) -> None:
        self._file = file

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any,
        newurl: str,
    ) -> urllib.request.Request | None:  # fmt: skip
        """Return the next request.

        Raises:
            RouterError: MODEL_UNAVAILABLE for a redirect to a place that is not allowed.
        """
        if not self._file.allowed(newurl):
            raise refusal(self._file, f"it leads on to {place_of(newurl)}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _WebAnswer:
    def __init__(self, answer: Any, asked: int) -> None:
        resumed = getattr(answer, "status", None) == http.client.PARTIAL_CONTENT
        length = answer.headers.get("Content-Length")
        self._answer = answer
        self.start = _begin(answer, asked) if resumed else 0
        self.total = self.start + int(length) if length and length.isdigit() else 0

    def read(self, most: int) -> bytes:
        try:
            found: bytes = self._answer.read(most)
        except _BROKEN as error:
            raise BrokenOffError(f"the connection broke ({error})") from error
        return found


def _begin(answer: Any, asked: int) -> int:
    """Return where the bytes of a part begin: RFC 9110, 14.4.

    Raises:
        BrokenOffError: It is not the part that was asked for.
    """
    told = str(answer.headers.get("Content-Range", ""))
    if not told.startswith(f"bytes {asked}-"):
        raise BrokenOffError(f"asked for bytes from {asked} on, the server sent '{told[:60]}'")
    return asked


@dataclass(frozen=True, slots=True)
class _Nothing:
    """Stands for an answer without further bytes: all had arrived already."""

    start: int
    total: int = 0

    def read(self, most: int) -> bytes:
        return b""
