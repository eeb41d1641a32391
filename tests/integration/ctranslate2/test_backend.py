"""A tiny real model on CTranslate2, converted from the same GGUF as the ONNX folder beside it."""

import asyncio
import contextlib
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from tests.integration.models.driving import Runner
from tests.unit.inference.importers.tiny_gguf import Tiny, write_tiny_gguf
from tokenizers import Tokenizer, processors

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import FinishReason, FormatKind, ResponseFormat, SamplingOptions
from llmrouter.inference.backends.base import (
    BackendFinished,
    BackendOptions,
    BackendRequest,
    TokenDelta,
)
from llmrouter.inference.backends.onnxruntime import OnnxRuntimeBackend
from llmrouter.inference.importers import run
from llmrouter.inference.models.card import CARD_FILE
from llmrouter.inference.models.ctranslate2_folder import read_ctranslate2_folder
from llmrouter.inference.models.folder import read_folder
from llmrouter.inference.models.kinds import Kind, kind_of
from llmrouter.inference.models.registry import ModelRegistry
from llmrouter.inference.models.residency import ModelState
from llmrouter.inference.models.store import ModelStore
from llmrouter.inference.models.text import load_text

ctranslate2 = pytest.importorskip("ctranslate2", reason="needs the extra `ctranslate2`")

from llmrouter.inference.backends import ctranslate2 as backend_module  # noqa: E402
from llmrouter.inference.backends.ctranslate2 import CTranslate2Backend  # noqa: E402
from llmrouter.inference.importers.ctranslate2 import GgufToCTranslate2  # noqa: E402
from llmrouter.inference.importers.ctranslate2_spec import unpermute  # noqa: E402

OPTIONS = BackendOptions(threads=1, batch_window_seconds=0.05, batch_padding=0.9)
GREEDY = SamplingOptions(temperature=0.0, max_tokens=12)
SPEAKS = [40, 41, 42]
"""A prompt with an answer that does not end by itself."""


