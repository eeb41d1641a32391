"""What this machine and its libraries can compute with, for those who look into a fault."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llmrouter import _native
from llmrouter.inference.backends.cores import available_cores
from llmrouter.inference.backends.devices import choose_gpu, open_cuda_libraries
from llmrouter.inference.backends.llguidance_library import find_llguidance
from llmrouter.inference.backends.ort_library import find_library

__all__ = ["Survey", "survey"]


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found."""

    library: Path
    """Of ONNX Runtime."""
    cores: int
    """Given to this process."""
    avx2: bool
    avx512_vnni: bool
    gpu: bool
    """Whether that ONNX Runtime can compute on one."""
    structured_output: bool
    """Whether llguidance is there to follow grammars."""


def survey() -> Survey:
    """Look at the machine; opens ONNX Runtime.

    Raises:
        RouterError: MODEL_UNAVAILABLE when ONNX Runtime is not installed.
    """
    library, cores = find_library(), available_cores()
    _native.load_onnx_runtime(str(library), cores)
    processor = _native.detect_processor()
    open_cuda_libraries()
    return Survey(
        library,
        cores,
        processor.avx2,
        processor.avx512_vnni,
        choose_gpu("auto", _native.available_providers()) is not None,
        find_llguidance() is not None,
    )
