"""A T5-shaped model small enough to make in a test: random weights, CTranslate2's own operators."""

from __future__ import annotations

import json
from pathlib import Path

import ctranslate2
import numpy as np
from ctranslate2.specs import common_spec, model_spec, transformer_spec
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

HIDDEN, HEADS, INNER = 32, 4, 64
WORDS = [f"\u2581w{index}" for index in range(60)]
TOKENS = ["<pad>", "</s>", "<unk>", *WORDS]


def write_tiny_t5(folder: Path, *, seed: int = 5) -> Path:
    """Write a CTranslate2 folder with an encoder and a tokenizer, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = transformer_spec.TransformerSpec.from_config(
        (2, 2), HEADS, pre_norm=True, activation=common_spec.Activation.RELU,
        relative_attention_bias=True, rms_norm=True,
    )  # fmt: skip
    random = np.random.default_rng(seed)
    model_spec.visit_spec(spec, lambda part, name, value: _fill(part, name, value, random))
    for stack in (spec.encoder, spec.decoder):
        stack.scale_embeddings = False
    spec.register_source_vocabulary(TOKENS)
    spec.register_target_vocabulary(TOKENS)
    spec.config.add_source_eos = False
    spec.config.decoder_start_token = TOKENS[0]
    spec.config.eos_token = TOKENS[1]
    spec.validate()
    spec.save(str(folder))
    _write_tokenizer(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"context_length": 64}))
    return folder


def reference(folder: Path, prompt: list[int], count: int) -> list[str]:
    """Return what CTranslate2 itself answers greedily, in one piece."""
    translator = ctranslate2.Translator(str(folder), device="cpu")
    source = [TOKENS[token] for token in prompt]
    result = translator.translate_batch([source], beam_size=1, max_decoding_length=count)
    return list(result[0].hypotheses[0])


def _fill(spec: object, name: str, value: object, random: np.random.Generator) -> None:
    """Give an attribute that the specification leaves open its random weights."""
    if value is not None:
        return
    leaf = name.rsplit("/", 1)[-1]
    if leaf == "gamma":
        filled = np.ones(HIDDEN, np.float32)
    elif leaf == "relative_attention_max_distance":
        filled = np.asarray(128, np.int32)
    else:
        shape = (32, HEADS) if leaf == "relative_attention_bias" else _matrix(name)
        filled = random.normal(0.0, 0.3, shape).astype(np.float32)
    setattr(spec, leaf, filled)


def _matrix(name: str) -> tuple[int, int]:
    rows, columns = HIDDEN, HIDDEN
    if "embeddings" in name or "projection" in name:
        rows = len(TOKENS)
    elif "ffn/linear_0" in name:
        rows = INNER
    elif "ffn/linear_1" in name:
        columns = INNER
    elif "self_attention/linear_0" in name:  # queries, keys and values
        rows = 3 * HIDDEN
    elif "/attention/linear_1" in name:  # keys and values of what the encoder gave
        rows = 2 * HIDDEN
    return rows, columns


def _write_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(TOKENS)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(["<pad>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
