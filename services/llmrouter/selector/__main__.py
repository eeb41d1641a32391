"""`python -m llmrouter.selector`: the selector service alone."""

from __future__ import annotations

from llmrouter.common.standalone import main
from llmrouter.selector.service import PROGRAM

if __name__ == "__main__":
    main(PROGRAM)
