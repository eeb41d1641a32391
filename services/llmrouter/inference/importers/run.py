"""From a name or a checkpoint to model folders in the store: find, fetch, open, convert.

Plain synchronous functions that compute for seconds: call them in a process of their own, never
on an event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from llmrouter.common.errors import invalid
from llmrouter.inference.importers.architecture import PRECISIONS
from llmrouter.inference.importers.base import Checkpoint, find_importer
from llmrouter.inference.importers.budget import AUTO, Budget, Choice, choose
from llmrouter.inference.importers.conversion import Job, convert_all
from llmrouter.inference.importers.embedding import pull_embedding
from llmrouter.inference.importers.refusal import faults_told
from llmrouter.inference.models.alias_file import AliasFile
from llmrouter.inference.models.catalog import CatalogEntry, find_entry
from llmrouter.inference.models.embedding_catalog import EMBEDDINGS, find_embedding_entry
from llmrouter.inference.models.integrity import Damaged, ignore, to_fetch
from llmrouter.inference.models.kinds import StoredModel
from llmrouter.inference.models.progress import Progress, Tell, silent, unheard
from llmrouter.inference.models.sources.base import Source
from llmrouter.inference.models.sources.local import LocalSource
from llmrouter.inference.models.store import ModelStore, check_name
from llmrouter.inference.models.versions import key_of, with_precision

__all__ = ["catalog_checkpoint", "import_checkpoint", "import_from", "pull"]


def pull(
    name: str,
    store: ModelStore,
    precisions: Sequence[str] | None = None,
    progress: Progress = silent,
    damaged: Damaged = ignore,
    budget: Budget | None = None,
    on_choice: Callable[[Choice], None] = lambda _: None,
    tell: Tell = unheard,
) -> Sequence[StoredModel]:
    """Fetch a model of the catalog, and import it unless its files are used as they are.

    Args:
        name: A bare name (all precisions) or one with its precision.
        store: Where the folders go; models that are there whole are left as they are, a damaged
            one stays until it can be replaced.
        precisions: Instead of those the name stands for.
        progress: Told of every stage.
        damaged: Told of every model that is replaced.
        budget: What a loaded model may take; the precision `auto` is the highest that does.
        on_choice: Told what `auto` became, and why.
        tell: Told that it waits for another, what it goes on with, and where it can be gone on.

    Returns:
        The folders, in the order of the precisions.

    Raises:
        RouterError: UNKNOWN_MODEL; MODEL_UNAVAILABLE when the source cannot be had or is wrong,
            or the disk is full. Nothing half-written is left.
    """
    ready_made = find_embedding_entry(name)
    if ready_made is not None:
        return [pull_embedding(ready_made, store, precisions, progress, damaged, tell)]
    entry, named = find_entry(name, [one.name for one in EMBEDDINGS])
    if AUTO in (precisions or ()):
        _check_budget(precisions, budget)
        _check_precisions([one for one in precisions or () if one != AUTO])
        chosen = _pull_fitting(entry, precisions or (), store, progress, budget, on_choice, tell)
        return [store.model(entry.model_name(one)) for one in chosen]
    wanted = _check_precisions(precisions or named)
    if not set(wanted) & set(entry.offered if name == entry.name else named):
        raise invalid("precision", f"{', '.join(wanted)} contradicts the name {name}")
    if _missing(entry, wanted, store):
        with store.downloading(tell) as downloads:
            # Another process may have pulled them while this one waited.
            missing = _missing(entry, wanted, store, damaged)
            _pull_missing(entry, missing, store, downloads, progress, tell)
    return [store.model(entry.model_name(one)) for one in wanted]


def import_checkpoint(
    source: Path,
    name: str,
    store: ModelStore,
    precisions: Sequence[str] | None = None,
    progress: Progress = silent,
    importer: str | None = None,
    budget: Budget | None = None,
    on_choice: Callable[[Choice], None] = lambda _: None,
    tell: Tell = unheard,
) -> list[StoredModel]:
    """Import a file or folder of this machine, as `import_from` says."""
    here = LocalSource(source)
    return import_from(here, name, store, precisions, progress, importer, budget, on_choice, tell)


def import_from(
    source: Source,
    name: str,
    store: ModelStore,
    precisions: Sequence[str] | None = None,
    progress: Progress = silent,
    importer: str | None = None,
    budget: Budget | None = None,
    on_choice: Callable[[Choice], None] = lambda _: None,
    tell: Tell = unheard,
) -> list[StoredModel]:
    """Import a checkpoint as the models `<name>-<precision>`, replacing those of that name.

    A label behind an @ in `name` makes them versions beside those of other labels.

    Args:
        source: Where it is.
        name: What the models are called, before their precision.
        store: Where the folders go.
        precisions: Which to write; None writes all that the checkpoint can become.
        progress: Told of every stage.
        importer: The registered importer to use; None takes the one made for the format.
        budget: What a loaded model may take; the precision `auto` is the highest that does.
        on_choice: Told what `auto` became, and why.
        tell: Told that it waits for another, what it goes on with, and where it can be gone on.

    Raises:
        RouterError: INVALID_ARGUMENT for the name, a label that is an alias, a precision, or a
            budget that nothing fits; MODEL_UNAVAILABLE naming what is wrong with the source or the
            checkpoint, or a full disk. Nothing half-written is left.
    """
    check_name(name)
    _check_labels(name, precisions or (), store)
    _check_budget(precisions, budget)
    # What lies here already waits for nobody's download.
    place = (
        nullcontext(store.downloads) if isinstance(source, LocalSource) else store.downloading(tell)
    )
    with place as downloads, source.fetched(downloads, progress) as found:
        with faults_told(found.origin.location, store):
            checkpoint = find_importer(found.path, importer).open(found.path)
        chosen = _resolved(precisions or checkpoint.precisions, checkpoint, budget, on_choice)
        wanted = _check_precisions(chosen, checkpoint.precisions)
        _check_labels(name, wanted, store)
        job = Job(checkpoint, found.origin, None, progress, tell)
        return convert_all(job, {one: with_precision(name, one) for one in wanted}, store)


def _check_labels(name: str, precisions: Sequence[str], store: ModelStore) -> None:
    """Refuse a label that is an alias of what would be imported."""
    for one in precisions:
        AliasFile(store.root).check_label(key_of(with_precision(name, one)))


def _check_budget(precisions: Sequence[str] | None, budget: Budget | None) -> None:
    """Refuse `auto` without a budget, before anything is fetched for it."""
    if AUTO in (precisions or ()) and budget is None:
        raise invalid("precision", f"'{AUTO}' needs a memory budget; give one or name a precision")


def _resolved(
    precisions: Sequence[str],
    checkpoint: Checkpoint,
    budget: Budget | None,
    on_choice: Callable[[Choice], None],
) -> Sequence[str]:
    """Return the precisions with `auto` replaced by what fits the budget."""
    if AUTO not in precisions or budget is None:
        return precisions
    choice = choose(checkpoint, budget)
    on_choice(choice)
    return [choice.precision if one == AUTO else one for one in precisions]


def _check_precisions(
    precisions: Sequence[str], known: Sequence[str] = PRECISIONS
) -> tuple[str, ...]:
    for one in precisions:
        if one not in known:
            raise invalid("precision", f"{one!r} cannot be had; one of {', '.join(known)}")
    return tuple(dict.fromkeys(precisions))


def _missing(
    entry: CatalogEntry, precisions: Sequence[str], store: ModelStore, damaged: Damaged = ignore
) -> list[str]:
    """Return the precisions that have to be fetched."""
    return [one for one in precisions if to_fetch(store.path(entry.model_name(one)), damaged)]


def _pull_missing(
    entry: CatalogEntry,
    precisions: Sequence[str],
    store: ModelStore,
    downloads: Path,
    progress: Progress,
    tell: Tell,
) -> None:
    if not precisions:
        return
    with entry.source.fetched(downloads, progress) as found:
        job = Job(
            find_importer(found.path).open(found.path), found.origin, entry.licence, progress, tell
        )
        convert_all(job, {one: entry.model_name(one) for one in precisions}, store)


def _pull_fitting(
    entry: CatalogEntry,
    precisions: Sequence[str],
    store: ModelStore,
    progress: Progress,
    budget: Budget | None,
    on_choice: Callable[[Choice], None],
    tell: Tell,
) -> Sequence[str]:
    """Pull what is missing of precisions that the checkpoint itself must be asked for."""
    with store.downloading(tell) as downloads, entry.source.fetched(downloads, progress) as found:
        checkpoint = find_importer(found.path).open(found.path)
        chosen = _check_precisions(_resolved(precisions, checkpoint, budget, on_choice))
        missing = _missing(entry, chosen, store)
        job = Job(checkpoint, found.origin, entry.licence, progress, tell)
        convert_all(job, {one: entry.model_name(one) for one in missing}, store)
    return chosen


@contextmanager
def catalog_checkpoint(name: str, store: ModelStore, progress: Progress = silent) -> Iterator[Path]:
    """Fetch the checkpoint that a model of the catalog is made of; it is gone afterwards.

    Args:
        name: A bare name or one with its precision.
        store: Where it lies meanwhile.
        progress: Told of every stage.

    Raises:
        RouterError: UNKNOWN_MODEL; MODEL_UNAVAILABLE when the source cannot be had or is wrong.
    """
    entry, _ = find_entry(name)
    with store.downloading() as downloads, entry.source.fetched(downloads, progress) as found:
        yield found.path
