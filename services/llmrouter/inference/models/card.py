"""The model card: what we know about a folder, kept as `llmrouter.json` inside it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from llmrouter.inference.models.untrusted_json import JsonObject, read_object

__all__ = [
    "CARD_FILE", "ModelCard", "Quality", "Source", "Speed", "Verification", "read_card",
    "write_card",
]  # fmt: skip

CARD_FILE = "llmrouter.json"

_FORMAT = 1
_REMEDY = "import the model again"
_HUGE = 10**15
_MAX_FILES = 10_000
_MAX_STREAMS = 256


@dataclass(frozen=True, slots=True)
class Source:
    """Where the weights came from."""

    location: str
    """A package requirement, file name or URL, for people."""
    sha256: str
    """Of the file that was imported, 64 hex digits."""


@dataclass(frozen=True, slots=True)
class Quality:
    """What the precision costs, measured on `evaluation.txt` against the unquantised weights."""

    perplexity: float
    """exp of the mean negative log-likelihood per token; lower is better."""
    reference_perplexity: float
    """The same of the unquantised weights."""
    kl_divergence: float
    """Mean KL(reference || this) per position, in nats; 0 means equal."""
    top1_agreement: float
    """Share of positions with the same most likely token, 0 to 1."""
    tokens: int
    """Positions measured."""


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a model runs, measured on one machine."""

    machine: str
    """As `machine.describe_machine` tells it; on another one these figures mean nothing."""
    load_seconds: float
    prefill_rate: float
    """Prompt tokens per second, alone."""
    decode_rate: float
    """Generated tokens per second, alone."""
    batch_rate: float
    """Generated tokens per second of `streams` streams together."""
    streams: int
    memory_bytes: int
    """What the process grew by."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What an independent engine says of the checkpoint, and how far the folder is from it."""

    engine: str
    """Such as `llama.cpp`."""
    quality: Quality
    """The folder's, with the engine as the reference."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Facts about a model folder that an import wrote down."""

    name: str
    version: str
    """First 12 hex digits of a hash over the folder's contents."""
    architecture: str
    parameters: int
    precision: str
    """`int8`, `int4` or `fp32`; folders of others may also be `fp16` or `bf16`."""
    context: int
    """Tokens."""
    licence: str
    """SPDX expression, or `unknown`."""
    source: Source
    importer: str | None = None
    """What wrote it, and in which version; None in cards of older imports."""
    quality: Quality | None = None
    """None where it was not measured."""
    verified: Verification | None = None
    """None where no other engine was asked."""
    speed: Speed | None = None
    """None where it was not measured; what is written later than the rest."""
    files: Mapping[str, int] = field(default_factory=dict)
    """Bytes of every other file by its path in the folder; empty in cards of older imports."""
    checksums: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each of `files`, 64 hex digits; empty in cards of older imports."""


def read_card(file: Path) -> ModelCard:
    """Read a card.

    Raises:
        RouterError: MODEL_UNAVAILABLE naming the field that is wrong.
    """
    card = read_object(file, _REMEDY)
    card.integer("format", _FORMAT, _FORMAT)
    source = card.child("source")
    return ModelCard(
        name=card.text("name", longest=128),
        version=_word(card, "version", longest=64),
        architecture=card.text("architecture"),
        parameters=card.integer("parameters", 0, _HUGE),
        precision=card.text("precision", longest=32),
        context=card.integer("context", 1, _HUGE),
        licence=card.text("licence"),
        source=Source(
            location=source.text("location", longest=4096),
            sha256=source.text("sha256", longest=64),
        ),
        importer=card.text("importer", longest=256) if card.has("importer") else None,
        quality=_read_quality(card),
        verified=_read_verification(card),
        speed=_read_speed(card),
        files=_read_files(card),
        checksums=_read_checksums(card),
    )


def _read_files(card: JsonObject) -> Mapping[str, int]:
    if not card.has("files"):
        return {}
    files = card.child("files")
    if len(files.names) > _MAX_FILES:
        raise card.refuse("files", f"names {len(files.names)} files, at most {_MAX_FILES}")
    return {name: files.integer(name, 0, _HUGE) for name in files.names}


def _read_checksums(card: JsonObject) -> Mapping[str, str]:
    if not card.has("checksums"):
        return {}
    checksums = card.child("checksums")
    if checksums.names and set(checksums.names) != set(_read_files(card)):
        raise card.refuse("checksums", "must name the same files as `files`")
    return {name: checksums.text(name, longest=64) for name in checksums.names}


def _read_quality(card: JsonObject) -> Quality | None:
    if not card.has("quality"):
        return None
    quality = card.child("quality")
    return Quality(
        perplexity=quality.number("perplexity", 1.0, float(_HUGE)),
        reference_perplexity=quality.number("reference_perplexity", 1.0, float(_HUGE)),
        kl_divergence=quality.number("kl_divergence", -1e-6, float(_HUGE)),
        top1_agreement=quality.number("top1_agreement", 0.0, 1.0),
        tokens=quality.integer("tokens", 1, _HUGE),
    )


def _read_speed(card: JsonObject) -> Speed | None:
    if not card.has("speed"):
        return None
    speed = card.child("speed")
    return Speed(
        machine=speed.text("machine", longest=256),
        load_seconds=speed.number("load_seconds", 0.0, float(_HUGE)),
        prefill_rate=speed.number("prefill_rate", 0.0, float(_HUGE)),
        decode_rate=speed.number("decode_rate", 0.0, float(_HUGE)),
        batch_rate=speed.number("batch_rate", 0.0, float(_HUGE)),
        streams=speed.integer("streams", 1, _MAX_STREAMS),
        memory_bytes=speed.integer("memory_bytes", 0, _HUGE),
    )


def _read_verification(card: JsonObject) -> Verification | None:
    if not card.has("verified"):
        return None
    verified = card.child("verified")
    quality = _read_quality(verified)
    if quality is None:
        raise verified.refuse("quality", "is missing")
    return Verification(_word(verified, "engine", longest=256), quality)


def _word(within: JsonObject, name: str, *, longest: int) -> str:
    """Return a text that logs, terminals and keys of answers may show as it is."""
    value = within.text(name, longest=longest)
    if not value.isprintable():
        raise within.refuse(name, f"is {value[:40]!r}, must have no control characters")
    return value


def write_card(card: ModelCard, folder: Path) -> None:
    """Write `card` into `folder`, whole or not at all: another process may be reading it.

    Errors of the disk pass through as OSError.
    """
    content = {"format": _FORMAT, **asdict(card)}
    before = folder.stat()
    unfinished = folder / f".{CARD_FILE}.part"
    try:
        unfinished.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        unfinished.replace(folder / CARD_FILE)
    finally:
        unfinished.unlink(missing_ok=True)
        # What is measured later makes no newer version: aliases go by the folder's time.
        os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
