"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html): the data."""

from __future__ import annotations

import codecs

__all__ = ["EventReader"]

_MAX_EVENT = 4 << 20
"""Characters of one event: a provider's stream is not trusted to end its lines."""


class EventReader:
    """Cuts a stream of bytes into the data of its events."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        self._rest = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[str]:
        """Return the data of the events that `piece` completes.

        Raises:
            ValueError: An event is larger than 4 Mi characters.
        """
        lines = (self._rest + self._decode(piece)).replace("\r\n", "\n").split("\n")
        self._rest = lines.pop()
        events = []
        for line in lines:
            event = self._line(line.removesuffix("\r"))
            if event is not None:
                events.append(event)
        if len(self._rest) + self._size > _MAX_EVENT:
            raise ValueError(f"an event is larger than {_MAX_EVENT} characters")
        return events

    def _line(self, line: str) -> str | None:
        if not line:
            data, self._data, self._size = self._data, [], 0
            return "\n".join(data) if data else None
        name, _, value = line.partition(":")
        if name == "data":
            self._data.append(value.removeprefix(" "))
            self._size += len(value)
        return None
