"""A tiny real encoder behind the batcher, through the whole inference service."""

import asyncio
import gc
import json
import time
import weakref
from dataclasses import replace

import grpc
import numpy as np
import pytest
from grpc import aio
from tests.integration.embedding.tiny_encoder import (
    CONTEXT,
    DIMENSIONS,
    WORDS,
    table,
    write_encoder,
)
from tests.support.waiting import until
from tokenizers import Tokenizer, processors

from llmrouter.common.embedding import EmbeddingRequest
from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.generation import RequestContext
from llmrouter.common.guard import Gate
from llmrouter.common.inprocess import InProcessChannel, InProcessServer
from llmrouter.common.validation import MAX_TEXTS
from llmrouter.inference.backends import onnx_embedder
from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.backends.onnx_embedder import OnnxEmbedder
from llmrouter.inference.backends.onnx_encoder import pool
from llmrouter.inference.backends.onnxruntime import OnnxRuntimeBackend
from llmrouter.inference.models.embedding_folder import Pooling
from llmrouter.inference.models.opening import Opener
from llmrouter.inference.models.registry import ModelRegistry
from llmrouter.inference.remote.models import RemoteModels
from llmrouter.inference.servicer import InferenceServicer
from llmrouter.v1 import embedding_pb2, generation_pb2, inference_pb2
from llmrouter.v1.inference_pb2_grpc import (
    InferenceServiceStub,
    add_InferenceServiceServicer_to_server,
)

OPTIONS = BackendOptions(threads=1, batch_size=8, batch_window_seconds=0.01)
WHO = RequestContext("r")
ASKING = generation_pb2.RequestContext(request_id="r", tenant="t")


@pytest.fixture
def folder(tmp_path):
    return write_encoder(tmp_path / "store" / "tiny")


@pytest.fixture
async def make(folder):
    made = []

    async def load(path=folder, options=OPTIONS):
        made.append(await OnnxEmbedder.load(path, options))
        return made[-1]

    yield load
    for one in made:
        await one.close()


async def values(embedder, *texts, **options):
    return [one.values for one in await embedder.embed(EmbeddingRequest(texts, **options), WHO)]


async def until_waiting(embedder, texts):
    await until(lambda: embedder.statistics().waiting == texts)


def expected(*words):
    rows = table()[[2, *(WORDS.index(word) for word in words), 3]]
    mean = rows.mean(axis=0)
    return mean / np.linalg.norm(mean)


async def test_a_vector_is_the_normalised_mean_over_the_text_and_its_control_tokens(make):
    (found,) = await values(await make(), "red blue blue")
    np.testing.assert_allclose(found, expected("red", "blue", "blue"), atol=1e-6)


async def test_texts_of_different_lengths_together_equal_each_alone(make):
    embedder = await make(options=replace(OPTIONS, batch_padding=0.9))
    texts = ["red", "green blue loud red", "blue blue", "loud green"]
    together = await values(embedder, *texts)
    assert embedder.statistics().steps == 1
    for text, found in zip(texts, together, strict=True):
        np.testing.assert_allclose(found, (await values(embedder, text))[0], atol=1e-6)


async def test_like_lengths_share_a_batch_and_others_do_not(make):
    embedder = await make(options=replace(OPTIONS, batch_padding=0.1))
    await values(embedder, "red", "red green blue loud", "blue", "loud red green blue")
    assert embedder.statistics().steps == 2


@pytest.mark.parametrize(("pooling", "words"), [("cls", ("[CLS]",)), ("max", None)])
async def test_the_pooling_is_read_from_the_folder(make, tmp_path, pooling, words):
    embedder = await make(write_encoder(tmp_path / pooling, pooling=pooling))
    (found,) = await values(embedder, "red")
    rows = table()[[2, 4, 3]]
    wanted = rows[0] if words else rows.max(axis=0)
    np.testing.assert_allclose(found, wanted / np.linalg.norm(wanted), atol=1e-6)


async def test_a_text_past_the_context_is_refused_with_both_numbers(make):
    with pytest.raises(RouterError) as refused:
        await values(await make(), "red", "blue " * 9)
    assert refused.value.reason is Reason.CONTEXT_TOO_LONG
    assert refused.value.metadata == {"prompt_tokens": "11", "context": str(CONTEXT)}
    assert "texts[1] has 11 tokens" in refused.value.message


async def test_a_text_past_the_context_is_cut_when_asked_and_keeps_its_control_tokens(make):
    embedder = await make()
    request = EmbeddingRequest(("blue " * 9, "red"), truncate=True)
    cut, whole = await embedder.embed(request, WHO)
    assert (cut.tokens, cut.truncated, whole.truncated) == (CONTEXT, True, False)
    np.testing.assert_allclose(cut.values, expected(*["blue"] * (CONTEXT - 2)), atol=1e-6)


