"""Damaged and hostile checkpoints of every format: read or refused, within time and memory.

The whole files that are damaged lie in `seeds`, a file or a folder each, and beside them what once
did harm. `python -m tests.fuzz` damages them in ever new ways, and tells which to keep.
"""
