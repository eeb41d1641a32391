"""Where models compute: the processor or a GPU."""

from __future__ import annotations

import ctypes
import importlib.util
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from llmrouter.common.errors import invalid

__all__ = ["DEVICE", "choose_gpu", "one_device", "open_cuda_libraries"]

DEVICE = r"auto|cpu|cuda(:[0-9]{1,2})?"
"""What names a device, a pattern."""
_CUDA = "CUDAExecutionProvider"
_LIBRARIES = ("cudart", "nvrtc", "nvJitLink", "cublasLt", "cublas", "curand", "cufft", "cudnn")
"""What ONNX Runtime's provider needs, each after those that it needs itself."""


def one_device(device: object) -> object:
    """Return what names a device.

    Raises:
        ValueError: It names several.
    """
    if isinstance(device, list | tuple) or (isinstance(device, str) and re.search(r"[,+]", device)):
        raise ValueError(
            f"names several devices: {device!r}. A layer is not sharded over devices: name one, "
            "and start a service of its own on each"
        )
    return device


def choose_gpu(device: str, providers: Collection[str]) -> int | None:
    """Return the GPU to try, counted from 0; None for the processor.

    Args:
        device: `cpu`; `cuda`, or `cuda:1` for another GPU than the first; `auto` for the first one
            where the installed ONNX Runtime can compute on it.
        providers: What that can compute on, by its own names.

    Raises:
        RouterError: INVALID_ARGUMENT for another name.
    """
    try:
        one_device(device)
    except ValueError as error:
        raise invalid("device", str(error)) from None
    if not re.fullmatch(DEVICE, device):
        raise invalid("device", f"is {device!r}, must be auto, cpu, cuda or cuda:1 and so on")
    if device == "auto":
        return 0 if _CUDA in providers else None
    kind, _, number = device.partition(":")
    return int(number or 0) if kind == "cuda" else None


def open_cuda_libraries() -> None:
    """Open CUDA's libraries where wheels have put them: the loader does not look there.

    What is missing or does not open is left to ONNX Runtime, which names what it lacks.
    """
    for path in _installed():
        try:
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue


def _installed() -> Iterator[Path]:
    spec = importlib.util.find_spec("nvidia")
    roots = [Path(root) for root in (spec.submodule_search_locations or ())] if spec else []
    for library in _LIBRARIES:
        for root in roots:
            yield from sorted(root.glob(f"*/lib/lib{library}.so.*"))
