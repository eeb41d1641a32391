"""onnxruntime-genai's Generator: a batch is computed to its end before the next begins.

Its engine that adds requests to a running batch wants graphs with paged attention; the folder is
ours, the identical one.
"""

import json

import numpy as np
import onnxruntime_genai
from tests.benchmarks.peers.protocol import serve


def start(settings):
    config = onnxruntime_genai.Config(settings["model"])
    session = {"intra_op_num_threads": settings["threads"], **settings.get("session", {})}
    config.overlay(json.dumps({"model": {"decoder": {"session_options": session}}}))
    model = onnxruntime_genai.Model(config)
    told = {"version": onnxruntime_genai.__version__, "settings": session}
    return told, lambda tally: _run(tally, model, settings)


def _run(tally, model, settings):
    begun = 0
    while begun < len(tally.job.requests) and not tally.hopeless:
        tally.wait_for(begun)
        end = min(tally.arrived(begun), begun + settings["slots"])
        _run_batch(tally, model, list(range(begun, end)), settings["pad"])
        begun = end


def _run_batch(tally, model, batch, pad):
    requests = [tally.job.requests[index] for index in batch]
    width = max(len(request.prompt) for request in requests)
    steps = max(request.tokens for request in requests)
    params = onnxruntime_genai.GeneratorParams(model)
    # As many tokens as the longest answer wants, whatever ends an answer.
    params.set_search_options(
        batch_size=len(batch), max_length=width + steps, min_length=width + steps
    )
    generator = onnxruntime_genai.Generator(model, params)
    # Padded as the library's own tokenizer pads a batch.
    rows = [request.prompt + [pad] * (width - len(request.prompt)) for request in requests]
    generator.append_tokens(np.array(rows, np.int32))
    for step in range(steps):
        generator.generate_next_token()
        for index, request in zip(batch, requests, strict=True):
            if step < request.tokens:
                tally.note(index)
            if step == request.tokens - 1:
                tally.finish(index)
        if tally.hopeless:
            return


if __name__ == "__main__":
    serve(start)
