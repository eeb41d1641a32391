"""Loads an onnxruntime-genai folder into a decoder of the compiled engine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import structlog

from llmrouter import _native
from llmrouter.common.errors import RouterError
from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.backends.context import choose_context
from llmrouter.inference.backends.cores import available_cores
from llmrouter.inference.backends.devices import choose_gpu, open_cuda_libraries
from llmrouter.inference.backends.kernels import Kernels, choose_kernels, halves_cache
from llmrouter.inference.backends.native_events import reason_of
from llmrouter.inference.backends.native_graph import MatrixPlace, rewrite_graph
from llmrouter.inference.backends.ort_library import find_library
from llmrouter.inference.backends.packed_graph import DecoderTensors
from llmrouter.inference.backends.shared_weights import SharedWeights
from llmrouter.inference.models.counted import count
from llmrouter.inference.models.folder import ModelFolder, read_folder
from llmrouter.inference.models.integrity import check_contents
from llmrouter.inference.models.shared_tokenizer import share_tokenizer
from llmrouter.inference.models.untrusted_json import broken_file

__all__ = ["decoder_tensors", "failures_named", "load_decoder", "open_library"]

_log = structlog.get_logger("llmrouter.models")


def open_library(options: BackendOptions) -> None:
    """Open ONNX Runtime, with the threads that all models of the process share.

    Raises:
        RouterError: MODEL_UNAVAILABLE when it is missing or refuses.
    """
    with failures_named("ONNX Runtime"):
        _native.load_onnx_runtime(str(find_library()), options.threads or available_cores())


def load_decoder(path: Path, options: BackendOptions) -> tuple[_native.Decoder, _native.Vocabulary]:
    """Load the model in `path`; takes up to a second. `open_library` comes first.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the file and what is wrong with it;
            INVALID_ARGUMENT for options out of bounds.
    """
    folder = read_folder(path)
    context = choose_context(folder, options)
    kernels = choose_kernels(options.kernels, _native.detect_processor())
    vocabulary = _native.Vocabulary(
        share_tokenizer(folder.path, folder.vocab_size).token_bytes, folder.eos_token_ids
    )
    with failures_named(str(path)):
        gpu = choose_gpu(options.device, _native.available_providers())
        return _load_decoder(folder, kernels, gpu, context, options), vocabulary


@contextmanager
def failures_named(what: str) -> Iterator[None]:
    """Turn what the engine raises while loading into an error that says of what."""
    try:
        yield
    except _native.EngineError as error:
        raise RouterError(reason_of(error.code), f"cannot load {what}: {error}") from error


def _load_decoder(
    folder: ModelFolder, kernels: Kernels, gpu: int | None, context: int, options: BackendOptions
) -> _native.Decoder:
    slots = options.slots
    if gpu is not None:
        open_cuda_libraries()
        model = _ort_model(folder, Kernels(attention=False, products=False), options)
        model.cuda_device = gpu
        try:
            return _native.load_ort_decoder(model, slots=slots, context=context)
        except _native.EngineError as error:
            _log.warning("computing on the processor", model=folder.path.name, why=str(error))
    model = _ort_model(folder, kernels, options)
    try:
        return _native.load_ort_decoder(model, slots=slots, context=context)
    except _native.EngineError as error:
        if not model.packed:
            raise
        plain = _ort_model(folder, replace(kernels, attention=False), options)
        decoder = _native.load_ort_decoder(plain, slots=slots, context=context)
        # The graph is at fault, not the folder, which would have failed again.
        _log.warning("attention left to ONNX Runtime", model=folder.path.name, why=str(error))
        return decoder


def _ort_model(folder: ModelFolder, kernels: Kernels, options: BackendOptions) -> _native.OrtModel:
    model = _native.OrtModel()
    pack = decoder_tensors(folder) if kernels.attention else None
    rewritten = rewrite_graph(folder.model_file, multiply=kernels.products, pack=pack)
    if rewritten is not None:
        model.graph = rewritten.graph
        model.matrices = [_matrix(place) for place in rewritten.matrices]
        model.shared_weights = _shared_weights(folder, rewritten.matrices, model.matrices, options)
        model.packed = rewritten.packed
        model.rounds_alike = rewritten.rounds_alike
    quantised = rewritten is not None and rewritten.quantised
    model.half_cache = halves_cache(options.cache_type, options.kernels, quantised=quantised)
    model.path = str(folder.model_file)
    held = sum(one.size_bytes for one in rewritten.matrices) if rewritten is not None else 0
    model.memory_limit = _left_to_library(folder, held, options)
    model.vocabulary = folder.vocab_size
    model.layers = folder.layers
    model.kv_heads = folder.kv_heads
    model.head_size = folder.head_size
    model.input_ids = folder.input_names["input_ids"]
    model.attention_mask = folder.input_names["attention_mask"]
    model.past_key = folder.input_names["past_key_names"]
    model.past_value = folder.input_names["past_value_names"]
    model.logits = folder.output_names["logits"]
    model.present_key = folder.output_names["present_key_names"]
    model.present_value = folder.output_names["present_value_names"]
    return model


def _left_to_library(folder: ModelFolder, held: int, options: BackendOptions) -> int:
    """Return what ONNX Runtime may take of a model's memory, of which our kernels hold some.

    Raises:
        RouterError: MODEL_UNAVAILABLE where they would hold more weights than the folder has: a
            graph may multiply by one place of a file again and again.
    """
    if held > folder.size_bytes:
        problem = f"multiplies by {held} bytes of weights, and the folder has {folder.size_bytes}"
        raise broken_file(folder.model_file, problem, "import another checkpoint")
    counted = count(folder, options)
    # What weights count for beyond their size is, of ours, for what our kernels compute with.
    ours = counted.weights * held // max(1, folder.size_bytes)
    return counted.weights - ours + counted.workspace


def _shared_weights(
    folder: ModelFolder,
    places: Sequence[MatrixPlace],
    matrices: Sequence[_native.NativeMatrix],
    options: BackendOptions,
) -> _native.SharedWeights | None:
    """Find what earlier loads wrote, or write it; None keeps weights in memory of this process.

    Raises:
        RouterError: As `check_contents`.
    """
    if options.shared_weights is None:
        return None
    shared = SharedWeights(options.shared_weights)
    file = shared.file(folder.path, folder.version, places)
    if file is None:
        return None
    shared.forget_others(file)
    # Asked before: where there was none, somebody else may give it meanwhile.
    damaged = os.path.lexists(file)
    found = _native.find_shared_weights(str(file), matrices)
    if found is not None:
        return found
    # Later loads compute with what is kept, whatever their own comparison of the folder says.
    check_contents(folder.path)
    written = _native.write_shared_weights(str(file), matrices)
    if damaged:
        told = (
            "were damaged and are written anew" if written else "are damaged and cannot be written"
        )
        _log.warning(f"shared weights {told}", file=str(file))
    return written


def decoder_tensors(folder: ModelFolder) -> DecoderTensors:
    """Return the names of its inputs and outputs, and its shape."""
    return DecoderTensors(
        input_ids=folder.input_names["input_ids"],
        logits=folder.output_names["logits"],
        past_key=folder.input_names["past_key_names"],
        past_value=folder.input_names["past_value_names"],
        layers=folder.layers,
        kv_heads=folder.kv_heads,
        head_size=folder.head_size,
        vocabulary=folder.vocab_size,
    )


def _matrix(place: MatrixPlace) -> _native.NativeMatrix:
    matrix = _native.NativeMatrix()
    matrix.file = str(place.file)
    matrix.columns = place.columns
    matrix.depth = place.depth
    matrix.bits = place.bits
    matrix.data_offset = place.data_offset
    matrix.scales_offset = place.scales_offset
    if place.zero_points_offset is not None:
        matrix.zero_points_offset = place.zero_points_offset
    return matrix
