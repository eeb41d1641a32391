"""What every provider's API has to be able to do, and what a request becomes for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from llmrouter.common.errors import FieldViolation, Reason, RouterError
from llmrouter.common.generation import (
    ChoiceFinished,
    Delta,
    GenerationRequest,
    Usage,
)

__all__ = ["Asked", "Codec", "Reading", "unsupported"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One HTTP request to a provider."""

    path: str
    """Below the base URL."""
    body: Mapping[str, Any] = field(repr=False)


class Reading(Protocol):
    """The events of one answer, read one after another."""

    usage: Usage | None
    """What the provider counted, once it has said so."""
    complete: bool
    """Whether the provider has said that nothing more will come."""

    def read(self, data: str) -> Iterable[Delta | ChoiceFinished]:
        """Return what one server-sent event brings.

        Raises:
            ValueError: It is not what this API sends.
            RouterError: The provider tells of a failure.
        """
        ...


class Codec(Protocol):
    """One provider's API."""

    @property
    def capabilities(self) -> frozenset[str]:
        """What its models can be asked for."""
        ...

    def headers(self, key: str) -> dict[str, str]:
        """Return the headers of every request."""
        ...

    def encode(
        self,
        request: GenerationRequest,
        upstream: str,
        max_tokens: int,
        *,
        continued: bool = False,
    ) -> Asked:
        """Return the HTTP request, which asks for a stream.

        Where the answer is `continued`, the last turn is its beginning.

        Raises:
            RouterError: UNSUPPORTED_OPTION naming what this API has no word for.
        """
        ...

    def reading(self, request: GenerationRequest) -> Reading:
        """Return what reads the answer."""
        ...


def unsupported(field_name: str, value: object) -> RouterError:
    """Return the error for an option that an API has no word for; another model may have one."""
    said = f"is {value!r}, which this provider's API cannot express"
    return RouterError(
        Reason.UNSUPPORTED_OPTION,
        f"sampling.{field_name} {said}",
        violations=(FieldViolation(f"sampling.{field_name}", said),),
    )
