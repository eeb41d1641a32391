"""`python -m llmrouter.cache`: the cache service alone."""

from __future__ import annotations

from llmrouter.cache.service import PROGRAM
from llmrouter.common.standalone import main

if __name__ == "__main__":
    main(PROGRAM)
