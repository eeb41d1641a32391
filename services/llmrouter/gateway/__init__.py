"""The public API: one request through a chain of links, each in a file of its own."""
