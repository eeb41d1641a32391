"""The same mistake ends every command alike: 2 for wrong usage, 1 for a failure, one sentence."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path

import pytest
from tests.unit.cli.driving import AWAY, COMMAND, lines, run
from tests.unit.client.fake_gateway import FakeGateway, serving_in_thread

from llmrouter.common.errors import FieldViolation, Reason, RouterError

ASKING = (("generate", "hi"), ("chat",), ("embed", "hi"), ("select", "hi"))
SERVING = (("up",), ("gateway",), ("selector",), ("cache",), ("inference",), ("demo",))
READING = (("models", "list"), ("models", "check"), ("models", "verify", "a"))
FILLING = (
    ("models", "pull", "smollm2-135m-instruct"),
    ("models", "import", __file__, "--name", "a"),
)

WRONG_USAGE = {
    "no such command": [("nonsense",), ("models", "nonsense")],
    "no such flag": [(*one, "--nonsense") for one in (*ASKING, *SERVING, *READING, *FILLING)],
    "an argument is missing": [("generate",), ("embed",), ("select",), ("models", "pull")],
    "a flag is missing": [("models", "import", __file__)],
    "no number": [(*one, "--max-tokens", "many") for one in ASKING if one[0] != "embed"],
    "out of bounds, seen here": [
        *((*one, "--timeout", "0") for one in ASKING if one[0] != "select"),
        ("select", "hi", "--max-tokens", "0"),
        ("generate", "hi", "--max-tokens", "-1"),
        ("generate", "hi", "--seed", "-1"),
        ("generate", "hi", "--temperature", "-1"),
        ("generate", "hi", "--top-p", "nan"),
        ("generate", "hi", "--logit-bias", "1=200"),
        ("chat", "--temperature", "3"),
        ("chat", "--max-tokens", "-1"),
    ],
    "no address": [
        *((*one, "--address", "nonsense") for one in ASKING),
        ("stats", "--selector", "nonsense"),
        ("stats", "--cache", "here:0"),
    ],
    "an empty question": [("generate", " "), ("select", " ")],
    "a file that is not there": [
        *((*one, "--config", "/no/such/file") for one in SERVING),
        ("models", "import", "/no/such/file", "--name", "a"),
        ("generate", "hi", "--grammar", "/no/such/file"),
        ("generate", "hi", "--json-schema", "/no/such/file"),
    ],
    "a folder that is not there": [(*one, "--store", "/no/such/folder") for one in READING],
    "a precision that is none": [(*FILLING[0], "--precision", "int5")],
    "a name that can be none": [("models", "import", __file__, "--name", "../a")],
}
FAILURES = {
    "nobody answers": [
        *((*one, "--address", AWAY) for one in ASKING), ("stats", "--selector", AWAY)
    ],
    "a model that is not known": [
        *(("models", command, "none") for command in ("pull", "check", "verify", "bench"))
    ],
    "an importer that is not known": [
        ("models", "import", __file__, "--name", "a", "--importer", "none")
    ],
    "a file of no known format": [("models", "import", __file__, "--name", "a")],
}  # fmt: skip


def cases(table):
    return [
        pytest.param(arguments, id=f"{mistake}: {' '.join(arguments[:2])}")
        for mistake, several in table.items()
        for arguments in several
    ]


@pytest.fixture(autouse=True)
def _no_store(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))


@pytest.mark.parametrize("arguments", cases(WRONG_USAGE))
def test_wrong_usage_exits_2(arguments):
    result = run(*arguments, stdin="hi\n")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr


@pytest.mark.parametrize("arguments", cases(WRONG_USAGE))
def test_machines_are_told_of_wrong_usage_as_of_every_failure(arguments):
    result = run(*arguments, "--json", stdin="hi\n")
    assert (result.exit_code, result.stderr) == (2, "")
    told = lines(result)[-1]
    assert (told.pop("event"), told.pop("reason")) == ("error", "INVALID_ARGUMENT")
    assert told.pop("message")
    assert told == {}


def test_a_question_that_reads_like_the_flag_is_no_wish_for_json():
    result = run("generate", "--address", "nonsense", "--", "--json")
    assert (result.exit_code, result.stdout) == (2, "")


@pytest.mark.parametrize("arguments", cases(FAILURES))
def test_a_failure_exits_1(arguments):
    result = run(*arguments, stdin="hi\n")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Reason.INVALID_ARGUMENT, 2),
        (Reason.UNKNOWN_MODEL, 1),
        (Reason.UNKNOWN_STRATEGY, 1),
        (Reason.CONTEXT_TOO_LONG, 1),
        (Reason.UNSUPPORTED_OPTION, 1),
        (Reason.DEADLINE_EXCEEDED, 1),
        (Reason.INTERNAL, 1),
    ],
)
@pytest.mark.parametrize("command", [("generate", "hi"), ("chat",)])
def test_what_a_service_refuses_ends_the_command_as_if_it_had_seen_it_itself(command, reason, code):
    violations = (FieldViolation("sampling.top_k", "is -1; it must be 0 to 1000000"),)
    refusal = RouterError(
        reason, "x", violations=violations if reason is Reason.INVALID_ARGUMENT else ()
    )
    with serving_in_thread(FakeGateway([refusal])) as address:
        result = run(*command, "--address", address, stdin="hi\n")
    assert result.exit_code == code
    if code == 2:
        assert result.stderr == "error: --top-k is -1; it must be 0 to 1000000\n"


@pytest.mark.parametrize(
    ("pause", "said"),
    [
        (0.2, "1 s"), (52.3, "53 s"), (119.5, "120 s"), (120, "2 minutes"), (7_000, "117 minutes"),
        (7_200, "2 hours"), (1_200_000, "14 days"),
    ],
)  # fmt: skip
def test_who_is_refused_for_a_while_is_told_when_to_come_back(pause, said):
    refusal = RouterError(Reason.RATE_LIMITED, "tenant acme may use 4", retry_after=pause)
    with serving_in_thread(FakeGateway([refusal], [refusal])) as address:
        shown = run("generate", "hi", "--address", address)
        (told,) = lines(run("generate", "hi", "--address", address, "--json"))
    assert shown.stderr == f"error: tenant acme may use 4; ask again in {said}\n"
    assert told["retry_after"] == pause


def test_when_to_come_back_is_said_once():
    refusal = RouterError(Reason.MODEL_UNAVAILABLE, "wait; ask again in a moment", retry_after=2.0)
    with serving_in_thread(FakeGateway([refusal])) as address:
        assert run("generate", "hi", "--address", address).stderr == f"error: {refusal.message}\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "arguments",
    [("settings",), ("settings", "--json"), ("models", "list", "--json"), ("--version",)],
)
def test_output_that_cannot_be_written_is_told_as_such(arguments):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "error: standard output could not be written: No space left on device\n"


def test_a_full_disk_is_not_told_as_standard_output(monkeypatch):
    def fill(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("llmrouter.cli.doctor._machine", fill)
    assert run("doctor").stderr == "error: No space left on device\n"


@pytest.mark.parametrize(
    ("command", "flag"),
    [(FILLING[0], "--precision"), (("models", "import", __file__, "--name", "a"), "--sha256")],
)
def test_what_an_import_refuses_is_told_as_its_flag(command, flag):
    assert run(*command, flag, "none").stderr.startswith(f"error: {flag} 'none' ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--cache", "sometimes"), "Invalid value for '--cache': 'sometimes' is not one of"),
        (("--json-schema", "/no/schema"), "/no/schema cannot be read: No such file or directory"),
    ],
)
def test_wrong_usage_is_told_once_and_in_plain_words(monkeypatch, arguments, said):
    monkeypatch.setenv("COLUMNS", "200")
    done = run("generate", "hi", *arguments)
    told = " ".join(f"{done.stdout} {done.stderr}".split())
    assert said in told
    assert "Value error" not in told
    assert "Errno" not in told
