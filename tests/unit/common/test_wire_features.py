"""A prompt's features on the wire."""

import pytest

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.prompt_features import features_of
from llmrouter.common.wire_features import decode_features, encode_features


def test_features_come_back_as_they_were_sent():
    features = features_of("What is 2 + 2?")

    assert decode_features(encode_features(features)) == features


def test_features_take_less_than_600_bytes_on_the_wire():
    assert encode_features(features_of("long " * 5000)).ByteSize() < 600


def test_features_of_an_unknown_version_are_ignored():
    message = encode_features(features_of("x"))
    message.version = 2

    assert decode_features(message) is None


@pytest.mark.parametrize("name", ["shape", "sketch"])
def test_features_of_a_wrong_size_are_refused_by_name(name):
    message = encode_features(features_of("x"))
    setattr(message, name, b"\x00" * 7)

    with pytest.raises(RouterError, match=rf"features\.{name}.*7 bytes") as refused:
        decode_features(message)

    assert refused.value.reason is Reason.INVALID_ARGUMENT
