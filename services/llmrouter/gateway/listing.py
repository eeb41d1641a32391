"""What callers may name: the models that serve, and the strategies that choose among them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ListedModel", "Listing"]


@dataclass(frozen=True, slots=True)
class ListedModel:
    """One version that serves."""

    name: str
    version: str = ""
    aliases: tuple[str, ...] = ()

    def goes_by(self, name: str) -> bool:
        """Return whether it is meant by a name, `name@version` or alias."""
        return name in {self.name, f"{self.name}@{self.version}", *self.aliases}


@dataclass(frozen=True, slots=True)
class Listing:
    """All of them."""

    models: tuple[ListedModel, ...]
    """In order of names."""
    strategies: tuple[str, ...] = ()
