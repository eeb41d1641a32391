"""How often keys were asked for lately, in a fixed number of bytes."""

from __future__ import annotations

__all__ = ["FrequencySketch"]

_MOST = 15
_ROWS = 4
_MASK_64 = (1 << 64) - 1


class FrequencySketch:
    """A count-min sketch whose counts end at 15 and are halved from time to time.

    Source: Einziger, Friedman and Manes, "TinyLFU: A Highly Efficient Cache Admission Policy", ACM
    TOS 2017. A count is never too low but by the halving, and rarely too high.
    """

    def __init__(self, width: int) -> None:
        """Begin with no key seen.

        Args:
            width: Counters per row, rounded up to a power of two of at least 1,024; some 8 per key
                held do well.
        """
        self._mask = (1 << max(10, (width - 1).bit_length())) - 1
        self._rows = [bytearray(self._mask + 1) for _ in range(_ROWS)]
        self._seen = 0

    def count(self, key: bytes, sample: int) -> None:
        """Count one request; all counts are halved once `sample` have been seen."""
        for row, place in zip(self._rows, self._places(key), strict=True):
            if row[place] < _MOST:
                row[place] += 1
        self._seen += 1
        if self._seen >= sample:
            self._seen //= 2
            self._rows = [row.translate(_HALVES) for row in self._rows]

    def estimate(self, key: bytes) -> int:
        """Return how often a key was seen, 0 to 15."""
        return min(row[place] for row, place in zip(self._rows, self._places(key), strict=True))

    def _places(self, key: bytes) -> tuple[int, int, int, int]:
        # Salted per process, so that nobody can choose keys that meet.
        first = hash(key) & _MASK_64
        step, mask = (first >> 32) | 1, self._mask
        return (
            first & mask,
            (first + step) & mask,
            (first + 2 * step) & mask,
            (first + 3 * step) & mask,
        )


_HALVES = bytes(count // 2 for count in range(256))
