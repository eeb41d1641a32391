"""A program that stores answers as fast as it can and says on stdout which are acknowledged."""

import asyncio
import hashlib
import sys
from pathlib import Path

from llmrouter.cache.settings import CacheSettings
from llmrouter.cache.tiers import open_tiers, steady_clock

__all__ = ["payload", "place"]


def place(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


def payload(number: int) -> bytes:
    """Between 100 bytes and some 20 kB, told apart by the number."""
    return b"%d " % number * (100 + number * 7919 % 4_000)


async def _write(folder: Path, first: int) -> None:
    tiers, _, _ = await open_tiers(
        CacheSettings(memory_max_bytes=0, disk_max_bytes=1 << 30), folder, steady_clock()
    )

    async def keep_on(start):
        for number in range(start, 1 << 30, 8):
            await tiers.store(place(number), payload(number), [b"l" * 16], 3600.0)
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()

    await asyncio.gather(*(keep_on(first + lane) for lane in range(8)))


if __name__ == "__main__":
    asyncio.run(_write(Path(sys.argv[1]), int(sys.argv[2])))
