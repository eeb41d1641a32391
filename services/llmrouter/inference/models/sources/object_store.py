"""A file in an S3-compatible object store, read through fsspec.

Endpoint and credentials are those of the machine's own AWS configuration (`AWS_ENDPOINT_URL`,
`AWS_PROFILE` and so on), which botocore reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import fsspec

from llmrouter.inference.models.sources.download import Answer, BrokenOffError, refusal
from llmrouter.inference.models.sources.web import is_confidential, place_of

__all__ = ["ObjectFile"]

_BLOCK = 8 * 1024 * 1024
"""Bytes asked for at once."""
_PATIENCE = {"connect_timeout": 10, "read_timeout": 30, "retries": {"max_attempts": 2}}


@dataclass(frozen=True, slots=True)
class ObjectFile:
    """One object; see `Remote` for the contract."""

    url: str
    """`s3://bucket/key`."""

    @property
    def place(self) -> str:
        """The URL: it holds no secret."""
        return self.url

    @contextmanager
    def open(self, start: int) -> Iterator[Answer]:
        """Ask for the bytes from `start` on, as `Remote.open` says."""
        stream = self._ask()
        with stream:
            yield _ObjectAnswer(self, stream, start)

    def _ask(self) -> Any:
        try:
            system = fsspec.filesystem(
                "s3", skip_instance_cache=True, use_listings_cache=False, config_kwargs=_PATIENCE
            )
            endpoint = system.s3.meta.endpoint_url
        except ImportError as error:
            raise refusal(self, "s3fs is not installed; install llmrouter[s3]") from error
        except Exception as error:  # botocore, aiobotocore and s3fs raise many kinds
            raise _said(self, error) from error
        if not is_confidential(endpoint):
            raise refusal(self, f"its endpoint {place_of(endpoint)} is not https")
        try:
            return system.open(self.url, "rb", block_size=_BLOCK)
        except Exception as error:  # the same
            raise _said(self, error) from error


@dataclass(slots=True)
class _ObjectAnswer:
    file: ObjectFile
    stream: Any
    start: int

    @property
    def total(self) -> int:
        return int(self.stream.size)

    def read(self, most: int) -> bytes:
        try:
            if self.stream.tell() < self.start:
                self.stream.seek(self.start)
            found: bytes = self.stream.read(most)
        except Exception as error:  # botocore, aiobotocore and s3fs raise many kinds
            raise _said(self.file, error) from error
        return found


def _said(file: ObjectFile, error: Exception) -> Exception:
    """Return what a failure means: a refusal is final, anything else may pass."""
    if isinstance(error, FileNotFoundError):
        return refusal(file, "there is no such object; check bucket and key")
    if isinstance(error, PermissionError) or type(error).__name__ == "NoCredentialsError":
        return refusal(
            file,
            "access is denied; check the machine's AWS credentials, or set FSSPEC_S3_ANON=true "
            "for a public bucket",
        )
    return BrokenOffError(f"the object store does not answer ({type(error).__name__})")
