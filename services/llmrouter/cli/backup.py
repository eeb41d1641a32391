"""`backup` and `restore`: one archive of what the services on this machine keep."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmrouter.cli.output import (
    Json,
    out,
    report_progress,
    show_table,
    table,
    write_json,
)
from llmrouter.cli.running import Config
from llmrouter.common.settings import data_directory
from llmrouter.common.sizes import size_text

if TYPE_CHECKING:
    from llmrouter.backup.archive import Manifest
    from llmrouter.backup.parts import Part

__all__ = ["backup", "restore"]

_Parts = Annotated[
    list[str] | None,
    typer.Option("--part", help="Only this part, again for more: keys, keys-secret, limits, "
                 "ledger, audit, selector, decisions, aliases, answers, questions."),
]  # fmt: skip


def backup(
    file: Annotated[Path, typer.Argument(help="The archive to write, a tar.")],
    part: _Parts = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Copy keys, limits, ledger, audit log, the selector's state and choices, aliases, answers.

    The services may run: each part is as it was at one moment. Models are not copied.
    """
    from llmrouter.backup.archive import BackupError, write_archive
    from llmrouter.backup.snapshots import snapshot

    if file.exists() and not force:
        raise BackupError(f"{file} is there already; --force replaces it")
    if not file.absolute().parent.is_dir():
        raise BackupError(f"{file.absolute().parent} is no folder; make it, or name another file")
    wanted = _wanted(config, part)
    found = [one for one in wanted if one.there]
    if not found:
        raise BackupError("there is nothing to copy: no store that the settings name is there")
    with (
        report_progress(as_json=as_json) as told,
        tempfile.TemporaryDirectory(prefix=".backup-", dir=file.absolute().parent) as folder,
    ):
        snapshots = []
        for index, one in enumerate(found):
            snapshots.append((one.name, snapshot(one, Path(folder))))
            told("copy", index + 1, len(found))
        manifest = write_archive(file, snapshots, told)
    _tell("backup", file, manifest, found, as_json=as_json)


def restore(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The archive.")],
    part: _Parts = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether the archive is whole.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Put what an archive holds back to where the settings say; the services must not run."""
    from llmrouter.backup.archive import read_archive
    from llmrouter.backup.restoring import restore as put_back

    wanted = _wanted(config, part)
    with report_progress(as_json=as_json) as told:
        if check:
            manifest = read_archive(file, told)
            restored: list[Part] = []
        else:
            manifest, restored = put_back(file, wanted, told, replace=force, all_of_them=bool(part))
    _tell("verified" if check else "restored", file, manifest, restored, as_json=as_json)


def _wanted(config: Path | None, names: list[str] | None) -> list[Part]:
    from llmrouter.backup.parts import PART_NAMES, parts_of
    from llmrouter.suite import load_settings

    for name in names or ():
        if name not in PART_NAMES:
            told = f"{name!r} is no part; there are {', '.join(PART_NAMES)}"
            raise typer.BadParameter(told, param_hint="--part")
    parts = parts_of(load_settings(config), data_directory())
    return [one for one in parts if not names or one.name in names]


def _tell(event: str, file: Path, manifest: Manifest, parts: list[Part], *, as_json: bool) -> None:
    places = {one.name: one.path for one in parts}
    shown = [one for one in manifest.parts if not places or one.name in places]
    if as_json:
        told = [
            {"name": one.name, "bytes": one.bytes, "sha256": one.sha256}
            | ({"path": str(places[one.name])} if one.name in places else {})
            for one in shown
        ]
        said = {"created": manifest.created, "llmrouter": manifest.llmrouter, "parts": told}
        write_json({"event": event, "file": str(file), **said})
        return
    made = table("part", ">size", "place")
    for one in shown:
        made.add_row(one.name, size_text(one.bytes), str(places.get(one.name, "")))
    show_table(made)
    out().print(f"{event}: {file}, of {manifest.created}", markup=False, soft_wrap=True)
