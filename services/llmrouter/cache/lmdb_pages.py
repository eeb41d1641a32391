"""Whether an LMDB file that is shorter than its header says lacks anything.

It need not: pages that a transaction took at the end of the file and gave back before it ended are
never written. They are on the list of free pages, which is read here without mapping the file; a
page that is missing and not free was cut off.

Layout: LMDB 0.9 on 64 bits, little-endian (`mdb.c`: MDB_page, MDB_node, MDB_db, MDB_meta).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import lmdb

__all__ = ["check_pages"]

_PAGE = struct.Struct("<Q2xHHH")
"""Number, flags, end of the table of nodes, begin of the nodes."""
_BRANCH, _LEAF = 0x01, 0x02
_NODE = struct.Struct("<HHHH")
"""Low and high half of the value's size; flags; size of the key. In a branch: of the page."""
_LARGE = 0x01
_NUMBER = struct.Struct("<Q")
_META = struct.Struct("<16x24x40xQ48xQQ")
"""Root of the free pages, the last page, number of the transaction."""
_NOTHING = (1 << 64) - 1


def check_pages(file: int, page_size: int, size: int) -> None:
    """Refuse a file from which a page was cut off that its newest state uses.

    Args:
        file: Descriptor of the file, which LMDB has opened: its header is whole.
        page_size: Bytes of a page.
        size: Bytes of the file.

    Raises:
        lmdb.CorruptedError: A page is missing, or the list of free pages is damaged.
    """
    known = _Pages(file, page_size, size // page_size)
    root, last, _ = max((known.meta(number) for number in (0, 1)), key=lambda meta: meta[-1])
    try:
        free = sum(known.whole <= number <= last for number in known.free(root))
    except struct.error:
        raise lmdb.CorruptedError("the list of free pages of data.mdb is damaged") from None
    if free < last + 1 - known.whole:
        raise lmdb.CorruptedError(f"data.mdb has {known.whole} pages, and lacks some of {last + 1}")


@dataclass(frozen=True, slots=True)
class _Pages:
    file: int
    size: int
    """Bytes of each."""
    whole: int
    """How many are there to their end."""

    def meta(self, number: int) -> tuple[int, int, int]:
        root, last, transaction = _META.unpack_from(self._read(number))
        return root, last, transaction

    def free(self, root: int) -> Iterator[int]:
        """Give the free pages from a tree of lists of them."""
        waiting, seen = [] if root == _NOTHING else [root], 0
        while waiting and seen < self.whole:
            seen += 1
            page = self._read(number := waiting.pop())
            told, flags, lower, _ = _PAGE.unpack_from(page)
            if told != number or not flags & (_BRANCH | _LEAF) or not 16 <= lower <= self.size:
                raise struct.error
            for at in struct.unpack_from(f"<{(lower - _PAGE.size) // 2}H", page, _PAGE.size):
                low, high, marks, key = _NODE.unpack_from(page, at)
                if flags & _BRANCH:
                    waiting.append(low | high << 16 | marks << 32)
                else:
                    yield from self._list(page, at + _NODE.size + key, low | high << 16, marks)

    def _list(self, page: bytes, at: int, size: int, marks: int) -> tuple[int, ...]:
        """Return the numbers of one list: how many, then they."""
        if marks & _LARGE:
            (first,) = _NUMBER.unpack_from(page, at)
            at = _PAGE.size
            page = self._read(first, -(-(at + size) // self.size))
        (count,) = _NUMBER.unpack_from(page, at)
        return struct.unpack_from(f"<{min(count, size // _NUMBER.size)}Q", page, at + _NUMBER.size)

    def _read(self, number: int, count: int = 1) -> bytes:
        if number + count > self.whole:
            raise lmdb.CorruptedError(f"data.mdb has {self.whole} pages and lacks page {number}")
        return os.pread(self.file, count * self.size, number * self.size)
