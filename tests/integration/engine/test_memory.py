"""What the engine gives back when memory is short, and what processes share of a model."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from llmrouter import _native
from llmrouter.common.generation import SamplingOptions
from llmrouter.inference.backends.base import BackendOptions, BackendRequest, TokenDelta
from llmrouter.inference.backends.onnxruntime import OnnxRuntimeBackend

PROMPT = tuple(index % 250 for index in range(100))
GREEDY = SamplingOptions(temperature=0, max_tokens=8)

native = pytest.mark.skipif(
    not _native.detect_processor().avx2, reason="native kernels need a processor with AVX2"
)


async def text_of(backend: OnnxRuntimeBackend) -> str:
    events = [event async for event in backend.generate(BackendRequest(PROMPT, GREEDY))]
    return "".join(event.text for event in events if isinstance(event, TokenDelta))


async def test_kept_prefixes_are_forgotten_and_kept_anew(tiny_folder: Path) -> None:
    backend = await OnnxRuntimeBackend.load(tiny_folder, BackendOptions(threads=2, slots=2))
    try:
        first = await text_of(backend)
        kept = backend.statistics().prefix_bytes
        assert kept > 0
        backend.forget_prefixes(kept)
        backend.forget_prefixes(0)
        async with asyncio.timeout(20):
            while backend.statistics().prefix_bytes:  # noqa: ASYNC110 (no event tells)
                await asyncio.sleep(0.001)
        assert await text_of(backend) == first
        assert backend.statistics().reused_tokens == 0
        assert backend.statistics().prefix_bytes == kept
    finally:
        await backend.close()


def protection_of(file: Path) -> str:
    """How this process has a file mapped, as proc_pid_maps(5) has it."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    [mapped] = [line for line in lines if line.endswith(str(file))]
    return mapped.split()[1]


@native
async def test_weights_that_are_shared_compute_the_same(
    external_folder: Path, tmp_path: Path
) -> None:
    texts = []
    for root in (None, tmp_path / "packed", tmp_path / "packed"):
        options = BackendOptions(threads=2, slots=2, kernels="native", shared_weights=root)
        backend = await OnnxRuntimeBackend.load(external_folder, options)
        texts.append(await text_of(backend))
        if root is not None:
            [file] = (root / external_folder.name).iterdir()
            assert protection_of(file) == "r--s", "one memory for all, which nobody writes"
        await backend.close()
    assert texts[0] == texts[1] == texts[2]


@native
async def test_where_nothing_can_be_written_each_process_has_its_own_weights(
    external_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "packed").write_text("no folder")
    options = BackendOptions(
        threads=2, slots=2, kernels="native", shared_weights=tmp_path / "packed"
    )
    backend = await OnnxRuntimeBackend.load(external_folder, options)
    assert await text_of(backend)
    await backend.close()
