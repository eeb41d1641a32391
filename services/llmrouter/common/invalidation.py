"""Which answers may no longer be served, in a bounded number of bytes.

An answer carries labels (its key, tenant, tags, model and model's version) and the sequence that
stood when it began to be generated. Invalidating a label notes the next sequence as its watermark:
every answer begun before it is dead at once, at whatever level it lies and whoever is still
generating it, without looking for it. A million tags cost nothing until they are invalidated.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence

__all__ = [
    "LABEL_BYTES",
    "LABEL_OVERHEAD",
    "MAX_WATERMARKS",
    "Watermarks",
    "answer_labels",
    "key_label",
    "model_label",
    "tag_label",
    "tenant_label",
]

LABEL_BYTES = 16
LABEL_OVERHEAD = 56
"""What CPython takes for a label beside its bytes, and for its place in a tuple."""
MAX_WATERMARKS = 65_536
"""Labels told apart, some 10 MB; past it the oldest give way to one floor for all answers."""


class Watermarks:
    """The sequence before which a label's answers are dead."""

    def __init__(self, floor: int = 0, most: int = MAX_WATERMARKS) -> None:
        """Begin with nothing invalidated.

        Args:
            floor: Answers begun before this sequence are dead, whatever their labels.
            most: Labels told apart; past it the floor rises to the oldest of them.
        """
        self.floor = floor
        self._most = most
        self._marks: OrderedDict[bytes, int] = OrderedDict()  # in order of their sequence

    def mark(self, label: bytes, sequence: int) -> list[bytes]:
        """Note that answers with `label` begun before `sequence` are dead.

        Returns:
            Labels that gave way to the floor.
        """
        known = self._marks.get(label)
        if sequence <= self.floor or (known is not None and known >= sequence):
            return []
        self._marks[label] = sequence
        self._marks.move_to_end(label)
        gone = []
        while len(self._marks) > self._most:
            eldest, before = self._marks.popitem(last=False)
            self.floor = max(self.floor, before)
            gone.append(eldest)
        return gone

    def raise_floor(self, floor: int) -> None:
        """Note that every answer begun before `floor` is dead."""
        if floor > self.floor:
            self.floor = floor
            for label in [label for label, mark in self._marks.items() if mark <= floor]:
                del self._marks[label]

    def living(self, labels: Iterable[bytes], as_of: int) -> bool:
        """Return whether an answer with these labels, begun at `as_of`, may be served."""
        if as_of < self.floor:
            return False
        marks = self._marks
        return not marks or all(marks.get(label, 0) <= as_of for label in labels)

    def since(self, sequence: int) -> list[tuple[bytes, int]]:
        """Return the labels marked after `sequence` with their marks, the oldest first."""
        found = []
        for label, mark in reversed(self._marks.items()):
            if mark <= sequence:
                break
            found.append((label, mark))
        return found[::-1]

    def __len__(self) -> int:
        return len(self._marks)


def answer_labels(
    place: bytes, tenant: str, model: str, version: str, tags: Sequence[str]
) -> tuple[bytes, ...]:
    """Return the labels of one answer, 16 bytes each: 4, and one per tag.

    Args:
        place: What `stored_key` gave.
        tenant: Whose it is.
        model: Who answered.
        version: Which version of it.
        tags: Names to invalidate it by.
    """
    return (
        key_label(place),
        tenant_label(tenant),
        model_label(model, ""),
        model_label(model, version),
        *(tag_label(tenant, tag) for tag in tags),
    )


def key_label(place: bytes) -> bytes:
    """Return the label of one stored key."""
    return _label("key", place)


def tenant_label(tenant: str) -> bytes:
    """Return the label of all answers of a tenant."""
    return _label("tenant", tenant.encode())


def model_label(model: str, version: str) -> bytes:
    """Return the label of the answers of a model's version; of all its versions when empty."""
    return _label("version" if version else "model", model.encode(), version.encode())


def tag_label(tenant: str, tag: str) -> bytes:
    """Return the label of a tenant's answers with a tag."""
    return _label("tag", tenant.encode(), tag.encode())


def _label(kind: str, *names: bytes) -> bytes:
    state = hashlib.blake2b(kind.encode(), digest_size=LABEL_BYTES)
    for name in names:
        state.update(len(name).to_bytes(4, "big") + name)
    return state.digest()
