"""The program `llmrouter`."""

from __future__ import annotations

import typer

from llmrouter.cli import chat, demo, generate, models, running, select, stats
from llmrouter.cli.failures import Commands

__all__ = ["app", "main"]

app = typer.Typer(
    cls=Commands,
    name="llmrouter",
    help="Ask language models through one endpoint that picks the right one.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)
app.command()(demo.demo)
app.command()(generate.generate)
app.command()(chat.chat)
app.command()(select.select)
app.command()(stats.stats)
app.add_typer(models.app, name="models")
running.add_to(app)


def main() -> None:
    """Run the command line and exit."""
    app()


if __name__ == "__main__":
    main()
