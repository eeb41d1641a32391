"""CTranslate2's Generator at int8: a batch is computed together, who has finished leaves it."""

import json
from pathlib import Path

import ctranslate2
from tests.benchmarks.peers.protocol import serve


def start(settings):
    generator = ctranslate2.Generator(
        settings["model"],
        device="cpu",
        compute_type="int8",
        inter_threads=1,
        intra_threads=settings["threads"],
    )
    vocabulary = json.loads((Path(settings["model"]) / "vocabulary.json").read_text())
    told = {"version": ctranslate2.__version__, "settings": {"compute_type": "int8"}}
    return told, lambda tally: _run(tally, generator, vocabulary, settings["slots"])


def _run(tally, generator, vocabulary, slots):
    begun = 0
    while begun < len(tally.job.requests) and not tally.hopeless:
        tally.wait_for(begun)
        end = min(tally.arrived(begun), begun + slots)
        _run_batch(tally, generator, vocabulary, list(range(begun, end)))
        begun = end


def _run_batch(tally, generator, vocabulary, batch):
    requests = [tally.job.requests[index] for index in batch]
    left = [request.tokens for request in requests]

    def step(result):
        row = result.batch_id
        tally.note(batch[row])
        left[row] -= 1
        if left[row] == 0:
            tally.finish(batch[row])
        return left[row] <= 0 or tally.hopeless

    longest = max(left)
    generator.generate_batch(
        [[vocabulary[token] for token in request.prompt] for request in requests],
        max_batch_size=len(batch),
        max_length=longest,
        min_length=longest,
        sampling_topk=1,
        include_prompt_in_result=False,
        callback=step,
    )


if __name__ == "__main__":
    serve(start)
