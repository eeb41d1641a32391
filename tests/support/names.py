"""A name server of a test, whose answers change while it runs, as those of a cluster do."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Iterable
from typing import Self

__all__ = ["NameServer"]

PORT = 53
_TTL_SECONDS = 5
"""As Kubernetes tells for the pods behind a headless Service."""
_HEADER = struct.Struct("!6H")
_ANSWER = struct.Struct("!HHHIH")
_ANSWERS, _AUTHORITATIVE, _UNKNOWN_NAME = 0x8000, 0x0400, 3
_ADDRESS_4, _INTERNET = 1, 1
_POINTER_TO_THE_QUESTION = 0xC000 + _HEADER.size


class NameServer:
    """Answers over UDP for the names it has, and that there is none for all others.

    Use it with `with`.

    Args:
        address: IPv4 address of this machine to listen at.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._told: dict[str, tuple[str, ...]] = {}
        self._thread = threading.Thread(target=self._serve, name="names", daemon=True)

    def __enter__(self) -> Self:
        self._here, self._there = socket.socketpair()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind((self.address, PORT))
        except BaseException:
            self._close()
            raise
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._here.send(b"x")
        self._thread.join(10)
        self._close()

    def tell(self, name: str, addresses: Iterable[str]) -> None:
        """Let a name stand for these addresses from now on; for none it is unknown."""
        self._told[name] = tuple(addresses)

    def _close(self) -> None:
        for one in (self._socket, self._here, self._there):
            one.close()

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([self._socket, self._there], [], [])
            if self._there in ready:
                return
            # A question that makes no sense is nobody's whose answer a test waits for.
            with contextlib.suppress(OSError, struct.error, IndexError, UnicodeDecodeError):
                question, caller = self._socket.recvfrom(512)
                self._socket.sendto(self._answer(question), caller)

    def _answer(self, message: bytes) -> bytes:
        """Return what is known of the one question of a message (RFC 1035, section 4)."""
        number, flags, *_ = _HEADER.unpack_from(message)
        labels, at = [], _HEADER.size
        while length := message[at]:
            labels.append(message[at + 1 : at + 1 + length].decode("ascii").lower())
            at += 1 + length
        kind, _ = struct.unpack_from("!HH", message, at + 1)
        question = message[_HEADER.size : at + 5]
        name = ".".join(labels)
        known = self._told.get(name, ())
        found = known if kind == _ADDRESS_4 else ()
        flags = _ANSWERS | _AUTHORITATIVE | (flags & 0x0100) | (0 if known else _UNKNOWN_NAME)
        records = [
            _ANSWER.pack(_POINTER_TO_THE_QUESTION, _ADDRESS_4, _INTERNET, _TTL_SECONDS, 4)
            + socket.inet_aton(address)
            for address in found
        ]
        head = _HEADER.pack(number, flags, 1, len(records), 0, 0)
        return b"".join([head, question, *records])
