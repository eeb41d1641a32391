"""The keys on disk: SQLite, and beside it the secret under which they are hashed. Blocking."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from llmrouter.common.errors import Reason, RouterError
from llmrouter.common.sqlite_errors import sqlite_said
from llmrouter.gateway.identity.api_keys import ApiKey
from llmrouter.gateway.identity.principal import Scope

__all__ = ["MAX_KEYS", "KeyStore"]

MAX_KEYS = 100_000
_WAIT_SECONDS = 5.0
_MIN_SECRET_BYTES = 16
_SCHEMA = "CREATE TABLE IF NOT EXISTS keys (id TEXT PRIMARY KEY, data TEXT NOT NULL) WITHOUT ROWID"


class KeyStore:
    """The keys of one gateway; several processes may use it at once.

    Args:
        path: The file of the keys; made with the first one.
        secret_file: Holds what keys are hashed under, at least 16 bytes; None for
            `<path>.secret`, which is made with the first key, too.
    """

    def __init__(self, path: Path, secret_file: Path | None = None) -> None:
        self._path = path
        self._makes_secret = secret_file is None
        self._secret_file = secret_file or path.with_name(f"{path.name}.secret")

    def load(self) -> tuple[dict[str, ApiKey], bytes]:
        """Return all keys by id, and the secret; none and an empty one before the first key.

        Raises:
            RouterError: STORE_FAILED naming the file.
        """
        with self._failures_told():
            if not self._path.exists():
                return {}, b""
            # Only to be read: it may lie in a mounted secret.
            place = f"{self._path.resolve().as_uri()}?mode=ro"
            with closing(sqlite3.connect(place, timeout=_WAIT_SECONDS, uri=True)) as database:
                rows = database.execute("SELECT id, data FROM keys").fetchall()
            return {identifier: _decoded(data) for identifier, data in rows}, self._secret()

    def secret(self) -> bytes:
        """Return what keys are hashed under; made now if there is none yet.

        Raises:
            RouterError: STORE_FAILED naming the file.
        """
        with self._failures_told():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._makes_secret and not self._secret_file.exists():
                self._make_secret()
            return self._secret()

    def put(self, key: ApiKey) -> None:
        """Keep a key, in the place of an earlier record of its id.

        Raises:
            RouterError: STORE_FAILED naming the file, or when it holds too many.
        """
        with self._failures_told(), self._opened() as database, database:
            database.execute("BEGIN IMMEDIATE")
            (count,) = database.execute("SELECT count(*) FROM keys").fetchone()
            if count >= MAX_KEYS:
                message = f"{self._path} holds {count} keys, as many as may; take others out first"
                raise RouterError(Reason.STORE_FAILED, message)
            database.execute("REPLACE INTO keys VALUES (?, ?)", (key.id, _encoded(key)))

    def stamp(self) -> object:
        """Return what differs once the keys were written to."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _secret(self) -> bytes:
        found = self._secret_file.read_bytes().strip()
        if len(found) < _MIN_SECRET_BYTES:
            raise ValueError(f"{self._secret_file} has fewer than {_MIN_SECRET_BYTES} bytes")
        return found

    def _make_secret(self) -> None:
        # Of its owner alone, and whole or not there: somebody else may make it now as well.
        draft = self._secret_file.with_name(f"{self._secret_file.name}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32))
        try:
            os.link(draft, self._secret_file)
        except FileExistsError:
            pass
        finally:
            draft.unlink()

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        made = not self._path.exists()
        with closing(
            sqlite3.connect(self._path, timeout=_WAIT_SECONDS, isolation_level=None)
        ) as database:
            if made:
                self._path.chmod(0o600)
            database.execute("PRAGMA synchronous=FULL")
            database.execute(_SCHEMA)
            yield database

    @contextmanager
    def _failures_told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error, ValueError, KeyError, TypeError) as error:
            message = f"the API keys in {self._path} cannot be used: {sqlite_said(error)}"
            raise RouterError(Reason.STORE_FAILED, message) from error


def _encoded(key: ApiKey) -> str:
    return json.dumps(
        {
            "name": key.name,
            "digest": key.digest.hex(),
            "created": key.created,
            "tenant": key.tenant,
            "user": key.user,
            "scopes": sorted(key.scopes),
            "models": sorted(key.models),
            "expires": key.expires,
            "revoked": key.revoked,
            "old_digest": key.old_digest.hex(),
            "old_until": key.old_until,
            "id": key.id,
        }
    )


def _decoded(text: str) -> ApiKey:
    data: dict[str, Any] = json.loads(text)
    data["digest"] = bytes.fromhex(data["digest"])
    data["old_digest"] = bytes.fromhex(data["old_digest"])
    data["scopes"] = frozenset(map(Scope, data["scopes"]))
    data["models"] = frozenset(data["models"])
    return ApiKey(**data)
