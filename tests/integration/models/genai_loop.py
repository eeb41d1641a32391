"""Greedy answers by onnxruntime-genai."""

from __future__ import annotations

from collections.abc import Sequence

import onnxruntime_genai as genai

from llmrouter import _native
from llmrouter.inference.backends.ort_library import find_library
from llmrouter.inference.models.folder import ModelFolder


def genai_greedy(folder: ModelFolder, prompt: Sequence[int], count: int) -> list[int]:
    """At most `count` tokens after `prompt`, without the end token."""
    # Whoever comes first makes the process's environment, and genai would without shared threads.
    _native.load_onnx_runtime(str(find_library()), 2)
    model = genai.Model(str(folder.path))
    options = genai.GeneratorParams(model)
    options.set_search_options(max_length=len(prompt) + count, do_sample=False)
    generator = genai.Generator(model, options)
    generator.append_tokens(list(prompt))
    while not generator.is_done():
        generator.generate_next_token()
    said = [int(one) for one in generator.get_sequence(0)][len(prompt) :]
    return [one for one in said if one not in folder.eos_token_ids]
