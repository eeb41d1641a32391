"""What a store knows beside its records: its identity, what was invalidated, its dictionaries."""

from __future__ import annotations

import hashlib
import json
import logging
import struct
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

__all__ = ["StoreFacts", "new_facts", "ordered_versions", "packed_versions", "read_facts",
           "read_versions", "write_dictionary", "write_facts", "write_marks",
           "write_versions"]  # fmt: skip

_NUMBER = struct.Struct(">Q")
_ID = b"id"
_FLOOR = b"floor"
_MARK = b"mark:"
_DICTIONARY = b"dictionary:"
_VERSIONS = b"versions:"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """Facts about one store."""

    id: bytes
    """16 bytes; another store has another."""
    floor: int
    """Answers begun before this sequence are dead."""
    marks: tuple[tuple[bytes, int], ...] = ()
    """Labels and the sequences before which their answers are dead, in order of the latter."""
    dictionaries: tuple[bytes, ...] = ()
    """What payloads may have been packed with, the newest last."""

    @property
    def sequence(self) -> int:
        """Return the number of the last invalidation."""
        return max(self.floor, self.marks[-1][1] if self.marks else 0)


def new_facts(now: float) -> StoreFacts:
    """Return those of a store begun at `now`.

    Its sequence begins with the time, so that it is past that of any store before it.
    """
    return StoreFacts(uuid.uuid4().bytes, int(now * 1e6))


def read_facts(txn: Any, now: float) -> StoreFacts:
    """Return the facts of a store; one without an identity is given one.

    Args:
        txn: A write transaction of LMDB on the table of facts.
        now: Seconds since the epoch.
    """
    identity, floor = txn.get(_ID), txn.get(_FLOOR)
    if identity is None or floor is None:
        made = new_facts(now)
        write_facts(txn, made)
        return made
    marks = [(key[len(_MARK) :], _NUMBER.unpack(value)[0]) for key, value in _below(txn, _MARK)]
    dictionaries = tuple(value for _, value in _below(txn, _DICTIONARY))
    ordered = tuple(sorted(marks, key=lambda mark: mark[1]))
    return StoreFacts(bytes(identity), _NUMBER.unpack(floor)[0], ordered, dictionaries)


def write_facts(txn: Any, facts: StoreFacts) -> None:
    """Give an empty store its facts."""
    txn.put(_ID, facts.id)
    write_marks(txn, facts.marks, (), facts.floor)
    for raw in facts.dictionaries:
        write_dictionary(txn, raw)


def write_marks(
    txn: Any, marks: Sequence[tuple[bytes, int]], gone: Sequence[bytes], floor: int
) -> None:
    """Note invalidations; arguments as those of `LmdbStore.mark`."""
    for label in gone:
        txn.delete(_MARK + label)
    for label, sequence in marks:
        txn.put(_MARK + label, _NUMBER.pack(sequence))
    txn.put(_FLOOR, _NUMBER.pack(floor))


def write_dictionary(txn: Any, raw: bytes) -> None:
    """Keep a dictionary as the newest."""
    count = sum(1 for _ in _below(txn, _DICTIONARY))
    txn.put(_DICTIONARY + _NUMBER.pack(count), raw)


def read_versions(txn: Any) -> dict[str, frozenset[str]]:
    """Return the versions that are remembered by model, what was noted longest ago first."""
    return ordered_versions(value for _, value in _below(txn, _VERSIONS))


def packed_versions(model: str, versions: frozenset[str]) -> bytes:
    """Return the row of a model whose versions are noted now."""
    return json.dumps([time.time(), model, sorted(versions)]).encode()


def ordered_versions(rows: Iterable[bytes]) -> dict[str, frozenset[str]]:
    """Return the versions by model that rows tell, the eldest first; unreadable ones are left out.

    A damaged row must not keep the others from being known: it is named in the log, and written
    anew once its model is told.
    """
    found = []
    for row in rows:
        try:
            at, model, versions = json.loads(row)
            found.append((float(at), str(model), frozenset(map(str, versions))))
        except (ValueError, TypeError, RecursionError):
            _log.error("the versions of a model cannot be read and are left out: %r", row[:80])
    return {model: versions for _, model, versions in sorted(found, key=itemgetter(0))}


def write_versions(
    txn: Any, changed: Mapping[str, frozenset[str]], forgotten: Sequence[str]
) -> None:
    """Remember the versions of models; arguments as those of `LmdbStore.note_versions`."""
    for model in forgotten:
        txn.delete(_versions_key(model))
    for model, versions in changed.items():
        txn.put(_versions_key(model), packed_versions(model, versions))


def _versions_key(model: str) -> bytes:
    return _VERSIONS + hashlib.blake2b(model.encode(), digest_size=16).digest()


def _below(txn: Any, prefix: bytes) -> list[tuple[bytes, bytes]]:
    found: list[tuple[bytes, bytes]] = []
    with txn.cursor() as cursor:
        if cursor.set_range(prefix):
            for key, value in cursor:
                if not key.startswith(prefix):
                    break
                found.append((bytes(key), bytes(value)))
    return found
