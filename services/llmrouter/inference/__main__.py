"""`python -m llmrouter.inference`: the inference service alone."""

from __future__ import annotations

from llmrouter.common.standalone import main
from llmrouter.inference.service import PROGRAM

if __name__ == "__main__":
    main(PROGRAM)
