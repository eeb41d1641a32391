"""Who takes part: our engine, and its peers with the best settings that they document."""

import sys
from dataclasses import dataclass
from pathlib import Path

from llmrouter import _native
from llmrouter.common.settings import data_directory

__all__ = [
    "AT_ONCE",
    "CONTEXT",
    "GATEWAYS",
    "MODEL",
    "SLOTS",
    "THREADS",
    "Contestant",
    "contestants",
]

HERE = Path(__file__).resolve().parent
PEERS = HERE.parents[2] / "build/peers"
GATEWAYS = PEERS / "gateways"
"""The environment of the gateways that `NAME=gateway` compares with."""
GGUF = PEERS / "models"
MODEL = "smollm2-135m-instruct"
THREADS = 2
AT_ONCE = 16
"""Requests of the workloads that come all at once."""
SLOTS = 48
"""Sequences that run at most. More than come at once: OpenVINO GenAI bounds what it schedules by
its cache alone, and whoever else is asked by a trace has as many as pay."""
CONTEXT = 2048
COMMON = {"threads": THREADS, "slots": SLOTS, "context": CONTEXT}


@dataclass(frozen=True)
class Contestant:
    """A worker: its module of this package and the interpreter and settings to start it with."""

    name: str
    module: str
    settings: dict
    python: Path = PEERS / "venv/bin/python"
    needs: tuple = ()
    """Files that must be there."""
    bits: int = 8

    @property
    def lacks(self):
        """Why it cannot take part, or nothing."""
        for file in (self.python, *self.needs):
            if not Path(file).exists():
                return f"{file} is missing; `make bench-peers` installs the peers"
        return ""


def _ours(name, bits):
    folder = data_directory() / "models" / f"{MODEL}-int{bits}"
    settings = {**COMMON, "model": str(folder)}
    return Contestant(name, "ours", settings, Path(sys.executable), (folder,), bits)


def _llamacpp(name, weights, bits):
    program, model = PEERS / "llama.cpp/bin/llama-server", GGUF / weights
    version = (HERE / "requirements-source.txt").read_text().splitlines()[-1]
    settings = {**COMMON, "program": str(program), "model": str(model), "version": version}
    return Contestant(name, "llamacpp", settings, needs=(program, model), bits=bits)


def _openvino(name, weights, bits, **properties):
    settings = {**COMMON, "model": str(GGUF / weights), "properties": properties}
    return Contestant(name, "openvino", settings, needs=(GGUF / weights,), bits=bits)


def _openvino_properties():
    """Return the defaults, but that activations are quantised only with dot products of bytes."""
    return {} if _native.detect_processor().vnni else {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}


def _genai():
    folder = data_directory() / "models" / f"{MODEL}-int8"
    settings = {**COMMON, "model": str(folder), "pad": 2}
    return Contestant("genai", "genai", settings, needs=(folder,))


def _ctranslate2():
    folder = GGUF / f"{MODEL}-ct2-int8"
    return Contestant(
        "ctranslate2", "ctranslate2", {**COMMON, "model": str(folder)}, needs=(folder,)
    )


def contestants():
    """Return all by name; `ours` and `ours_4bit` are ours."""
    everyone = (
        _ours("ours", 8),
        _ours("ours_4bit", 4),
        _genai(),
        _openvino("openvino", "q8_0.gguf", 8, **_openvino_properties()),
        # The demo model's own file as it is, with the defaults.
        _openvino("openvino_q4_1", "q4_1.gguf", 4),
        _llamacpp("llamacpp", "q8_0.gguf", 8),
        _llamacpp("llamacpp_q4_0", "q4_0.gguf", 4),
        _ctranslate2(),
    )
    return {one.name: one for one in everyone}