@pytest.fixture(scope="module")
def gguf(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_tiny_gguf(path, Tiny())
    return path


@pytest.fixture(scope="module")
def store(gguf, tmp_path_factory):
    """The same weights unquantised for either engine, and at 8 bits for CTranslate2."""
    store = ModelStore(tmp_path_factory.mktemp("store"))
    run.import_checkpoint(gguf, "ct2", store, ("fp32", "int8"), importer="gguf-ctranslate2")
    run.import_checkpoint(gguf, "onnx", store, ("fp32",))
    return store


@pytest.fixture
async def make(store):
    made = []

    async def load(name="ct2-fp32", options=OPTIONS):
        made.append(await CTranslate2Backend.load(store.path(name), options))
        return made[-1]

    yield load
    for one in made:
        await one.close()


async def answer(backend, prompt, sampling=GREEDY, **wishes):
    text, tokens, end = "", 0, None
    stream = backend.generate(BackendRequest(prompt, sampling, **wishes))
    async with contextlib.aclosing(stream) as events:
        async for event in events:
            if isinstance(event, TokenDelta):
                text += event.text
                tokens += event.tokens
            else:
                end = event
    assert isinstance(end, BackendFinished)
    return text, end


def expected(store, prompt, count=12):
    """What plain onnxruntime says greedily to the same weights."""
    return Runner(read_folder(store.path("onnx-fp32"))).greedy(prompt, count)


def text_of(store, tokens):
    folder = read_ctranslate2_folder(store.path("ct2-fp32"))
    table = load_text(folder).token_bytes
    said = [table[token] for token in tokens if token not in folder.eos_token_ids]
    return b"".join(said).decode(errors="replace")


@pytest.mark.parametrize("prompt", [[10], [40, 41, 42], list(range(20, 60))])
async def test_the_converted_model_says_what_the_onnx_folder_says(make, store, prompt):
    tokens = expected(store, prompt)
    text, end = await answer(await make(), prompt)
    assert text == text_of(store, tokens)
    assert end.completion_tokens == len(tokens)
    assert end.prompt_tokens == len(prompt)


async def test_requests_together_say_what_each_says_alone(make):
    backend = await make()
    prompts = [[10], [40, 41, 42], list(range(20, 40)), [99, 7]]
    alone = [(await answer(backend, prompt))[0] for prompt in prompts]
    before = backend.statistics().steps
    limits = [12, 3, 12, 7]
    together = await asyncio.gather(
        *(
            answer(backend, prompt, replace(GREEDY, max_tokens=limit))
            for prompt, limit in zip(prompts, limits, strict=True)
        )
    )
    assert backend.statistics().steps < before + len(prompts)
    for (text, end), whole, limit in zip(together, alone, limits, strict=True):
        assert whole.startswith(text.rstrip("\ufffd"))
        assert end.completion_tokens <= limit


async def test_an_answer_ends_at_its_limit_and_says_so(make):
    _, end = await answer(await make(), SPEAKS, replace(GREEDY, max_tokens=2))
    assert (end.reason, end.completion_tokens) == (FinishReason.LENGTH, 2)


async def test_an_answer_ends_at_its_stop_string_which_is_not_part_of_it(make):
    backend = await make()
    whole, _ = await answer(backend, SPEAKS)
    stop = whole[2:4]
    assert len(stop) == 2
    text, end = await answer(backend, SPEAKS, replace(GREEDY, stop=(stop,)))
    assert (text, end.reason, end.stop) == (whole[: whole.index(stop)], FinishReason.STOP, stop)


async def test_drawn_answers_differ_and_the_same_batch_may_hold_both_kinds(make):
    backend = await make()
    drawn = SamplingOptions(temperature=1.5, max_tokens=12)
    results = await asyncio.gather(
        *(answer(backend, SPEAKS, drawn) for _ in range(8)), answer(backend, SPEAKS)
    )
    assert len({text for text, _ in results[:-1]}) > 1
    assert results[-1][0] == (await answer(backend, SPEAKS))[0]


async def test_a_prompt_past_the_context_is_refused_with_both_numbers(make):
    with pytest.raises(RouterError) as refused:
        await answer(await make(), [10] * 256)
    assert refused.value.reason is Reason.CONTEXT_TOO_LONG
    name = refused.value.metadata.pop("model")
    assert refused.value.metadata == {"prompt_tokens": "256", "context": "256"}
    assert f"256 tokens, too many for the context of 256 of {name};" in refused.value.message


async def test_a_seed_for_drawing_is_refused_by_its_name(make):
    sampling = SamplingOptions(temperature=1.0, seed=7, max_tokens=2)
    with pytest.raises(RouterError) as refused:
        await answer(await make(), [10], sampling)
    assert refused.value.reason is Reason.UNSUPPORTED_OPTION
    assert refused.value.violations[0].field == "sampling.seed"
    await answer(await make(), [10], replace(sampling, temperature=0.0))


async def test_more_choice_than_there_are_tokens_is_all_of_them_and_fails_nobody(make):
    backend = await make()
    wide = SamplingOptions(temperature=1.0, top_k=1_000_000, max_tokens=8)
    (_, drawn), (said, _) = await asyncio.gather(
        answer(backend, SPEAKS, wide), answer(backend, [10, 11, 12], GREEDY)
    )
    assert drawn.reason in (FinishReason.STOP, FinishReason.LENGTH)
    assert said == (await answer(backend, [10, 11, 12], GREEDY))[0]


@pytest.mark.parametrize("temperature", [1e-38, 1e-7])
async def test_temperatures_next_to_nothing_take_the_best_token(make, temperature):
    backend = await make()
    cold = SamplingOptions(temperature=temperature, max_tokens=12)
    assert (await answer(backend, SPEAKS, cold))[0] == (await answer(backend, SPEAKS))[0]


async def test_ways_of_drawing_take_turns_by_priority_a_batch_each(make):
    backend = await make(options=replace(OPTIONS, slots=8))
    warm = [SamplingOptions(temperature=0.5 + at / 10, max_tokens=20) for at in range(4)]
    ends = await asyncio.gather(*(answer(backend, SPEAKS, one) for one in warm))
    assert backend.statistics().steps == len(warm)
    queues = sorted(end.queue for _, end in ends)
    assert queues[-1] > queues[0]


async def test_a_call_that_raises_fails_no_other_of_its_batch(make, monkeypatch):
    backend = await make()
    run_model = backend._model.run

    def run(prompts, limits, on_token, drawing):
        if "sampling_temperature" in drawing:
            raise ValueError("out of paper")
        run_model(prompts, limits, on_token, drawing)

    monkeypatch.setattr(backend._model, "run", run)
    monkeypatch.setattr(backend_module._Sequence, "kind", 0)  # as where two hashes meet
    broken, fine = await asyncio.gather(
        answer(backend, SPEAKS, replace(GREEDY, temperature=0.7)),
        answer(backend, SPEAKS),
        return_exceptions=True,
    )
    assert backend.statistics().steps == 1
    assert broken.reason is Reason.GENERATION_FAILED
    assert fine[1].completion_tokens == 12


@pytest.mark.parametrize(
    ("prompt", "problem"), [([], "at least one token"), ([10, 264], "264"), ([-1], "-1")]
)
async def test_a_prompt_of_no_tokens_or_of_unknown_ones_is_refused_by_name(make, prompt, problem):
    with pytest.raises(RouterError, match=f"prompt.*{problem}") as refused:
        await answer(await make(), prompt)
    assert refused.value.reason is Reason.INVALID_ARGUMENT
    assert refused.value.violations[0].field == "prompt"


def copied(store, folder):
    folder.mkdir()
    for file in store.path("ct2-fp32").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


async def test_a_tokenizer_that_adds_unknown_tokens_is_refused_when_loading(store, tmp_path):
    folder = copied(store, tmp_path / "adding")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[X] $A", special_tokens=[("[X]", 5000)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / CARD_FILE).unlink()  # It knows the size of the file that was imported.
    with pytest.raises(RouterError, match=r"tokenizer\.json.*5000") as refused:
        await CTranslate2Backend.load(folder, OPTIONS)
    assert refused.value.reason is Reason.MODEL_UNAVAILABLE


ENDINGS = """
import asyncio, os, sys
from llmrouter.common.generation import SamplingOptions
from llmrouter.inference.backends.base import BackendOptions, BackendRequest
from llmrouter.inference.backends.ctranslate2 import CTranslate2Backend

async def main(folder):
    backend = await CTranslate2Backend.load(folder, BackendOptions(threads=1))
    sampling = SamplingOptions(temperature=0.0, max_tokens=200)
    events = backend.generate(BackendRequest([40, 41, 42], sampling))
    await anext(events)
    await backend.close()

for _ in range(8):  # the library is imported once and each process begins and ends by itself
    child = os.fork()
    if child == 0:
        asyncio.run(main(__import__("pathlib").Path(sys.argv[1])))
        sys.exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        sys.exit(f"a process ended with {os.waitstatus_to_exitcode(status)}")
"""


def test_a_process_ends_well_after_closing_amid_an_answer(store):
    command = [sys.executable, "-c", ENDINGS, str(store.path("ct2-fp32"))]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr


async def test_leaving_early_ends_the_sequence_with_its_next_token(make):
    backend = await make(options=replace(OPTIONS, batch_window_seconds=0))
    prompt = SPEAKS
    stream = backend.generate(BackendRequest(prompt, replace(GREEDY, max_tokens=250)))
    async for _ in stream:
        break
    await stream.aclose()
    for _ in range(500):
        if backend.statistics().running == 0:
            break
        await asyncio.sleep(0.01)
    assert backend.statistics().running == 0
    await answer(backend, prompt)


async def test_closing_ends_running_and_queued_answers_as_unavailable(make, monkeypatch):
    backend = await make(options=replace(OPTIONS, batch_window_seconds=0, batch_size=1))
    closing, step = threading.Event(), backend._step

    def held_up(job, token):
        ended = step(job, token)
        if job.payload.generated > 1:  # the first token is half a character: nothing is told yet
            closing.wait(20)
        return ended

    monkeypatch.setattr(backend, "_step", held_up)
    long = BackendRequest(SPEAKS, replace(GREEDY, max_tokens=250))
    running, queued = backend.generate(long), backend.generate(long)
    await anext(running)
    waiting = [asyncio.create_task(anext(stream)) for stream in (running, queued)]
    await asyncio.sleep(0)
    ending = asyncio.create_task(backend.close())
    await asyncio.sleep(0)
    closing.set()
    ends = await asyncio.gather(*waiting, return_exceptions=True)
    await ending
    assert [getattr(end, "reason", end) for end in ends] == [Reason.MODEL_UNAVAILABLE] * 2


async def test_a_deadline_that_has_passed_costs_no_computation(make):
    backend = await make()
    with pytest.raises(RouterError) as refused:
        await answer(backend, [10], timeout=0.0)
    assert refused.value.reason is Reason.DEADLINE_EXCEEDED
    assert backend.statistics().steps == 0


async def test_weights_that_are_none_are_refused_by_their_folder(store, tmp_path):
    folder = copied(store, tmp_path / "broken")
    (folder / "model.bin").write_bytes(b"\x06\0\0\0")
    with pytest.raises(RouterError, match="broken") as refused:
        await CTranslate2Backend.load(folder, OPTIONS)
    assert refused.value.reason is Reason.MODEL_UNAVAILABLE


async def test_the_registry_chooses_the_backend_by_the_folder(store):
    registry = ModelRegistry(store.root, OnnxRuntimeBackend, replace(OPTIONS, slots=2))
    await registry.start()
    try:
        assert all(model.state is ModelState.READY for model in registry.models)
        backends = {model.key.name: model.opened.backend for model in registry.models}
        assert isinstance(backends["ct2-int8"], CTranslate2Backend)
        assert isinstance(backends["onnx-fp32"], OnnxRuntimeBackend)
    finally:
        await registry.close()


def test_an_import_writes_a_folder_with_a_card_and_its_context(store):
    folder = store.model("ct2-int8")
    assert kind_of(folder.path) is Kind.CTRANSLATE2
    assert (folder.context_length, folder.card.precision, folder.architecture) == (
        256, "int8", "llama",
    )  # fmt: skip
    assert folder.card.quality is None


def test_a_precision_that_ctranslate2_lacks_is_refused(gguf, tmp_path):
    with pytest.raises(RouterError, match="one of int8, fp32"):
        GgufToCTranslate2.open(gguf).convert(tmp_path, "int4", lambda *_: None)


def test_unpermuting_brings_neighbours_into_halves():
    rows = np.arange(8, dtype=np.float32)[:, None]
    assert unpermute(rows, heads=2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


async def test_a_response_format_is_refused_by_its_name(make):
    backend = await make()
    assert not backend.honours()
    wanted = ResponseFormat(FormatKind.REGEX, "a")
    with pytest.raises(RouterError) as refused:
        await answer(backend, [10], SamplingOptions(temperature=0, response_format=wanted))
    assert refused.value.reason is Reason.UNSUPPORTED_OPTION
    assert "sampling.response_format" in refused.value.message


@pytest.mark.parametrize("kind", [GGMLQuantizationType.F32, GGMLQuantizationType.F16])
def test_weights_that_the_file_holds_as_they_are_become_8_bits(tmp_path, kind):
    source = tmp_path / "plain.gguf"
    write_tiny_gguf(source, Tiny(matrix_type=kind, embedding_type=kind, tied=False))
    store = ModelStore(tmp_path / "store")
    [made] = run.import_checkpoint(source, "plain", store, ("int8",), importer="gguf-ctranslate2")
    assert read_ctranslate2_folder(made.path).card.precision == "int8"