async def test_a_vector_that_is_no_number_fails_its_request_and_leaves_others_alone(make):
    embedder = await make()
    results = await asyncio.gather(
        values(embedder, "broken"), values(embedder, "red"), return_exceptions=True
    )
    assert results[0].reason is Reason.GENERATION_FAILED
    np.testing.assert_allclose(results[1][0], expected("red"), atol=1e-6)


async def test_a_text_that_the_graph_cannot_take_fails_alone(make, tmp_path):
    short = write_encoder(tmp_path / "short", rows=WORDS.index("broken"))
    embedder = await make(short, options=replace(OPTIONS, batch_window_seconds=0.2))
    results = await asyncio.gather(
        *(values(embedder, word) for word in ("broken", "red", "blue")), return_exceptions=True
    )
    assert embedder.statistics().steps == 1
    assert results[0].reason is Reason.GENERATION_FAILED
    np.testing.assert_allclose(results[1][0], expected("red"), atol=1e-6)
    np.testing.assert_allclose(results[2][0], expected("blue"), atol=1e-6)


async def test_a_graph_of_fewer_positions_than_the_folder_says_is_refused(make, tmp_path):
    folder = write_encoder(tmp_path / "short", positions=CONTEXT - 1)
    with pytest.raises(RouterError, match=rf"model\.onnx.*{CONTEXT} tokens") as refused:
        await make(folder)
    assert refused.value.reason is Reason.MODEL_UNAVAILABLE


async def test_a_graph_that_gives_one_vector_for_all_tokens_is_refused(make, tmp_path):
    with pytest.raises(RouterError, match=r"shape \[1, 1, 4\]"):
        await make(write_encoder(tmp_path / "one", one_vector=True))


async def test_a_graph_that_does_not_end_is_refused_while_loading(make, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_embedder, "_PROBE_SECONDS", 0.3)
    with pytest.raises(RouterError, match=r"model\.onnx.*within 0\.3 s"):
        await make(write_encoder(tmp_path / "endless", loops_on="[UNK]"))


async def test_a_tokenizer_that_adds_unknown_tokens_is_refused(make, folder):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[X] $A", special_tokens=[("[X]", 99)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    with pytest.raises(RouterError, match=r"tokenizer\.json.*99"):
        await make()


@pytest.fixture
async def endless(make, tmp_path):
    return await make(write_encoder(tmp_path / "endless", loops_on="loud"))


async def begun(embedder, deadline=None):
    request = EmbeddingRequest(("loud",))
    task = asyncio.create_task(embedder.embed(request, RequestContext("r", deadline=deadline)))
    await until(lambda: embedder.statistics().running)
    return task


async def test_a_computation_that_nobody_waits_for_is_ended(endless):
    task = await begun(endless)
    task.cancel()
    await asyncio.wait([task])
    async with asyncio.timeout(30):
        np.testing.assert_allclose((await values(endless, "red"))[0], expected("red"), atol=1e-6)


async def test_a_computation_past_its_deadline_is_ended(endless):
    task = await begun(endless, deadline=time.monotonic() + 1)
    with pytest.raises(RouterError) as refused:
        await task
    assert refused.value.reason is Reason.DEADLINE_EXCEEDED
    async with asyncio.timeout(30):
        await values(endless, "red")


async def test_closing_ends_a_computation_and_lets_go_of_the_graph(endless):
    task = await begun(endless)
    session = weakref.ref(endless._encoder._graph)
    async with asyncio.timeout(30):
        await endless.close()
    with pytest.raises(RouterError) as refused:
        await task
    assert refused.value.reason is Reason.MODEL_UNAVAILABLE
    gc.collect()
    assert session() is None


async def test_as_many_texts_as_a_request_may_carry_have_room(make):
    embedder = await make(options=replace(OPTIONS, max_waiting=1))
    assert len(await values(embedder, *["red"] * MAX_TEXTS)) == MAX_TEXTS


async def test_a_request_without_room_for_all_its_texts_queues_none(make):
    options = replace(OPTIONS, max_waiting=1, batch_window_seconds=60, batch_size=MAX_TEXTS)
    embedder = await make(options=options)
    task = asyncio.create_task(values(embedder, *["red"] * (MAX_TEXTS - 3)))
    await until_waiting(embedder, MAX_TEXTS - 3)
    with pytest.raises(RouterError) as refused:
        await values(embedder, *["red"] * 4)
    assert refused.value.reason is Reason.QUEUE_FULL
    assert refused.value.retry_after > 0
    assert embedder.statistics().waiting == MAX_TEXTS - 3
    assert embedder.statistics().steps == 0  # which three more would have filled
    task.cancel()


