"""Answers packed with zstd, where that pays, and a dictionary trained on answers of this store.

Short texts hold little to learn from by themselves; a dictionary is what makes them smaller. It is
trained once, when enough has been seen, and used if it makes answers that it was not trained on
smaller by a tenth. Frames name their dictionary, so that older answers stay readable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from enum import IntEnum

import zstandard

from llmrouter.cache.record import RecordError

__all__ = ["Codec", "Packer"]

_LEVEL = 3
_SHORTEST = 128
"""Bytes below which packing is not tried."""
_WORTH = 0.9
"""Packed is kept only if it is at most this share."""
_AT_ONCE = 64 << 10
"""Bytes above which packing takes milliseconds and goes to a thread."""
_SAMPLES = 512
_SAMPLE_BYTES = 4 << 20
_DICTIONARY_BYTES = 32 << 10
_LARGEST = 64 << 20


class Codec(IntEnum):
    """How a payload is packed."""

    PLAIN = 0
    ZSTD = 1


class Packer:
    """Packs and unpacks payloads. For one event loop."""

    def __init__(self, dictionaries: Iterable[bytes] = ()) -> None:
        """Begin with the dictionaries that stored payloads may name, the newest last.

        Raises:
            zstandard.ZstdError: One is damaged.
        """
        self._plain = zstandard.ZstdCompressor(level=_LEVEL)
        self._packing = self._plain
        self._readers = {0: zstandard.ZstdDecompressor()}
        self.newest: bytes | None = None
        """The dictionary that is packed with; None while there is none."""
        self._samples: list[bytes] = []
        self._sampled_bytes = 0
        self._trained = False
        for raw in dictionaries:
            self.use(raw)

    def use(self, raw: bytes) -> None:
        """Pack with this dictionary from now on; what others packed stays readable."""
        dictionary = zstandard.ZstdCompressionDict(raw)
        self.newest = raw
        self._packing = zstandard.ZstdCompressor(level=_LEVEL, dict_data=dictionary)
        self._readers[dictionary.dict_id()] = zstandard.ZstdDecompressor(dict_data=dictionary)
        self._trained = True
        self._samples.clear()

    async def pack(self, payload: bytes) -> tuple[Codec, bytes]:
        """Return the payload as it is to be stored."""
        if len(payload) < _SHORTEST:
            return Codec.PLAIN, payload
        if len(payload) > _AT_ONCE:
            packed = await asyncio.to_thread(_compress_large, payload)
        else:
            packed = self._packing.compress(payload)
        if len(packed) > len(payload) * _WORTH:
            return Codec.PLAIN, payload
        return Codec.ZSTD, packed

    async def unpack(self, codec: int, data: bytes) -> bytes:
        """Return the payload.

        Raises:
            RecordError: It cannot be read, or its dictionary is not here.
        """
        if codec == Codec.PLAIN:
            return data
        try:
            found = zstandard.get_frame_parameters(data)
            if found.content_size > _LARGEST:
                raise RecordError(f"{found.content_size} bytes are too many for an answer")
            if found.content_size > _AT_ONCE:
                return await asyncio.to_thread(_decompress_large, data)
            return self._readers[found.dict_id].decompress(data, max_output_size=_LARGEST)
        except (zstandard.ZstdError, KeyError) as error:
            raise RecordError(f"an answer cannot be unpacked: {error}") from None

    def sample(self, payload: bytes) -> bool:
        """Take a payload to learn from; True, once, when there are enough to `train`."""
        if self._trained or not _SHORTEST <= len(payload) <= _AT_ONCE:
            return False
        self._samples.append(payload)
        self._sampled_bytes += len(payload)
        if len(self._samples) < _SAMPLES and self._sampled_bytes < _SAMPLE_BYTES:
            return False
        self._trained = True
        return True

    async def train(self) -> bytes | None:
        """Return a dictionary learned from the samples; None when it would not pay."""
        samples, self._samples = self._samples, []
        return await asyncio.to_thread(_learn, samples)


def _compress_large(payload: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=_LEVEL).compress(payload)


def _decompress_large(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(data, max_output_size=_LARGEST)


def _learn(samples: list[bytes]) -> bytes | None:
    judged, learned = samples[::4], [one for at, one in enumerate(samples) if at % 4]
    try:
        dictionary = zstandard.train_dictionary(_DICTIONARY_BYTES, [*learned])
    except zstandard.ZstdError:  # too few, or all alike
        return None
    knowing = zstandard.ZstdCompressor(level=_LEVEL, dict_data=dictionary)
    plain = zstandard.ZstdCompressor(level=_LEVEL)
    with_it = sum(len(knowing.compress(one)) for one in judged)
    without = sum(len(plain.compress(one)) for one in judged)
    return dictionary.as_bytes() if with_it <= _WORTH * without else None
