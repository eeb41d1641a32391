"""Versions of a model side by side: what their folders are called, and the aliases to them.

A folder `name` or `name@label` is a version of the model `name`. Requests name a version by its
label, by its fingerprint or by an alias. Two aliases every model has: `stable`, which stands where
no version is named, and `latest`; both can be moved, as can any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from llmrouter.common.errors import invalid

__all__ = [
    "LATEST",
    "STABLE",
    "Version",
    "VersionKey",
    "aliases_of",
    "check_alias",
    "find_version",
    "is_key",
    "key_of",
    "parse_key",
    "with_precision",
]

LATEST = "latest"
"""Where nobody moved it: the folder that was installed last."""
STABLE = "stable"
"""Where nobody moved it: the folder without a label, else the latest."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
_LABEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, order=True)
class VersionKey:
    """What a version's folder is called."""

    name: str
    """The model."""
    label: str = ""
    """Empty for the folder that has the model's bare name."""

    def __str__(self) -> str:
        return f"{self.name}@{self.label}" if self.label else self.name


@dataclass(frozen=True, slots=True)
class Version:
    """One version, as far as names lead to it."""

    key: VersionKey
    fingerprint: str
    """Of the folder's contents; empty while nobody has read it."""
    installed: float
    """When its folder was written, in seconds since 1970."""


def parse_key(text: str) -> VersionKey:
    """Return the version that a folder's name stands for.

    Raises:
        RouterError: INVALID_ARGUMENT for anything but lower-case letters, digits and `._-`, a label
            behind an `@` among them.
    """
    name, at, label = text.partition("@")
    if not _is_name(name):
        raise invalid(
            "name",
            f"{text!r} must be 1 to 128 lower-case letters, digits, dots, dashes or underscores, "
            "starting with a letter or digit; a version's label may follow an @",
        )
    if at and not _is_label(label):
        raise invalid(
            "version",
            f"{label!r} must be 1 to 64 lower-case letters, digits, dots, dashes or underscores, "
            f"starting with a letter or digit, and neither {LATEST} nor {STABLE}",
        )
    return VersionKey(name, label)


def key_of(folder: str) -> VersionKey:
    """Return the version that an existing folder is, whatever its name is made of."""
    name, _, label = folder.partition("@")
    return VersionKey(name, label)


def is_key(text: str) -> bool:
    """Whether a folder of this name is a version of a model."""
    name, at, label = text.partition("@")
    return _is_name(name) and (not at or _is_label(label))


def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None and ".." not in text


def _is_label(text: str) -> bool:
    return _LABEL.fullmatch(text) is not None and ".." not in text and text not in (LATEST, STABLE)


def with_precision(name: str, precision: str) -> str:
    """Return what one precision of the checkpoint `name` is called: `a@b` becomes `a-int8@b`."""
    bare, at, label = name.partition("@")
    return f"{bare}-{precision}{at}{label}"


def check_alias(alias: str, versions: Iterable[Version]) -> str:
    """Return `alias` if it can be one.

    Raises:
        RouterError: INVALID_ARGUMENT when it is no word or names a version itself.
    """
    if not _LABEL.fullmatch(alias) or ".." in alias:
        raise invalid(
            "aliases",
            f"{alias!r} must be 1 to 64 lower-case letters, digits, dots, dashes or underscores, "
            "starting with a letter or digit",
        )
    for version in versions:
        if alias in (version.key.label, version.fingerprint):
            raise invalid("aliases", f"{alias!r} is the version {version.key} itself")
    return alias


def aliases_of(versions: Iterable[Version], moved: Mapping[str, str]) -> dict[str, VersionKey]:
    """Return where the aliases of one model point.

    Args:
        versions: All of the same model.
        moved: Alias to label; one whose version is gone is as if it had never been moved, and so
            is one that is a version's label by now.
    """
    by_age = sorted(versions, key=lambda one: (one.installed, one.key))
    if not by_age:
        return {}
    by_label = {one.key.label: one.key for one in by_age}
    aliases = {
        alias: by_label[label]
        for alias, label in moved.items()
        if label in by_label and alias not in by_label
    }
    latest = aliases.setdefault(LATEST, by_age[-1].key)
    aliases.setdefault(STABLE, by_label.get("", latest))
    return aliases


def find_version(
    versions: Iterable[Version], aliases: Mapping[str, VersionKey], wanted: str
) -> VersionKey | None:
    """Return the version of one model that `wanted` names; None where it names none.

    Args:
        versions: All of the same model; of equal fingerprints the first one counts.
        aliases: Where they point.
        wanted: A label, an alias or a fingerprint; empty for `stable`.
    """
    if not wanted:
        return aliases.get(STABLE)
    among = tuple(versions)
    by_label = {one.key.label: one.key for one in among if one.key.label}
    by_fingerprint = {one.fingerprint: one.key for one in reversed(among) if one.fingerprint}
    return by_label.get(wanted) or aliases.get(wanted) or by_fingerprint.get(wanted)
