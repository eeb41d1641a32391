"""The program `llmrouter`."""

from __future__ import annotations

from importlib import metadata
from typing import Annotated

import typer

from llmrouter.cli import (
    backup,
    batch,
    breakers,
    chat,
    decisions,
    demo,
    doctor,
    embed,
    generate,
    health,
    invalidate,
    keys,
    models,
    places,
    profile,
    rate,
    release,
    rollout,
    running,
    select,
    settings,
    stats,
    top,
)
from llmrouter.cli.failures import Commands

__all__ = ["app"]

app = typer.Typer(
    cls=Commands,
    name="llmrouter",
    help="Ask language models through one endpoint that picks the right one.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its tables cut the names of long flags
    add_completion=True,
)
app.command()(demo.demo)
app.command()(generate.generate)
app.command()(chat.chat)
app.command()(batch.batch)
app.command()(embed.embed)
app.command()(select.select)
app.command()(rate.rate)
app.command()(invalidate.invalidate)
app.command()(health.health)
app.command()(doctor.doctor)
app.command()(top.top)
app.command()(profile.profile)
app.command()(settings.settings)
app.command()(backup.backup)
app.command()(backup.restore)
app.command()(release.release)
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")
app.add_typer(rollout.app, name="rollout")
app.add_typer(decisions.app, name="decisions")
app.add_typer(breakers.app, name="breakers")
app.add_typer(stats.app, name="stats")
running.add_to(app)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"llmrouter {metadata.version('llmrouter')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
    tls_ca: Annotated[
        str | None,
        typer.Option(
            help="Speak TLS with those whose CAs this PEM file holds, or `system`; by default "
            "LLMROUTER_TLS_CA.",
        ),
    ] = None,
    tls_certificate: Annotated[
        str | None,
        typer.Option(help="PEM file to show; by default LLMROUTER_TLS_CERTIFICATE."),
    ] = None,
    tls_key: Annotated[
        str | None, typer.Option(help="Its private key; by default LLMROUTER_TLS_KEY.")
    ] = None,
) -> None:
    places.TLS.set(places.tls_from(tls_ca, tls_certificate, tls_key))


if __name__ == "__main__":
    app()
