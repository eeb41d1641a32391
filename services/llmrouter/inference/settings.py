"""Settings of the inference service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from llmrouter.common.listening import Listening
from llmrouter.common.settings import unquoted_off
from llmrouter.inference.backends.devices import DEVICE, one_device
from llmrouter.inference.remote.settings import ProviderSettings

__all__ = ["InferenceSettings"]


class InferenceSettings(Listening):
    """The `inference` section of the configuration."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=50054, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    store: Path | None = None
    """Folder that holds model folders; by default `models` in the data directory."""
    models: tuple[str, ...] | None = None
    """Models to offer from the store, all versions of each, or single ones (`name@label`); by
    default every folder in it."""
    loading: Literal["start", "demand"] = "start"
    """When models are loaded: at start, as far as they fit, each in the version that its alias
    `stable` points to; or each with the first request for it."""
    pinned: tuple[str, ...] = Field(default=(), max_length=1000)
    """Names of essential models, or of versions (`name@label`): they never leave by themselves."""
    idle_seconds: float = Field(default=600.0, ge=0, le=31_536_000)
    """A model that nobody has used for this long is unloaded until it is asked for; 0 keeps all."""
    sweep_seconds: float = Field(default=300.0, ge=0.01, le=86_400)
    """How often idle models are looked for."""
    notice_seconds: float = Field(default=2.0, ge=0, le=600)
    """How long a version that is unloaded by name takes requests that were planned before."""
    unload_grace_seconds: float = Field(default=600.0, ge=0, le=86_400)
    """How long running requests may finish before the model they run on is unloaded."""
    load_seconds: float = Field(default=1800.0, ge=1, le=86_400)
    """How long a load may take until it is given up; others wait behind it."""
    memory_mib: int = Field(default=0, ge=0, le=1 << 30)
    """Memory that all loaded models may count for together, in MiB: the least recently used make
    room. 0 takes `memory_critical` of the container's limit, or of the machine's memory."""
    memory_warning: float = Field(default=0.70, gt=0, lt=1)
    """Share of the limit in use from which models idle for a minute go and prefixes are halved."""
    memory_critical: float = Field(default=0.85, gt=0, lt=1)
    """Share from which idle models and all prefixes go, and low priority is refused."""
    memory_emergency: float = Field(default=0.95, gt=0, le=1)
    """Share from which nothing is loaded, and all but high priority is refused."""
    memory_check_seconds: float = Field(default=5.0, ge=0.01, le=3600)
    """How often memory is looked at."""
    backend: str = "onnxruntime"
    """Entry point of group `llmrouter.backends` that runs the models."""
    threads: int = Field(default=0, ge=0, le=1024)
    """Compute threads shared by all models; 0 takes the cores given to the process."""
    slots: int = Field(default=16, ge=1, le=256)
    """Sequences each model decodes at once."""
    context: int = Field(default=0, ge=0, le=1 << 20)
    """Tokens of prompt and answer together; 0 takes each model's own."""
    max_waiting: int = Field(default=256, ge=1, le=100_000)
    """Requests that may wait for a slot of a model, or for their readers, before
    RESOURCE_EXHAUSTED."""
    prefill_chunk: int = Field(default=256, ge=2, le=65_536)
    """Prompt tokens computed per step, and up to half as many more where they cut a prompt into
    equal parts; fewer while others decode, but where many prompts wait: what a step takes is then
    the longest gap between two tokens of those others."""
    cache_type: Literal["auto", "float32", "float16"] = "auto"
    """How keys and values are kept where our own kernels compute attention: `float16` takes half
    the memory and time of `float32`; `auto` takes it for quantised models. A model whose attention
    ONNX Runtime computes keeps them as its graph has them."""
    cache_mib: int = Field(default=0, ge=0, le=1 << 20)
    """Memory per model for the keys and values of running sequences, in MiB, which it counts for:
    a request is let in only when its prompt and `max_tokens` fit beside the others', and no context
    is longer than it. 0 takes an eighth of what all models may take, or what all slots can fill."""
    prefix_cache_mib: int = Field(default=128, ge=0, le=1 << 20)
    """Memory per model for the keys and values of earlier prompts and answers, in MiB; 0 keeps
    none."""
    prefix_sharing: Literal["tenant", "all"] = "tenant"
    """Whose prompts may reuse each other's keys and values: those of one tenant; or all, where
    tenants trust each other not to learn from the speed which prompts have been asked before."""
    parked_cache_mib: int = Field(default=256, ge=0, le=1 << 20)
    """Memory per model for sequences that gave way to a higher class, in MiB."""
    priority_ageing_seconds: float = Field(default=10.0, ge=0, le=3600)
    """Waiting that one class of priority is worth, so that no class starves."""
    workspace_mib: int = Field(default=0, ge=0, le=1 << 20)
    """Memory per model that ONNX Runtime may compute with beside the weights, in MiB, which the
    model counts for: what a graph wants beyond it fails. 0 takes what its shape calls for."""
    batch_size: int = Field(default=32, ge=1, le=1024)
    """Whole requests computed at once by engines that take a batch, embedding models among them."""
    batch_window_seconds: float = Field(default=0.002, ge=0, le=10)
    """How long such a request waits for company."""
    batch_padding: float = Field(default=0.25, ge=0, lt=1)
    """Share of such a batch that may be padding: like lengths are computed together."""
    max_tokens: int = Field(default=1024, ge=1, le=1_000_000)
    """Tokens generated for a request that sets no limit of its own."""
    device: Annotated[str, BeforeValidator(one_device)] = Field(
        default="auto", pattern=f"^({DEVICE})$"
    )
    """Where models compute: `cpu`; `cuda`, or `cuda:1` and so on for another GPU than the first;
    `auto` takes the first GPU where the installed ONNX Runtime has CUDA (extra `gpu`). A model that
    cannot run there runs on the processor, and a warning says why. On a GPU the keys and values of
    all slots are reserved at start. Not yet run on one."""
    kernels: Literal["auto", "native", "onnxruntime"] = "auto"
    """Who computes attention and multiplies quantised matrices: `onnxruntime`; `native`, kernels of
    our own, which need AVX2; `auto` takes ours where they are faster: attention with AVX2, products
    too, but for processors that have AVX-VNNI without AVX-512."""
    share_weights: bool = True
    """Whether quantised weights lie in the order of our own kernels in files below `.packed` in the
    store, as large as the model: every process that loads it maps the same memory, and loading is
    quicker. Where the disk refuses, or another's kernels multiply, each process has its own."""
    speculation: Annotated[Literal["auto", "always", "off"], BeforeValidator(unquoted_off)] = "auto"
    """Whether tokens are drafted from the text so far and verified several at once, while few
    sequences run and their drafts are accepted. At 8 and 4 bits ONNX Runtime's products round
    otherwise in verifying than in decoding, so that of two almost equally likely tokens the other
    one may be drawn: with them `auto` drafts only for answers that nobody can repeat, drawn without
    a seed; `always` for all."""
    speculation_tokens: int = Field(default=12, ge=1, le=64)
    """Tokens drafted at once at most."""
    providers: tuple[ProviderSettings, ...] = Field(default=(), max_length=100)
    """Remote providers, whose models are offered beside those of the store."""
    drain_grace_seconds: float = Field(default=30.0, ge=0, le=3600)
    """How long running streams may finish after SIGTERM."""

    @model_validator(mode="after")
    def _thresholds_rise(self) -> InferenceSettings:
        if not self.memory_warning < self.memory_critical < self.memory_emergency:
            raise ValueError(
                "must rise: "
                f"memory_warning {self.memory_warning:g} < memory_critical "
                f"{self.memory_critical:g} < memory_emergency {self.memory_emergency:g}"
            )
        return self
