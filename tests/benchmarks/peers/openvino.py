"""OpenVINO GenAI's ContinuousBatchingPipeline, stepped by hand; reads a GGUF as it is."""

import numpy as np
import openvino
import openvino_genai
from tests.benchmarks.peers.protocol import serve

CACHE_GIGABYTES = 2


def start(settings):
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size = CACHE_GIGABYTES
    scheduler.max_num_seqs = settings["slots"]
    for name, value in settings.get("scheduler", {}).items():
        setattr(scheduler, name, value)
    properties = {
        "INFERENCE_NUM_THREADS": settings["threads"],
        "PERFORMANCE_HINT": "LATENCY",
        **settings.get("properties", {}),
    }
    pipeline = openvino_genai.ContinuousBatchingPipeline(
        settings["model"], scheduler, "CPU", properties
    )
    told = {
        "version": openvino_genai.__version__,
        "settings": {"cache_size": CACHE_GIGABYTES, **settings.get("scheduler", {}), **properties},
    }
    numbers = iter(range(1 << 62))
    return told, lambda tally: _run(tally, pipeline, numbers)


def _run(tally, pipeline, numbers):
    requests, handles, begun = tally.job.requests, {}, 0
    while (begun < len(requests) or handles) and not tally.hopeless:
        if not handles:
            tally.wait_for(begun)
        arrived = tally.arrived(begun)
        for index in range(begun, arrived):
            handles[index] = _add(pipeline, next(numbers), requests[index])
        begun = arrived
        pipeline.step()
        for index, handle in list(handles.items()):
            while handle.can_read():
                tally.note(index, sum(len(one.generated_ids) for one in handle.read().values()))
            if tally.outcomes[index].tokens >= requests[index].tokens:
                tally.finish(index)
                del handles[index]
    for handle in handles.values():
        handle.cancel()
    while pipeline.has_non_finished_requests():
        pipeline.step()


def _add(pipeline, number, request):
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = request.tokens
    config.ignore_eos = True
    config.do_sample = False
    ids = openvino.Tensor(np.array([request.prompt], np.int64))
    return pipeline.add_request(number, ids, config)


if __name__ == "__main__":
    serve(start)
