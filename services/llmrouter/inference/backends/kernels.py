"""Who multiplies the quantised matrices: ONNX Runtime, or kernels of our own."""

from __future__ import annotations

from typing import Protocol

from llmrouter.common.errors import invalid

__all__ = ["KERNELS", "ProcessorFeatures", "choose_native"]

KERNELS = ("auto", "native", "onnxruntime")


class ProcessorFeatures(Protocol):
    """What the choice depends on."""

    @property
    def avx2(self) -> bool:
        """AVX2 and FMA: our kernels run."""
        ...

    @property
    def vnni(self) -> bool:
        """Dot products of bytes in one instruction: ONNX Runtime's kernels are at their best."""
        ...


def choose_native(kernels: str, processor: ProcessorFeatures) -> bool:
    """Return whether our kernels multiply what they can.

    Args:
        kernels: `auto` takes ours where ONNX Runtime lacks the instructions it was tuned for;
            `native` and `onnxruntime` leave no choice.
        processor: The machine's.

    Raises:
        RouterError: INVALID_ARGUMENT for another name, and for `native` without AVX2.
    """
    if kernels not in KERNELS:
        raise invalid("kernels", f"is {kernels!r}, must be one of {', '.join(KERNELS)}")
    if kernels == "native" and not processor.avx2:
        raise invalid("kernels", "is 'native', which needs a processor with AVX2 and FMA")
    if kernels == "auto":
        return processor.avx2 and not processor.vnni
    return kernels == "native"
