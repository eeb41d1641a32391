"""What there is to copy, by the settings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from llmrouter.suite import SuiteSettings

__all__ = ["PART_NAMES", "Kind", "Part", "parts_of"]

_ALIASES = ".aliases.json"


class Kind(StrEnum):
    """How a part is kept, and so how it is copied."""

    SQLITE = "sqlite"
    LMDB = "lmdb"
    FILE = "file"
    """Written whole, or only added to."""


@dataclass(frozen=True, slots=True)
class Part:
    """Something that is copied as one."""

    name: str
    """In the archive and on the command line."""
    kind: Kind
    path: Path
    """The file; of LMDB the folder that a service holds."""
    inside: Path = Path()
    """Of LMDB: where the environment lies below the folder. What else lies there is made anew."""

    @property
    def there(self) -> bool:
        """Whether there is anything to copy."""
        return (
            self.path / self.inside / "data.mdb" if self.kind is Kind.LMDB else self.path
        ).exists()


def parts_of(settings: SuiteSettings, data: Path) -> tuple[Part, ...]:
    """Return everything that the services of these settings keep on this machine.

    Models are not among it: they are pulled or imported again.

    Args:
        settings: The whole configuration.
        data: The data directory.
    """
    gateway, cache, selector = settings.gateway, settings.cache, settings.selector
    keys = gateway.identity.key_store or data / "keys.sqlite"
    answers = cache.disk_path or data / "answers"
    return (
        Part("keys", Kind.SQLITE, keys),
        Part(
            "keys-secret", Kind.FILE,
            gateway.identity.hash_secret_file or keys.with_name(f"{keys.name}.secret"),
        ),
        Part("limits", Kind.SQLITE, gateway.limits.file or data / "limits.sqlite"),
        Part("ledger", Kind.SQLITE, gateway.ledger.file or data / "ledger.sqlite"),
        Part("audit", Kind.FILE, gateway.identity.audit_file or data / "audit.jsonl"),
        Part("selector", Kind.SQLITE, selector.state_file(data)),
        Part("decisions", Kind.SQLITE, selector.decisions_file(data)),
        Part("aliases", Kind.FILE, (settings.inference.store or data / "models") / _ALIASES),
        Part("answers", Kind.LMDB, answers),
        Part(
            "questions", Kind.LMDB, answers.with_name(f"{answers.name}-similar"), Path("questions")
        ),
    )  # fmt: skip


PART_NAMES = tuple(part.name for part in parts_of(SuiteSettings(), Path()))
"""The names of all parts, in the order in which they are copied."""
