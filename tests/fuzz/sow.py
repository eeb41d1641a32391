"""`python -m tests.fuzz.sow`: writes the whole seeds anew; what once did harm is left alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from gguf import GGMLQuantizationType
from tests.fuzz.seeds import ROOT
from tests.integration.embedding.tiny_encoder import write_encoder
from tests.integration.models.tiny_decoder import DECODERS, Decoder, random_weights
from tests.integration.models.writing_folder import config, write_folder
from tests.integration.models.writing_gguf import write_gguf
from tests.unit.inference.importers.tiny_gguf import Tiny, write_tiny_gguf
from tests.unit.inference.models.tiny_model_bin import (
    HEADS,
    WIDTH,
    decoder_only,
    encoder_decoder,
    model_bin,
)

from llmrouter.inference.importers.ctranslate2 import GgufToCTranslate2
from llmrouter.inference.importers.huggingface import HuggingFaceImporter
from llmrouter.inference.models.progress import silent

_SMALL = {"hidden": 32, "feed_forward": 32, "heads": 2, "kv_heads": 1, "layers": 1, "context": 32}


def sow(root: Path) -> None:
    """Write one seed of every kind below `root`."""
    for name in ("ctranslate2", "embedding", "genai", "gguf", "huggingface", "optimum"):
        (root / name).mkdir(parents=True, exist_ok=True)
    write_tiny_gguf(root / "gguf/llama-q4_1.gguf", Tiny(**_SMALL))
    for family, kind in (("gemma2", "Q8_0"), ("phi3", "BF16"), ("qwen2", "Q5_0")):
        decoder = _small(family)
        file = root / f"gguf/{family}-{kind.lower()}.gguf"
        write_gguf(file, decoder, random_weights(decoder), GGMLQuantizationType[kind])
    wide = replace(_small("qwen3"), hidden=256, feed_forward=256, heads=8, layers=1)
    write_gguf(root / "gguf/qwen3-q6_k.gguf", wide, random_weights(wide), GGMLQuantizationType.Q6_K)
    for family, kind, shards in (("llama", "BF16", 2), ("phi3-longrope", "F16", 1)):
        decoder = _small(family)
        folder = _fresh(root / f"huggingface/{family}")
        write_folder(folder, decoder, random_weights(decoder), kind, shards)
    _ready_made(root)
    write_encoder(_fresh(root / "embedding/encoder"))


def _small(family: str) -> Decoder:
    decoder = DECODERS[family]
    size = max(16, decoder.head_size)
    return replace(decoder, hidden=32, feed_forward=32, heads=2, kv_heads=1, head_size=size)


def _ready_made(root: Path) -> None:
    """Write folders that are taken as they are."""
    decoder = replace(_small("qwen2"), layers=1)
    source, genai = _fresh(root / "source"), _fresh(root / "genai/qwen2-int4")
    write_folder(source, decoder, random_weights(decoder))
    genai.mkdir()
    HuggingFaceImporter.open(source).convert(genai, "int4", silent)
    _replacing(genai, _fresh(root / "genai/replacing"))
    optimum = _fresh(root / "optimum/qwen2")
    shutil.copytree(genai, optimum)
    (optimum / "genai_config.json").unlink()
    (optimum / "config.json").write_text(json.dumps(config(decoder)))
    _apart(optimum, _fresh(root / "optimum/weights-apart"))
    shutil.rmtree(source)
    plain, t5 = _fresh(root / "ctranslate2/llama"), _fresh(root / "ctranslate2/encoder-decoder")
    plain.mkdir()
    GgufToCTranslate2.open(root / "gguf/llama-q4_1.gguf").convert(plain, "int8", silent)
    shutil.copytree(plain, t5)
    words = json.loads((t5 / "vocabulary.json").read_text())
    (t5 / "vocabulary.json").rename(t5 / "shared_vocabulary.json")
    told = json.loads((t5 / "config.json").read_text())
    ends = {"add_source_bos": False, "add_source_eos": True, "decoder_start_token": "<|start|>"}
    (t5 / "config.json").write_text(json.dumps(told | ends, indent=2))
    variables = encoder_decoder(len(words), positions=8)
    (t5 / "model.bin").write_bytes(model_bin(variables, specification="TransformerSpec"))
    _scaled(plain, _fresh(root / "ctranslate2/longrope"), len(words))


def _scaled(source: Path, target: Path, words: int) -> None:
    """Write a folder whose rotations are divided by tables, which the library reads unasked."""
    shutil.copytree(source, target)
    attention = "decoder/layer_0/self_attention"
    halves = np.ones(WIDTH // HEADS // 2, np.float32)
    tables = {
        f"{attention}/rotary_dim": np.int32(0),
        f"{attention}/rotary_scaling_type": np.int8(1),
        f"{attention}/rotary_scaling_long_factor": halves * 4,
        f"{attention}/rotary_scaling_short_factor": halves,
    }
    (target / "model.bin").write_bytes(model_bin(decoder_only(words) | tables))


def _replacing(source: Path, target: Path) -> None:
    """Write a folder whose tokenizer replaces, in every part, as much as it may."""
    shutil.copytree(source, target)
    double = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
    forms = [{"type": "NFKC"}, {"type": "Prepend", "prepend": "a"}]
    tokenizer = json.loads((target / "tokenizer.json").read_text())
    tokenizer["normalizer"] = {"type": "Sequence", "normalizers": [*forms, *[double] * 5]}
    tokenizer["decoder"] = {"type": "Sequence", "decoders": [*[double] * 6, {"type": "Fuse"}]}
    (target / "tokenizer.json").write_text(json.dumps(tokenizer))


def _apart(source: Path, target: Path) -> None:
    """Write a folder whose graph has its weights in a folder of their own."""
    shutil.copytree(source, target)
    model = onnx.load(str(target / "model.onnx"), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "weights/part.data"
    onnx.save(model, str(target / "model.onnx"))
    (target / "weights").mkdir()
    (target / "model.onnx.data").rename(target / "weights/part.data")


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


if __name__ == "__main__":
    np.random.seed(0)
    sow(ROOT)
