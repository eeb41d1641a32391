"""Models that others run: asked over HTTP, offered beside the local ones."""
