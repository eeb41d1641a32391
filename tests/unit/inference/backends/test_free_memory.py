from __future__ import annotations

from pathlib import Path

from llmrouter.inference.backends.free_memory import give_back


def resident() -> int:
    """Bytes of memory of this process's own."""
    fields = Path("/proc/self/smaps_rollup").read_text().split()
    return int(fields[fields.index("Pss_Anon:") + 1]) * 1024


def test_what_was_freed_goes_back_to_the_system() -> None:
    # Small pieces come from the heap, and the last one keeps it from shrinking by itself.
    pieces = [bytes(2000) + index.to_bytes(8, "big") for index in range(30_000)]
    last = bytes(2000)
    held = resident()
    del pieces
    give_back()
    assert resident() < held - 30_000_000
    assert last is not None
