"""What the documents point at and show is there: files, headings, commands, options, settings."""

import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml

from llmrouter.cli.__main__ import app
from llmrouter.common.settings import parse
from llmrouter.suite import SuiteSettings

ROOT = Path(__file__).resolve().parents[2]
GUIDES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
DOCUMENTS = (*GUIDES, *sorted(ROOT.glob("[AC]*.md")), *sorted(ROOT.glob("helm/*/*.md")))
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"(?m)^#+ (.+)$")
BLOCK = re.compile(r"(?ms)^```(\w+)\n(.*?)^```$")


def anchors(document):
    """Return what a `#` may lead to in a document, as the usual forges name headings."""
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(document))
    return {word.replace(" ", "-") for word in words}


def blocks(document, language):
    return [text for kind, text in BLOCK.findall(document.read_text()) if kind == language]


def commands(document):
    """Yield the words of every `llmrouter` command that a document shows."""
    for block in blocks(document, "console"):
        for shown in re.split(r"(?m)^\$ ", block)[1:]:
            words = shlex.shlex(shown, posix=True, punctuation_chars="|;")
            words.whitespace_split, words.commenters = True, "#"
            said = list(words)
            if "llmrouter" not in said:
                continue
            said = said[said.index("llmrouter") :]
            ends = [said.index(end) for end in (">", "<", "|", "&&") if end in said]
            yield said[1 : min(ends, default=len(said))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_between_documents_leads_somewhere(document):
    for link in LINK.findall(document.read_text()):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text()), link


@pytest.mark.parametrize("document", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_shown_exists_with_its_options(document):
    shown = [words for words in commands(document) if "…" not in words]
    for words in shown:
        command = typer.main.get_command(app)
        options = set()
        for word in words:
            if hasattr(command, "commands") and word in command.commands:
                command = command.commands[word]
            elif word.startswith("-") and not re.fullmatch(r"-\d*", word):
                options.add(word)
        assert not hasattr(command, "commands") or command.invoke_without_command, words
        known = {"--help", *(one for given in command.params for one in given.opts)}
        known |= {one for given in command.params for one in given.secondary_opts}
        top = {one for given in typer.main.get_command(app).params for one in given.opts}
        assert options <= known | top, (words, options - known)


@pytest.mark.parametrize("document", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_setting_shown_is_one(document):
    for block in blocks(document, "yaml"):
        parse(SuiteSettings, yaml.safe_load(block), "", {})
