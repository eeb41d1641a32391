"""How models are run, by the settings of the service."""

from __future__ import annotations

from pathlib import Path

from llmrouter.inference.backends.base import BackendOptions
from llmrouter.inference.models.counted import default_cache_bytes
from llmrouter.inference.settings import InferenceSettings

__all__ = ["backend_options"]


def backend_options(settings: InferenceSettings, store: Path, budget: int) -> BackendOptions:
    """Return the options of every model.

    Args:
        settings: Of the service.
        store: Where its models lie.
        budget: Bytes that all models may count for together; 0 for no bound.
    """
    return BackendOptions(
        threads=settings.threads,
        slots=settings.slots,
        context=settings.context,
        max_waiting=settings.max_waiting,
        prefill_chunk=settings.prefill_chunk,
        cache_type=settings.cache_type,
        cache_bytes=(settings.cache_mib << 20) or default_cache_bytes(budget),
        prefix_bytes=settings.prefix_cache_mib << 20,
        share_prefixes=settings.prefix_sharing == "all",
        parked_bytes=settings.parked_cache_mib << 20,
        ageing_seconds=settings.priority_ageing_seconds,
        workspace_bytes=settings.workspace_mib << 20,
        device=settings.device,
        kernels=settings.kernels,
        shared_weights=store / ".packed" if settings.share_weights else None,
        speculation_tokens=0 if settings.speculation == "off" else settings.speculation_tokens,
        speculation_always=settings.speculation == "always",
        batch_size=settings.batch_size,
        batch_window_seconds=settings.batch_window_seconds,
        batch_padding=settings.batch_padding,
    )
