"""Whether an LMDB file that is shorter than its header says lacks anything.

It need not: pages that a transaction took at the end of the file and gave back before it ended are
never written. Only a walk tells, which reads the file without mapping it.

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
_RUN = struct.Struct("<Q4xI")
"""Number of the first page of a large value, and how many it takes."""
_BRANCH, _LEAF = 0x01, 0x02
_NODE = struct.Struct("<HHHH")
"""Low and high half of the value's size; flags; size of the key. In a branch: of the page."""
_LARGE, _TABLE = 0x01, 0x02
_NUMBER = struct.Struct("<Q")
_ROOT = struct.Struct("<40xQ")
_META = struct.Struct("<16xI20x40xQ40xQ8xQ")
"""Magic, root of the free pages, root of the tables, number of the transaction."""
_NOTHING = (1 << 64) - 1


def check_pages(file: int, page_size: int, size: int) -> None:
    """Walk all that the newest state refers to.

    Args:
        file: Descriptor of the file, which LMDB has opened: its header is whole.
        page_size: Bytes of a page.
        size: Bytes of the file.

    Raises:
        lmdb.CorruptedError: A page is missing, or is not what it should be.
    """
    _Walk(file, page_size, size // page_size).go()


@dataclass(slots=True)
class _Walk:
    file: int
    page_size: int
    whole: int
    """Pages that are there to their end."""

    def go(self) -> None:
        waiting, seen = [*self._roots()], 0
        while waiting:
            number = waiting.pop()
            seen += 1
            if seen > self.whole:
                raise lmdb.CorruptedError("the pages of data.mdb refer to each other in circles")
            try:
                waiting += self._children(number)
            except struct.error:
                raise lmdb.CorruptedError(f"page {number} of data.mdb is damaged") from None

    def _roots(self) -> Iterator[int]:
        metas = [_META.unpack_from(self._read(number)) for number in (0, 1)]
        _, free, tables, _ = max(metas, key=lambda meta: meta[-1])
        yield from (root for root in (free, tables) if root != _NOTHING)

    def _read(self, number: int, pages: int = 1) -> bytes:
        """Return the first of some pages that must all be there."""
        if number + pages > self.whole:
            last = number + pages - 1
            raise lmdb.CorruptedError(f"data.mdb has {self.whole} pages and needs page {last}")
        return os.pread(self.file, self.page_size, number * self.page_size)

    def _children(self, number: int) -> Iterator[int]:
        """Give the pages that a page of a tree refers to; those of large values are looked at."""
        page = self._read(number)
        told, flags, lower, _ = _PAGE.unpack_from(page)
        if told != number or not flags & (_BRANCH | _LEAF) or lower > self.page_size:
            raise struct.error
        count = (lower - _PAGE.size) // 2
        for at in struct.unpack_from(f"<{max(0, count)}H", page, _PAGE.size):
            low, high, marks, key = _NODE.unpack_from(page, at)
            value = at + _NODE.size + key
            if flags & _BRANCH:
                yield low | high << 16 | marks << 32
            elif marks & _LARGE:
                self._check_large(*_NUMBER.unpack_from(page, value))
            elif marks & _TABLE:
                (root,) = _ROOT.unpack_from(page, value)
                yield from () if root == _NOTHING else (root,)

    def _check_large(self, number: int) -> None:
        told, pages = _RUN.unpack_from(self._read(number))
        if told != number:
            raise struct.error
        self._read(number, pages)
