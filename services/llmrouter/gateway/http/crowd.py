"""The open connections, bounded so that those who say nothing keep nobody out."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Connection", "Crowd"]


class Connection(Protocol):
    """What the crowd needs of a connection."""

    def let_go(self) -> None:
        """Close it; nothing is being answered on it."""
        ...


class Crowd:
    """Open connections; one beyond the bound makes room by the one that is silent for longest.

    Args:
        most: Connections at once. Only where something is being answered on all of them are there
            more, for as long as it takes to tell.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: set[Connection] = set()
        self._silent: dict[Connection, None] = {}

    def came(self, connection: Connection) -> None:
        """Take in a connection that has said nothing yet."""
        self._open.add(connection)
        self._make_room()
        self._silent[connection] = None

    def asked(self, connection: Connection) -> None:
        """Take in that a request has come."""
        self._silent.pop(connection, None)

    def answered(self, connection: Connection) -> None:
        """Take in that nothing is being answered any more."""
        if connection in self._open:
            self._silent[connection] = None
            self._make_room()

    def left(self, connection: Connection) -> None:
        """Take in that a connection has ended."""
        self._open.discard(connection)
        self._silent.pop(connection, None)

    def _make_room(self) -> None:
        if len(self._open) > self._most and self._silent:
            oldest = next(iter(self._silent))
            self.left(oldest)
            oldest.let_go()
