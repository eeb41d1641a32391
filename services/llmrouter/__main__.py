"""`python -m llmrouter` is the program `llmrouter`."""

from llmrouter.cli import main

if __name__ == "__main__":
    main()
