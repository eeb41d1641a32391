"""`keys`: who may call the gateway. Works on the gateway's own files, on its machine."""

from __future__ import annotations

import getpass
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from llmrouter.cli.output import Json, err, out, show_table, table, write_json
from llmrouter.cli.running import Config
from llmrouter.common.settings import ConfigError, data_directory, load_config, parse

if TYPE_CHECKING:
    from llmrouter.gateway.identity.api_keys import ApiKey
    from llmrouter.gateway.identity.audit import AuditFile
    from llmrouter.gateway.identity.key_store import KeyStore

__all__ = ["app"]

_DAY, _HOUR = 86_400.0, 3_600.0
_MAX_MODELS = 256
_MAX_NAMED = 3
_STATES = {"active": "green", "expired": "yellow", "revoked": "red"}

app = typer.Typer(
    help="Create, list, rotate and revoke the API keys of the gateway on this machine.",
    no_args_is_help=True,
)

_Key = Annotated[str, typer.Argument(help="A key's id or its name.")]


@dataclass(frozen=True, slots=True)
class _Office:
    """What administering works on."""

    store: KeyStore
    audit: AuditFile

    def find(self, wanted: str) -> ApiKey:
        """Return the key of this id, or the only one of this name.

        Raises:
            ConfigError: There is none, or several.
        """
        keys, _ = self.store.load()
        named = [key for key in keys.values() if wanted in (key.id, key.name)]
        if len(named) == 1:
            return named[0]
        if not named:
            raise ConfigError(f"no key is called {wanted!r}; `llmrouter keys list` shows all")
        raise ConfigError(f"{len(named)} keys are called {wanted!r}; name one by its id")

    def ids_of(self, name: str) -> list[str]:
        """Return the ids of all keys of this name, revoked ones too."""
        keys, _ = self.store.load()
        return sorted(one.id for one in keys.values() if one.name == name)

    def keep(self, act: str, key: ApiKey) -> None:
        """Write it into the store and the audit log."""
        self.store.put(key)
        by = getpass.getuser()
        self.audit.write(act, {"by": by, "key": key.id, "name": key.name, "tenant": key.tenant})


