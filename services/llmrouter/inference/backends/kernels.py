"""Who computes: ONNX Runtime, or kernels of our own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from llmrouter.common.errors import invalid

__all__ = [
    "CACHE_TYPES",
    "KERNELS",
    "Kernels",
    "ProcessorFeatures",
    "choose_kernels",
    "halves_cache",
]

KERNELS = ("auto", "native", "onnxruntime")
CACHE_TYPES = ("auto", "float32", "float16")


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

    @property
    def avx512_vnni(self) -> bool:
        """The same with registers of 512 bits: so are ours."""
        ...


@dataclass(frozen=True, slots=True)
class Kernels:
    """What our own kernels do where they can."""

    attention: bool
    """Attention, for the tokens of many sequences in one run."""
    products: bool
    """Products with quantised matrices."""


def choose_kernels(kernels: str, processor: ProcessorFeatures) -> Kernels:
    """Return what our kernels do.

    Args:
        kernels: `auto` takes ours where they are faster: attention wherever they run, products
            except with the dot products of AVX-VNNI, which ours lack; `native` and `onnxruntime`
            leave no choice.
        processor: The machine's.

    Raises:
        RouterError: INVALID_ARGUMENT for another name, and for `native` without AVX2.
    """
    if kernels not in KERNELS:
        raise invalid("kernels", f"is {kernels!r}, must be one of {', '.join(KERNELS)}")
    if kernels == "native" and not processor.avx2:
        raise invalid("kernels", "is 'native', which needs a processor with AVX2 and FMA")
    if kernels == "auto":
        faster = processor.avx512_vnni or not processor.vnni
        return Kernels(processor.avx2, processor.avx2 and faster)
    return Kernels(kernels == "native", kernels == "native")


def halves_cache(cache_type: str, kernels: str, *, quantised: bool) -> bool:
    """Return whether our attention keeps keys and values as float16 rather than float32.

    Args:
        cache_type: `auto` does so for quantised models, which round far more than that.
        kernels: Who computes, as in `choose_kernels`.
        quantised: Whether the model is.

    Raises:
        RouterError: INVALID_ARGUMENT for another name, and for float16 where ONNX Runtime is to
            compute attention: it keeps them as the graph has them.
    """
    if cache_type not in CACHE_TYPES:
        raise invalid("cache_type", f"is {cache_type!r}, must be one of {', '.join(CACHE_TYPES)}")
    if cache_type == "float16" and kernels == "onnxruntime":
        raise invalid("cache_type", "is 'float16', which needs kernels other than 'onnxruntime'")
    return cache_type == "float16" or (cache_type == "auto" and quantised)
