"""Several sources of one checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from llmrouter.inference.models.progress import Progress
from llmrouter.inference.models.sources.base import Fetched, Source, SourceUnreachableError

__all__ = ["FirstReachable"]


@dataclass(frozen=True, slots=True)
class FirstReachable:
    """The first source that answers. One that answers wrongly is refused, not passed over."""

    sources: tuple[Source, ...]
    """At least one, the preferred one first."""

    @contextmanager
    def fetched(self, downloads: Path, progress: Progress) -> Iterator[Fetched]:
        """Bring the checkpoint here, as `Source.fetched` says."""
        with ExitStack() as stack:
            yield self._enter(stack, downloads, progress)

    def _enter(self, stack: ExitStack, downloads: Path, progress: Progress) -> Fetched:
        unreachable = []
        for source in self.sources:
            try:
                return stack.enter_context(source.fetched(downloads, progress))
            except SourceUnreachableError as error:
                unreachable.append(error.message)
        raise SourceUnreachableError("; ".join(unreachable))
