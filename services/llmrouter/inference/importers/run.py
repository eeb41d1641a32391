"""From a name or a checkpoint to model folders in the store: find, fetch, open, convert.

Plain synchronous functions that compute for seconds: call them in a process of their own, never
on an event loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from llmrouter.common.errors import invalid
from llmrouter.inference.importers.architecture import PRECISIONS
from llmrouter.inference.importers.base import find_importer
from llmrouter.inference.importers.conversion import Job, convert_all
from llmrouter.inference.importers.embedding import pull_embedding
from llmrouter.inference.models.card import CARD_FILE
from llmrouter.inference.models.catalog import CatalogEntry, find_entry
from llmrouter.inference.models.embedding_catalog import EMBEDDINGS, find_embedding_entry
from llmrouter.inference.models.kinds import StoredModel
from llmrouter.inference.models.progress import Progress, silent
from llmrouter.inference.models.sources.base import Source
from llmrouter.inference.models.sources.local import LocalSource
from llmrouter.inference.models.store import ModelStore, check_name

__all__ = ["import_checkpoint", "import_from", "pull"]


def pull(
    name: str,
    store: ModelStore,
    precisions: Sequence[str] | None = None,
    progress: Progress = silent,
) -> Sequence[StoredModel]:
    """Fetch a model of the catalog, and import it unless its files are used as they are.

    Args:
        name: A bare name (all precisions) or one with its precision.
        store: Where the folders go; models that are there already are left as they are.
        precisions: Instead of those the name stands for.
        progress: Told of every stage.

    Returns:
        The folders, in the order of the precisions.

    Raises:
        RouterError: UNKNOWN_MODEL; MODEL_UNAVAILABLE when the source cannot be had or is wrong,
            or the disk is full. Nothing half-written is left.
    """
    ready_made = find_embedding_entry(name)
    if ready_made is not None:
        return [pull_embedding(ready_made, store, precisions, progress)]
    entry, named = find_entry(name, [one.name for one in EMBEDDINGS])
    wanted = _check_precisions(precisions or named)
    if not set(wanted) & set(entry.offered if name == entry.name else named):
        raise invalid("precision", f"{', '.join(wanted)} contradicts the name {name}")
    if _missing(entry, wanted, store):
        with store.downloading() as downloads:
            # Another process may have pulled them while this one waited.
            _pull_missing(entry, _missing(entry, wanted, store), store, downloads, progress)
    return [store.model(entry.model_name(one)) for one in wanted]


def import_checkpoint(
    source: Path,
    name: str,
    store: ModelStore,
    precisions: Sequence[str] | None = None,
    progress: Progress = silent,
    importer: str | None = None,
) -> list[StoredModel]:
    """Import a file or folder of this machine, as `import_from` says."""
    return import_from(LocalSource(source), name, store, precisions, progress, importer)


def import_from(
    source: Source,
    name: str,
    store: ModelStore,
    precisions: Sequence[str] | None = None,
    progress: Progress = silent,
    importer: str | None = None,
) -> list[StoredModel]:
    """Import a checkpoint as the models `<name>-<precision>`, replacing those of that name.

    Args:
        source: Where it is.
        name: What the models are called, before their precision.
        store: Where the folders go.
        precisions: Which to write; None writes all that the checkpoint can become.
        progress: Told of every stage.
        importer: The registered importer to use; None takes the one made for the format.

    Raises:
        RouterError: INVALID_ARGUMENT for the name or a precision; MODEL_UNAVAILABLE naming what
            is wrong with the source or the checkpoint, or a full disk. Nothing half-written is
            left.
    """
    check_name(name)
    # What lies here already waits for nobody's download.
    place = nullcontext(store.downloads) if isinstance(source, LocalSource) else store.downloading()
    with place as downloads, source.fetched(downloads, progress) as found:
        checkpoint = find_importer(found.path, importer).open(found.path)
        wanted = _check_precisions(precisions or checkpoint.precisions, checkpoint.precisions)
        job = Job(checkpoint, found.origin, None, progress)
        return convert_all(job, {one: f"{name}-{one}" for one in wanted}, store)


def _check_precisions(
    precisions: Sequence[str], known: Sequence[str] = PRECISIONS
) -> tuple[str, ...]:
    for one in precisions:
        if one not in known:
            raise invalid("precision", f"{one!r} cannot be had; one of {', '.join(known)}")
    return tuple(dict.fromkeys(precisions))


def _missing(entry: CatalogEntry, precisions: Sequence[str], store: ModelStore) -> list[str]:
    """Return the precisions that the store lacks or holds without a card."""
    return [
        one for one in precisions if not (store.path(entry.model_name(one)) / CARD_FILE).is_file()
    ]


def _pull_missing(
    entry: CatalogEntry,
    precisions: Sequence[str],
    store: ModelStore,
    downloads: Path,
    progress: Progress,
) -> None:
    if not precisions:
        return
    with entry.source.fetched(downloads, progress) as found:
        job = Job(find_importer(found.path).open(found.path), found.origin, entry.licence, progress)
        convert_all(job, {one: entry.model_name(one) for one in precisions}, store)
