"""From what came with a call to who asks. Pure but for the log of refusals."""

from __future__ import annotations

import functools
import ipaddress
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Protocol
from urllib.parse import unquote

from llmrouter.common.errors import Reason, RouterError, unauthenticated
from llmrouter.gateway.identity.api_keys import ApiKey, authenticate, is_api_key
from llmrouter.gateway.identity.principal import (
    ANONYMOUS,
    OPERATOR,
    Principal,
    Scope,
    require,
    require_model,
)

__all__ = ["Anonymous", "Auditor", "Call", "Identity", "Keys", "Tokens", "is_loopback"]

Anonymous = Literal["never", "loopback", "always"]
_BEARER = "bearer "
_HOW = (
    "send `authorization: Bearer KEY` (LLMROUTER_API_KEY of the command line, api_key of the "
    "Python client)"
)
_MAX_CREDENTIAL = 16_384


class Keys(Protocol):
    """The keys there are."""

    @property
    def secret(self) -> bytes:
        """What they are hashed under."""
        ...

    def find(self, identifier: str) -> ApiKey | None:
        """Return the key of this id."""
        ...


class Tokens(Protocol):
    """What reads the tokens of an identity provider."""

    def principal(self, token: str) -> Principal:
        """Return who brings it.

        Raises:
            RouterError: UNAUTHENTICATED.
        """
        ...


class Auditor(Protocol):
    """Where refusals are told."""

    def tell(self, act: str, **facts: object) -> None:
        """Keep one act."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """What is known of a call before anything is believed."""

    metadata: Iterable[tuple[str, str | bytes]]
    peer: str
    """As gRPC names it, such as `ipv4:127.0.0.1:5000`."""
    request_id: str
    names: tuple[str, ...] = ()
    """Those of the certificate that was shown and verified, if any."""


class Identity:
    """Says who asks and refuses what is not allowed.

    Args:
        keys: The keys there are.
        anonymous: From where callers without a credential are let in.
        audit: Is told of every refusal.
        tokens: Reads JSON Web Tokens, where they are taken.
        certificates: Who callers are by a name of their certificate.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        keys: Keys,
        anonymous: Anonymous,
        audit: Auditor,
        tokens: Tokens | None = None,
        certificates: Mapping[str, Principal] = MappingProxyType({}),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys, self._tokens, self._clock = keys, tokens, clock
        self._certificates = certificates
        self._anonymous, self._audit = anonymous, audit

    def admit(self, call: Call, scope: Scope, model: str = "") -> Principal:
        """Return who asks.

        Args:
            call: What came with it.
            scope: What is to be done.
            model: Which model is asked for by name, if any.

        Raises:
            RouterError: UNAUTHENTICATED or PERMISSION_DENIED; STORE_FAILED when keys cannot be
                read; CANCELLED for a caller who is gone, which is told to no audit.
        """
        with self._audited(call, scope=scope.value):
            principal = self._identified(call)
        with self._audited(call, scope=scope.value, credential=principal.credential):
            require(principal, scope)
        self.admit_model(call, principal, model)
        return principal

    def admit_model(self, call: Call, principal: Principal, model: str) -> None:
        """Refuse a model that is named and not allowed.

        Args:
            call: What came with it.
            principal: Who asks, as `admit` returned it.
            model: As `require_model` takes it.

        Raises:
            RouterError: PERMISSION_DENIED.
        """
        with self._audited(call, model=model, credential=principal.credential):
            require_model(principal, model)

    @contextmanager
    def _audited(self, call: Call, **facts: object) -> Iterator[None]:
        try:
            yield
        except RouterError as error:
            known = {"credential": f"key {key}"} if (key := error.metadata.get("key")) else {}
            told = {"reason": error.reason.value, "peer": call.peer, "request_id": call.request_id}
            if error.reason is not Reason.CANCELLED:
                self._audit.tell("refused", **told, **{**facts, **known})
            raise

    def _identified(self, call: Call) -> Principal:
        credential = _credential(call.metadata)
        if credential is None:
            return self._uncredited(call, "the call brings no credential; " + _HOW)
        if is_api_key(credential):
            return authenticate(credential, self._keys.find, self._keys.secret, self._clock())
        if self._tokens is not None and credential.count(".") == 2:
            return self._tokens.principal(credential)
        # As without any: OpenAI's clients must send something, and people send "none".
        told = "the credential is no API key of this gateway; one begins with llmr_"
        return self._uncredited(call, told)

    def _uncredited(self, call: Call, why_not: str) -> Principal:
        """Return who brings no credential of ours: the holder of a certificate, or nobody."""
        for name in call.names:
            if name in self._certificates:
                return self._certificates[name]
        if self._anonymous != "never" and is_loopback(call.peer):
            return OPERATOR
        if self._anonymous == "always":
            return ANONYMOUS
        if not call.peer:  # gRPC's word for a connection that is gone
            raise RouterError(Reason.CANCELLED, "the caller went away")
        raise unauthenticated(why_not)


@functools.lru_cache(maxsize=1024)  # a connection brings many calls
def is_loopback(peer: str) -> bool:
    """Return whether a caller is on this machine, by the name that gRPC has for it."""
    kind, _, place = unquote(peer).partition(":")
    if kind in ("inprocess", "unix"):
        return True
    host = place.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _credential(metadata: Iterable[tuple[str, str | bytes]]) -> str | None:
    """Return the one credential of a call; None where there is none."""
    found = [value for key, value in metadata if key == "authorization"]
    if not found:
        return None
    value = found[0]
    if len(found) > 1 or not isinstance(value, str) or value[: len(_BEARER)].lower() != _BEARER:
        raise unauthenticated("`authorization` must come once, as `Bearer` and the credential")
    credential = value[len(_BEARER) :].strip()
    if not credential:
        raise unauthenticated(
            "the credential is empty; send `Bearer` and the key or token after it"
        )
    if len(credential) > _MAX_CREDENTIAL:
        raise unauthenticated(
            f"the credential is too long: {len(credential)} characters, where at most "
            f"{_MAX_CREDENTIAL} are taken"
        )
    return credential
