"""Small builders that the selector's tests share."""

from __future__ import annotations

from llmrouter.selector.catalog import ServedModel, build_catalog
from llmrouter.selector.settings import CatalogEntry


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def entry(name, **values):
    return CatalogEntry(name=name, **values)


def served(name, version=None, address="host:1", **values):
    if version is None:
        version = "v1" if values.get("ready", True) else ""
    values.setdefault("context", 8192)
    values.setdefault("capabilities", frozenset({"chat", "completion"}))
    values.setdefault("slots", 16)
    return ServedModel(name=name, version=version, address=address, **values)


def catalog_of(*entries, without=()):
    """A catalog in which every entry is served but those named in `without`."""
    held = [served(one.name) for one in entries if one.name not in without]
    return build_catalog(entries, held)
