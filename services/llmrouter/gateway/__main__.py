"""`python -m llmrouter.gateway`: the gateway service alone."""

from __future__ import annotations

from llmrouter.common.standalone import main
from llmrouter.gateway.service import PROGRAM

if __name__ == "__main__":
    main(PROGRAM)
