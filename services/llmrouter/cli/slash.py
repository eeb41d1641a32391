"""The commands of a chat: lines that begin with a slash. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llmrouter_client import Options

__all__ = ["Changed", "Quit", "Told", "Wrong", "obey"]

_QUIT = frozenset({"/quit", "/exit"})
_KINDS: Mapping[str, Callable[[str], object]] = {
    "model": str,
    "strategy": str,
    "temperature": float,
    "top-p": float,
    "top-k": int,
    "max-tokens": int,
    "seed": int,
    "priority": str,
    "switching": str,
    "truncation": str,
}
"""What may be changed, and how it is read."""


@dataclass(frozen=True, slots=True)
class Quit:
    """The chat ends."""


@dataclass(frozen=True, slots=True)
class Told:
    """Something is to be told, and nothing changes."""

    text: str


@dataclass(frozen=True, slots=True)
class Wrong:
    """It is no command, or its value is none, and nothing changes."""

    text: str


@dataclass(frozen=True, slots=True)
class Changed:
    """The turns after it are answered by these options."""

    options: Options


def obey(line: str, options: Options) -> Quit | Told | Wrong | Changed | None:
    """Return what a line asks for; None where it is no command but something to say.

    Args:
        line: As it was typed. What begins with two slashes is said, with one of them.
        options: Those that hold now.
    """
    words = line.strip().split()
    if not words or not words[0].startswith("/") or words[0].startswith("//"):
        return None
    if words[0] in _QUIT:
        return Quit()
    name, value = words[0].removeprefix("/"), " ".join(words[1:])
    if name == "options":
        return Told(_held(options))
    if name == "help":
        return Told(_HELP)
    if name not in _KINDS:
        return Wrong(f"there is no /{name}; /help lists what there is")
    return _changed(name, value, options)


def _changed(name: str, value: str, options: Options) -> Wrong | Changed:
    field, changed = name.replace("-", "_"), Options(**options)
    if not value:
        changed.pop(field, None)  # type: ignore[misc]  # it is one of the names
        return Changed(changed)
    kind = _KINDS[name]
    try:
        changed[field] = kind(value)  # type: ignore[literal-required]  # likewise
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        return Wrong(f"/{name} takes {wanted}, not {value!r}")
    return Changed(changed)


def _held(options: Options) -> str:
    held = [
        f"/{name} {options.get(name.replace('-', '_'))}"
        for name in _KINDS
        if options.get(name.replace("-", "_")) is not None
    ]
    return "\n".join(held) or "everything is left to the gateway"


_HELP = "\n".join(
    [
        "/quit, /exit".ljust(22) + "end, as Ctrl-D does; Ctrl-C gives the running answer up",
        "/options".ljust(22) + "what is set",
        *(f"/{name} VALUE".ljust(22) + "set it; without a value, reset it" for name in _KINDS),
        "//…".ljust(22) + "say a line that begins with a slash",
    ]
)
