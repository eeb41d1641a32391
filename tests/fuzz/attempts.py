"""Tries damaged copies of one seed: a program of its own, since it may die of them.

Its arguments are the seed, a folder to work in, and the first number and the one after the last.
Every number is told before it is tried and every fault after, so that whoever reads along knows
what killed it.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import shutil
import signal
import sys
from pathlib import Path

from tests.fuzz.seeds import broken_copy

from llmrouter.common.embedding import EmbeddingRequest
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import RequestContext, SamplingOptions
from llmrouter.inference.backends.base import BackendOptions, BackendRequest
from llmrouter.inference.importers.base import find_importer
from llmrouter.inference.models.embedding_folder import read_embedding_folder
from llmrouter.inference.models.graph_check import check_graph, load_graph
from llmrouter.inference.models.graph_operators import GraphKind
from llmrouter.inference.models.opening import Opener, find_backend
from llmrouter.inference.models.progress import silent
from llmrouter.inference.models.reading import read_model
from llmrouter.inference.models.text import load_text
from llmrouter.inference.models.text_files import load_tokenizer

MAX_SECONDS = 20
"""Of computing, so that a busy machine makes no fault."""
MAX_GROWTH = 256 * 2**20
"""Bytes of address space beyond what reading the whole seed took: files here have below a MiB."""

OPTIONS = BackendOptions(threads=1, slots=2, prefix_bytes=0, workspace_bytes=64 << 20)
_LOADED_OF = 8
"""One copy of so many is loaded: that takes much longer than to read it."""

TEXT = "a banana\n" * 20 + "\u00e9\ufdfa <|end|>"
"""What is encoded: letters that seeds replace, and one that Unicode writes in eighteen."""


def attempt(source: Path, target: Path, number: int) -> None:
    """Import a checkpoint at one of its precisions, read what it became and use its text side.

    Embedding models are read where they lie. Some are loaded as a service would, and asked.
    """
    if (source / "1_Pooling").exists():
        encoder = read_embedding_folder(source)
        check_graph(encoder.model_file, load_graph(encoder.model_file), GraphKind.ENCODER)
        load_tokenizer(source, encoder.vocab_size).encode(TEXT)
        _load(source, number)
        return
    checkpoint = find_importer(source).open(source)
    precision = checkpoint.precisions[number % len(checkpoint.precisions)]
    target.mkdir()
    checkpoint.convert(target, precision, silent)
    model = read_model(target)
    text = load_text(model)  # type: ignore[arg-type]  # no embedding comes here
    text.decode(text.encode(TEXT))
    _load(target, number)


def _load(folder: Path, number: int) -> None:
    """Load and ask every model of a few numbers, and of number 0, which has to be whole."""
    if number % _LOADED_OF == 0:
        asyncio.run(_ask(folder))


async def _ask(folder: Path) -> None:
    opened = await Opener(find_backend("onnxruntime"), OPTIONS).open(folder)
    try:
        if opened.embedder is not None:
            await opened.embedder.embed(EmbeddingRequest(("red blue",)), RequestContext("fuzz"))
        if opened.backend is not None and opened.text is not None:
            tokens = opened.text.encode("a banana")[:4] or [0]
            request = BackendRequest(tokens, SamplingOptions(max_tokens=3, temperature=0.0))
            async for _ in opened.backend.generate(request):
                pass
    except RouterError as error:
        if error.reason not in (Reason.GENERATION_FAILED, Reason.CONTEXT_TOO_LONG):
            raise
    finally:
        await opened.engine.close()


def fault_of(source: Path, target: Path, number: int) -> str | None:
    """Return what went wrong; of a damaged copy a refusal that names a file is as it should be."""
    try:
        attempt(source, target, number)
    except RouterError as refused:
        if number == 0:
            return f"is whole and refused: {refused.message[:300]}"
        names = [source.name, *(one.name for path in (source, target) for one in path.rglob("*"))]
        if not any(name in refused.message for name in names):
            return f"refused without naming a file: {refused.message[:300]}"
        with contextlib.suppress(UnicodeEncodeError):
            refused.message.encode()
            return None
        return f"refused in words that cannot be printed: {refused.message[:300]!a}"
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the fault
        return f"{type(error).__name__}: {str(error)[:300]}"
    return None


def bound_memory() -> None:
    """Let the process grow by no more than `MAX_GROWTH` from here on."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MAX_GROWTH
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main(seed: str, folder: Path, first: int, end: int) -> None:
    """Try the numbers from `first` to before `end`."""
    for number in (0, *range(max(1, first), end)):
        print(number, flush=True)  # noqa: T201 - this is what is read along
        source, target = folder / Path(seed).name, folder / "made"
        broken_copy(seed, number, source)
        signal.setitimer(signal.ITIMER_PROF, MAX_SECONDS)
        fault = fault_of(source, target, number)
        signal.setitimer(signal.ITIMER_PROF, 0)
        if fault is not None:
            print(f"{number} {fault!a}", flush=True)  # noqa: T201
        for path in (source, target):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        if number == 0:
            bound_memory()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