async def test_letters_are_made_small_where_the_folder_says_so(make, folder):
    told = {"max_seq_length": CONTEXT, "do_lower_case": True}
    (folder / "sentence_bert_config.json").write_text(json.dumps(told))
    (found,) = await values(await make(), "RED Blue")
    np.testing.assert_allclose(found, expected("red", "blue"), atol=1e-6)


async def test_a_caller_who_leaves_takes_the_waiting_texts_along(make):
    embedder = await make(options=replace(OPTIONS, batch_window_seconds=5))
    task = asyncio.create_task(values(embedder, "red", "blue"))
    await until_waiting(embedder, 2)
    task.cancel()
    await asyncio.wait([task])
    assert embedder.statistics().waiting == 0


async def test_a_deadline_that_has_passed_costs_no_computation(make):
    embedder = await make()
    late = RequestContext("r", deadline=0.0)
    with pytest.raises(RouterError) as refused:
        await embedder.embed(EmbeddingRequest(("red",)), late)
    assert refused.value.reason is Reason.DEADLINE_EXCEEDED
    assert embedder.statistics().steps == 0


async def test_closing_ends_what_waits(make):
    embedder = await make(options=replace(OPTIONS, batch_window_seconds=5))
    task = asyncio.create_task(values(embedder, "red"))
    await until_waiting(embedder, 1)
    await embedder.close()
    with pytest.raises(RouterError) as refused:
        await task
    assert refused.value.reason is Reason.MODEL_UNAVAILABLE


async def test_a_model_file_that_is_none_is_refused_by_its_name(make, folder):
    (folder / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(RouterError, match=r"model\.onnx") as refused:
        await make()
    assert refused.value.reason is Reason.MODEL_UNAVAILABLE


async def test_an_output_of_another_width_is_refused(make, tmp_path):
    with pytest.raises(RouterError, match="no output last_hidden_state"):
        await make(write_encoder(tmp_path / "wide", hidden_size=DIMENSIONS + 1))


def test_padding_takes_no_part_in_a_vector():
    hidden = np.array([[[1, 2], [3, 4], [99, 99]]], np.float32)
    mask = np.array([[1, 1, 0]])
    assert pool(hidden, mask, Pooling.MEAN).tolist() == [[2, 3]]
    assert pool(hidden, mask, Pooling.MAX).tolist() == [[3, 4]]
    assert pool(hidden, mask, Pooling.CLS).tolist() == [[1, 2]]


@pytest.fixture
async def stub(folder):
    registry = ModelRegistry(folder.parent, OnnxRuntimeBackend, OPTIONS)
    await registry.start()
    server = InProcessServer(Gate("tested"))
    add_InferenceServiceServicer_to_server(InferenceServicer(registry, RemoteModels(()), 8), server)
    yield InferenceServiceStub(InProcessChannel(server))
    await registry.close()


def ask(*texts, model="tiny"):
    request = embedding_pb2.EmbedRequest(texts=texts)
    return embedding_pb2.InferenceServiceEmbedRequest(context=ASKING, model=model, request=request)


async def test_the_service_embeds(stub):
    answer = (await stub.Embed(ask("red", "blue"), timeout=20)).response
    assert answer.model == "tiny"
    assert [len(one.values) for one in answer.embeddings] == [DIMENSIONS] * 2
    np.testing.assert_allclose(answer.embeddings[1].values, expected("blue"), atol=1e-6)


@pytest.mark.parametrize("texts", [[], [""], ["  "], ["x"] * 257, ["x" * 65537]])
async def test_the_service_refuses_texts_out_of_bounds(stub, texts):
    with pytest.raises(aio.AioRpcError) as refused:
        await stub.Embed(ask(*texts), timeout=20)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_embedding_model_does_not_generate(stub):
    request = generation_pb2.GenerateRequest(prompt="red")
    call = stub.Infer(
        inference_pb2.InferRequest(context=ASKING, model="tiny", request=request), timeout=20
    )
    with pytest.raises(aio.AioRpcError, match="does not generate") as refused:
        async for _ in call:
            pass
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_service_opens_no_graph_that_loops(tmp_path):
    folder = write_encoder(tmp_path / "endless", loops_on="loud")
    opener = Opener(OnnxRuntimeBackend, BackendOptions(threads=1))
    with pytest.raises(RouterError, match="the operator 'Loop', which is not supported"):
        await opener.open(folder)