def _office(config: Path | None) -> _Office:
    from llmrouter.gateway.identity.places import audit_file, key_store
    from llmrouter.gateway.settings import GatewaySettings

    given = load_config(config)
    settings = parse(GatewaySettings, given.get("gateway"), "gateway", files=given.files)
    data = data_directory()
    return _Office(key_store(settings.identity, data), audit_file(settings.identity, data))


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What it is called, for people.")],
    tenant: Annotated[str, typer.Option(help="Who owns its limits and cached answers.")] = (
        "default"
    ),
    user: Annotated[str, typer.Option(help="End user within the tenant.")] = "",
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            help="generate, embed, models, observe (the live page) or admin (profiles); repeat it. "
            "The first three by default.",
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="A model or alias it may use; repeat it. All by default."),
    ] = None,
    days: Annotated[
        float | None, typer.Option(min=0, help="Days until it expires; never by default.")
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Create a key. Its text is written once, to standard output, and kept nowhere."""
    from llmrouter.gateway.identity.api_keys import ApiKey, make

    for flag, text, least, most in (
        ("NAME", name, 1, 64), ("--tenant", tenant, 1, 128), ("--user", user, 0, 128)
    ):  # fmt: skip
        if not least <= len(text.encode()) <= most:
            raise typer.BadParameter(f"must have {least} to {most} bytes", param_hint=flag)
    if len(model or ()) > _MAX_MODELS:
        raise typer.BadParameter(f"at most {_MAX_MODELS} may be named", param_hint="--model")
    office, now = _office(config), time.time()
    wanted = ApiKey(
        id="",
        name=name,
        digest=b"",
        created=now,
        tenant=tenant,
        user=user,
        scopes=_scopes(scope),
        models=frozenset(model or ()),
        expires=None if days is None else now + days * _DAY,
    )
    alike = office.ids_of(name)
    key, text = make(office.store.secret(), wanted)
    office.keep("key.created", key)
    _tell_text(key, text, alike, as_json=as_json)


@app.command("list")
def list_keys(config: Config = None, as_json: Json = False) -> None:
    """List the keys; their texts are nowhere."""
    keys, _ = _office(config).store.load()
    ordered = sorted(keys.values(), key=lambda key: key.created)
    if as_json:
        write_json({"keys": [_data(key) for key in ordered]})
        return
    if not ordered:
        out().print("no keys yet; try: llmrouter keys create NAME")
        return
    made = table("id", "name", "state", "tenant", "user", "scopes", "models", "expires")
    for key in ordered:
        state = key.state(time.time())
        made.add_row(
            f"[bold]{key.id}[/]",
            escape(key.name),
            f"[{_STATES[state]}]{state}[/]",
            escape(key.tenant),
            escape(key.user) or "-",
            ", ".join(sorted(key.scopes)),
            escape(", ".join(sorted(key.models))) or "all",
            "never" if key.expires is None else _day(key.expires),
        )
    show_table(made)


@app.command()
def rotate(
    key: _Key,
    grace_hours: Annotated[
        float, typer.Option(min=0, max=8_760, help="Hours the old text stays good.")
    ] = 24.0,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Give a key a new text; the old one is good for a while."""
    from llmrouter.gateway.identity import api_keys

    office = _office(config)
    found, secret = office.find(key), office.store.secret()
    try:
        renewed, text = api_keys.rotate(found, secret, time.time(), grace_hours * _HOUR)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    office.keep("key.rotated", renewed)
    _tell_text(renewed, text, as_json=as_json)


@app.command()
def revoke(key: _Key, config: Config = None, as_json: Json = False) -> None:
    """Have a key refused from now on; a running gateway sees it within a second or two."""
    from llmrouter.gateway.identity import api_keys

    office = _office(config)
    revoked = api_keys.revoke(office.find(key), time.time())
    office.keep("key.revoked", revoked)
    if as_json:
        write_json({"event": "revoked", "key": _data(revoked)})
    else:
        out().print(f"[green]revoked[/] [bold]{revoked.id}[/] {escape(revoked.name)}")


def _scopes(given: list[str] | None) -> frozenset[Any]:
    from llmrouter.gateway.identity.principal import ALL_SCOPES, CALLER_SCOPES, Scope

    try:
        return frozenset(map(Scope, given)) if given else CALLER_SCOPES
    except ValueError:
        told = f"must be one of {', '.join(sorted(ALL_SCOPES))}"
        raise typer.BadParameter(told, param_hint="--scope") from None


def _tell_text(key: ApiKey, text: str, alike: Sequence[str] = (), *, as_json: bool) -> None:
    if as_json:
        write_json({"event": "key", "text": text, "key": _data(key)})
        return
    err().print(f"[bold]{key.id}[/] {escape(key.name)}; this is the only time it is shown:")
    typer.echo(text)
    if alike:
        _tell_alike(key.name, alike)


def _tell_alike(name: str, others: Sequence[str]) -> None:
    """Say that a name stands for several keys now; rotate and revoke will want an id."""
    more = f" and {len(others) - _MAX_NAMED} more" if len(others) > _MAX_NAMED else ""
    known = f"{', '.join(others[:_MAX_NAMED])}{more}"
    told = f"{name!r} is the name of {known} too: rotate and revoke them by their ids"
    err().print(f"[yellow]{escape(told)}[/]", soft_wrap=True)


def _data(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "state": key.state(time.time()),
        "tenant": key.tenant,
        "user": key.user,
        "scopes": sorted(key.scopes),
        "models": sorted(key.models),
        "created": _time(key.created),
        "expires": _time(key.expires),
        "revoked": _time(key.revoked),
    }


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
