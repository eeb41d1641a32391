"""Who asks, as it was proven, and what that allows. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from llmrouter.common.errors import Reason, RouterError

__all__ = ["ALL_SCOPES", "ANONYMOUS", "CALLER_SCOPES", "OPERATOR", "Principal", "Scope", "require",
           "require_model"]  # fmt: skip


class Scope(StrEnum):
    """What a caller may be allowed to do."""

    GENERATE = "generate"
    EMBED = "embed"
    MODELS = "models"
    """List the models."""
    OBSERVE = "observe"
    """See what the suite does for everybody: the live page."""
    ADMIN = "admin"
    """Have a profile recorded."""


ALL_SCOPES = frozenset(Scope)
CALLER_SCOPES = frozenset({Scope.GENERATE, Scope.EMBED, Scope.MODELS})
"""What callers may do unless somebody says otherwise: nothing that concerns others."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller who is known."""

    tenant: str = "default"
    """Owner of limits and of cached answers."""
    user: str = ""
    """End user within the tenant; may be empty."""
    scopes: frozenset[Scope] = CALLER_SCOPES
    models: frozenset[str] = frozenset()
    """Names of models and aliases that it may use; empty means all."""
    credential: str = "anonymous"
    """What proved it, for logs: a key's id, never the key."""


ANONYMOUS = Principal()
OPERATOR = Principal(scopes=ALL_SCOPES)
"""Who comes without a credential from this very machine, where that is allowed."""


def require(principal: Principal, scope: Scope) -> None:
    """Refuse a caller that lacks a scope.

    Raises:
        RouterError: PERMISSION_DENIED naming the scope and those it has.
    """
    if scope not in principal.scopes:
        held = ", ".join(sorted(principal.scopes)) or "none"
        message = f"this needs the scope '{scope}'; the scopes of {principal.credential} are {held}"
        raise RouterError(Reason.PERMISSION_DENIED, message, metadata={"scope": scope.value})


def require_model(principal: Principal, name: str) -> None:
    """Refuse a model that is named and not allowed.

    Args:
        principal: Who asks.
        name: `name`, `name@version` or alias as asked for; empty leaves the choice to the
            selector, which is told the models that are allowed.

    Raises:
        RouterError: PERMISSION_DENIED naming the models that are.
    """
    bare = name.partition("@")[0]
    if bare and principal.models and bare not in principal.models:
        known = ", ".join(sorted(principal.models))
        message = f"{principal.credential} may not use '{bare}'; it may use {known}"
        raise RouterError(Reason.PERMISSION_DENIED, message, metadata={"model": bare})
