"""`doctor`: looks at configuration, machine, models and services, and says what to do."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from llmrouter.cli.findings import Finding, State
from llmrouter.cli.looking import look_at
from llmrouter.cli.output import Json, counted, out, write_json
from llmrouter.cli.places import Place
from llmrouter.cli.running import Config
from llmrouter.common.settings import ConfigError, load_config, setting_variables

if TYPE_CHECKING:
    from llmrouter.cli.checks_services import Look
    from llmrouter.suite import SuiteSettings

__all__ = ["doctor"]

_MARKS = {
    State.OK: "[green]ok[/]     ",
    State.NOTE: "[dim]note[/]   ",
    State.WARNING: "[yellow]warning[/]",
    State.FAILED: "[bold red]failed[/] ",
}


def doctor(config: Config = None, as_json: Json = False) -> None:
    """Check configuration, packages, models, ports and running services; exit 1 on a failure."""
    from llmrouter.suite import load_settings

    findings: list[Finding] = []
    for finding in _machine():
        _tell(finding, findings, as_json=as_json)
    try:
        settings = load_settings(config)
    except ConfigError as error:
        wrong = Finding("configuration", State.FAILED, str(error), error.remedy)
        _tell(wrong, findings, as_json=as_json)
    else:
        _tell(Finding("configuration", State.OK, _given(config)), findings, as_json=as_json)
        for finding in _suite(settings):
            _tell(finding, findings, as_json=as_json)
    counts = Counter(finding.state for finding in findings)
    if as_json:
        told = {str(state): count for state, count in counts.items()}
        write_json({"checks": [asdict(one) for one in findings], "counts": told})
    else:
        out().print(_sum(counts))
    if counts[State.FAILED]:
        raise typer.Exit(1)


def _given(config: Path | None) -> str:
    """Return where the settings come from."""
    files, variables = load_config(config).files, len(setting_variables())
    said = " and ".join(map(str, files)) or "the defaults"
    return f"{said}, and {counted(variables, 'LLMROUTER_ variable')}" if variables else said


def _machine() -> Iterator[Finding]:
    from llmrouter.cli import checks_machine as checks
    from llmrouter.common.settings import data_directory

    yield from checks.check_packages()
    yield from checks.check_engine()
    yield from checks.check_space(data_directory())


def _suite(settings: SuiteSettings) -> Iterator[Finding]:
    from llmrouter.cli import checks_suite as checks
    from llmrouter.cli.checks_redis import check_redis
    from llmrouter.cli.checks_services import check_pages, check_services
    from llmrouter.cli.checks_writing import check_writing
    from llmrouter.cli.stores import open_store
    from llmrouter.common.settings import data_directory

    yield from check_writing(settings, data_directory())
    yield from checks.check_store(open_store(settings.inference.store))
    looks = asyncio.run(check_services(settings))
    yield from (look.finding for look in looks)
    yield from asyncio.run(check_pages(settings))
    yield from asyncio.run(checks.check_providers(settings))
    yield from asyncio.run(check_redis(settings))
    yield from asyncio.run(checks.check_telemetry(settings))
    places = _places(looks)
    if any(place.service == "selector" for place in places):
        yield from checks.check_running(asyncio.run(look_at(*places, choices=0)))


def _places(looks: Sequence[Look]) -> list[Place]:
    """Return where each service that can be looked into answers, the first of its addresses."""
    found: dict[str, Place] = {}
    for look in looks:
        if look.ours and look.service != "gateway" and look.service not in found:
            found[look.service] = Place(
                look.service, (look.address,), "the settings say", "--config"
            )
    return list(found.values())


def _tell(finding: Finding, findings: list[Finding], *, as_json: bool) -> None:
    findings.append(finding)
    if as_json:
        return
    line = f"{_MARKS[finding.state]} [bold]{finding.check}[/] {escape(finding.said)}"
    if finding.remedy and finding.state is not State.OK:
        line += f" [dim]→ {escape(finding.remedy)}[/]"
    out().print(line, soft_wrap=True)


def _sum(counts: Counter[State]) -> str:
    failed, warnings = counts[State.FAILED], counted(counts[State.WARNING], "warning")
    if failed:
        return f"[bold red]{failed} failed[/], {warnings}"
    return f"[bold green]nothing failed[/], {warnings}"
