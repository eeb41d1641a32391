"""Questions by their direction: LMDB keeps them, usearch finds those that point the same way.

Blocking, for one thread. A partition's graph is a file beside the store; what it lacks or has too
much, as after a crash, is made good from the store when the partition is opened.
"""

from __future__ import annotations

import contextlib
import struct
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import numpy.typing as npt
from usearch.index import Index

from llmrouter.cache.lmdb_folder import CORRUPT, hold_folder, open_folder, set_folder_aside
from llmrouter.common.errors import Reason, RouterError

__all__ = ["Likeness", "Question", "QuestionIndex"]

_LABEL = struct.Struct(">Q")
_HEAD = struct.Struct(">32sH")
_OPEN_PARTITIONS = 32
_SAVE_EACH = 1_024
"""Questions that a graph takes in before it is saved again."""
_LARGEST_ENTRY = 16 << 10
_SEEN = 16
"""Neighbours looked at: the nearest may be refused by the guard."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question as it is looked for and kept."""

    partition: bytes
    """32 bytes: all that has to be equal, the tenant among it."""
    text: str
    vector: npt.NDArray[np.float32]
    """Any length but 0, of one size within a partition."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """A kept question that is like another."""

    place: bytes
    """32 bytes: where its answer is."""
    text: str
    similarity: float
    """Cosine; 1 is the same direction."""


@dataclass(slots=True)
class _Partition:
    graph: Any
    unsaved: int = 0


class QuestionIndex:
    """At most so many questions, those kept longest ago dropped first."""

    def __init__(self, folder: Path, most: int) -> None:
        """Open or create the folder; a damaged one is set aside, named in the log, and begun anew.

        Args:
            folder: Where it is.
            most: Questions kept.

        Raises:
            RouterError: STORE_FAILED when the folder cannot be used.
        """
        self._folder = folder
        self._most = most
        self._open: OrderedDict[bytes, _Partition] = OrderedDict()
        try:
            self._held = hold_folder(folder)
            try:
                self._begin()
            except CORRUPT as error:
                self._held.close()
                set_folder_aside(folder, error)
                self._held = hold_folder(folder)
                self._begin()
        except (OSError, lmdb.Error) as error:
            message = f"the index of questions in {folder} cannot be used: {error}"
            raise RouterError(Reason.STORE_FAILED, message) from error

    def __len__(self) -> int:
        with self._env.begin() as txn:
            return int(txn.stat(self._order)["entries"])

    def find(self, question: Question, min_similarity: float) -> list[Likeness]:
        """Return the kept questions of a partition that are at least so similar, nearest first."""
        with self._env.begin() as txn:
            graph = self._partition(txn, question).graph
            if not len(graph):
                return []
            found = graph.search(question.vector, min(_SEEN, len(graph)))
            likenesses = []
            for label, distance in zip(found.keys, found.distances, strict=True):
                similarity = 1.0 - float(distance)
                entry = txn.get(question.partition + _LABEL.pack(int(label)), db=self._entries)
                if similarity >= min_similarity and entry is not None:
                    place, text, _ = _unpacked(entry)
                    likenesses.append(Likeness(place, text, similarity))
            return likenesses

    def add(self, question: Question, place: bytes) -> None:
        """Keep a question whose answer is at `place`; one answer has one question."""
        entry = _HEAD.pack(place, len(question.vector)) + question.vector.astype("<f2").tobytes()
        entry += question.text.encode()
        if len(entry) > _LARGEST_ENTRY:
            return
        with self._writing() as txn:
            if txn.get(question.partition + place, db=self._places) is not None:
                return
            partition = self._partition(txn, question)
            label = self._next_label(txn)
            key = question.partition + _LABEL.pack(label)
            txn.put(key, entry, db=self._entries)
            txn.put(_LABEL.pack(label), question.partition, db=self._order)
            txn.put(question.partition + place, _LABEL.pack(label), db=self._places)
            partition.graph.add(label, question.vector)
            partition.unsaved += 1
            while txn.stat(self._order)["entries"] > self._most:
                self._drop_eldest(txn)
        if partition.unsaved >= _SAVE_EACH:
            self._save(question.partition, partition)

    def remove(self, partition: bytes, place: bytes) -> None:
        """Forget the question of an answer that is gone."""
        with self._writing() as txn:
            label = txn.get(partition + place, db=self._places)
            if label is not None:
                self._drop(txn, partition, bytes(label))

    def close(self) -> None:
        """Save every graph."""
        for key, partition in self._open.items():
            self._save(key, partition)
        self._open.clear()
        self._env.close()
        self._held.close()

    def set_aside(self, error: Exception) -> None:
        """Close, and move the folder out of the way: what is opened next begins anew."""
        self._open.clear()  # graphs of what is damaged are not saved
        self._env.close()
        self._held.close()
        set_folder_aside(self._folder, error)

    def _begin(self) -> None:
        size = max(64 << 20, 2 * self._most * _LARGEST_ENTRY)
        # Not waited for: after a power cut questions may be missing, and they are only convenient.
        self._env = open_folder(self._folder / "questions", size, tables=3, durable=False)
        names = (b"entries", b"order", b"places")
        self._entries, self._order, self._places = (self._env.open_db(name) for name in names)
        self._sweep()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Any]:
        """Give a transaction; one that fails leaves graphs ahead of the store, to be made anew."""
        try:
            with self._env.begin(write=True) as txn:
                yield txn
        except BaseException:
            self._open.clear()
            raise

    def _sweep(self) -> None:
        """Remove the graphs of partitions that hold nothing any more."""
        with self._env.begin() as txn:
            for file in self._folder.glob("*.usearch"):
                with contextlib.suppress(ValueError):
                    if not self._holds(txn, bytes.fromhex(file.stem)):
                        file.unlink(missing_ok=True)

    def _holds(self, txn: Any, partition: bytes) -> bool:
        with txn.cursor(db=self._entries) as cursor:
            return bool(cursor.set_range(partition)) and bytes(cursor.key()).startswith(partition)

    def _partition(self, txn: Any, question: Question) -> _Partition:
        """Return the graph of a partition, whole."""
        key = question.partition
        known = self._open.get(key)
        if known is None:
            known = _Partition(self._load(txn, key, len(question.vector)))
            self._open[key] = known
            while len(self._open) > _OPEN_PARTITIONS:
                self._save(*self._open.popitem(last=False))
        self._open.move_to_end(key)
        return known

    def _load(self, txn: Any, partition: bytes, dimensions: int) -> Any:
        graph = Index(ndim=dimensions, metric="cos", dtype="f16")
        with contextlib.suppress(Exception):  # made good below
            graph.load(str(self._file(partition)))
        if graph.ndim != dimensions:
            graph = Index(ndim=dimensions, metric="cos", dtype="f16")
        kept = dict(self._kept(txn, partition, dimensions))
        held = {int(label) for label in graph.keys}
        for label in held - kept.keys():
            graph.remove(label)
        missing = sorted(kept.keys() - held)
        if missing:
            vectors = np.stack([kept[label] for label in missing]).astype(np.float32)
            graph.add(np.array(missing, np.uint64), vectors)
        return graph

    def _kept(self, txn: Any, partition: bytes, dimensions: int) -> Any:
        with txn.cursor(db=self._entries) as cursor:
            if not cursor.set_range(partition):
                return
            for key, entry in cursor:
                if not key.startswith(partition):
                    return
                _, _, vector = _unpacked(entry)
                if len(vector) == dimensions:
                    yield _LABEL.unpack(key[len(partition) :])[0], vector

    def _next_label(self, txn: Any) -> int:
        with txn.cursor(db=self._order) as cursor:
            return int(_LABEL.unpack(cursor.key())[0]) + 1 if cursor.last() else 1

    def _drop_eldest(self, txn: Any) -> None:
        with txn.cursor(db=self._order) as cursor:
            cursor.first()
            label, partition = bytes(cursor.key()), bytes(cursor.value())
        self._drop(txn, partition, label)

    def _drop(self, txn: Any, partition: bytes, label: bytes) -> None:
        entry = txn.get(partition + label, db=self._entries)
        if entry is not None:
            txn.delete(partition + _unpacked(entry)[0], db=self._places)
        txn.delete(partition + label, db=self._entries)
        txn.delete(label, db=self._order)
        if not self._holds(txn, partition):
            self._open.pop(partition, None)
            self._file(partition).unlink(missing_ok=True)
            return
        known = self._open.get(partition)
        if known is not None:
            known.graph.remove(_LABEL.unpack(label)[0])
            known.unsaved += 1

    def _save(self, key: bytes, partition: _Partition) -> None:
        if not partition.unsaved:
            return
        file = self._file(key)
        if len(partition.graph):
            written = file.with_suffix(".new")
            partition.graph.save(str(written))
            written.replace(file)
        else:
            file.unlink(missing_ok=True)
        partition.unsaved = 0

    def _file(self, partition: bytes) -> Path:
        return self._folder / f"{partition.hex()}.usearch"


def _unpacked(entry: bytes) -> tuple[bytes, str, npt.NDArray[np.float16]]:
    place, dimensions = _HEAD.unpack_from(entry)
    end = _HEAD.size + 2 * dimensions
    vector = np.frombuffer(entry, "<f2", dimensions, _HEAD.size)
    return place, bytes(entry[end:]).decode(), vector
