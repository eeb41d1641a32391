"""Features of a prompt to their proto and back."""

from __future__ import annotations

from llmrouter.common.errors import invalid
from llmrouter.common.prompt_features import SHAPE, SKETCH_SIZE, VERSION, PromptFeatures
from llmrouter.v1 import features_pb2

__all__ = ["decode_features", "encode_features"]


def encode_features(features: PromptFeatures) -> features_pb2.PromptFeatures:
    """Return the proto of a prompt's features."""
    return features_pb2.PromptFeatures(
        version=features.version, shape=features.shape, sketch=features.sketch
    )


def decode_features(message: features_pb2.PromptFeatures) -> PromptFeatures | None:
    """Return the features; None for a version that is not known here.

    Raises:
        RouterError: INVALID_ARGUMENT when their sizes are not those of the version.
    """
    if message.version != VERSION:
        return None
    for name, value, size in (
        ("shape", message.shape, len(SHAPE)),
        ("sketch", message.sketch, SKETCH_SIZE),
    ):
        if len(value) != size:
            raise invalid(f"features.{name}", f"has {len(value)} bytes; {size} are needed")
    return PromptFeatures(message.shape, message.sketch)
