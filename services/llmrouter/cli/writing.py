"""Files that a command is told to write: whole, or as they were before."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from llmrouter.common.settings import ConfigError

__all__ = ["whole_file"]


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """Give a file for UTF-8 text, which takes the place of `path` once the block ends.

    What fails leaves `path` as it was. What is there and no regular file, as `/dev/null` or a
    pipe, is written to directly.

    Raises:
        ConfigError: It cannot be written; names `path`.
    """
    place = path.resolve()
    direct = path.exists() and not path.is_file()
    draft = path if direct else place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    try:
        try:
            with draft.open("w", encoding="utf-8", newline="") as file:
                yield file
            if not direct:
                draft.replace(place)
        except BaseException:
            if not direct:
                draft.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
