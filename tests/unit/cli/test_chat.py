"""`chat`: one conversation, commands within it, and what ends an answer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from tests.unit.cli.driving import AWAY, COMMAND, lines, run
from tests.unit.client.fake_gateway import FakeGateway, serving

from llmrouter.cli.slash import Changed, Quit, Told, Wrong, obey
from llmrouter.cli.talking import Talk
from llmrouter.v1 import generation_pb2 as g
from llmrouter_client import AsyncClient, Conversation, LlmrouterError, Options


def said(gateway):
    """What the turns said, each with its messages."""
    turns = [one.turn for one in gateway.requests if one.HasField("turn")]
    return [[one.content[0].text for one in turn.messages] for turn in turns]


def options(gateway):
    return [one.options for one in gateway.requests if one.HasField("options")]


def test_all_turns_go_over_one_stream_whose_gateway_remembers(address, gateway):
    talk = "one\n\ntwo\n/quit\nthree\n"
    result = run("chat", "--system", "be brief", "--address", address, stdin=talk)
    assert result.exit_code == 0
    assert result.stdout == "re: one at 0.0\nre: two at 0.0\n"
    assert said(gateway) == [["be brief", "one"], ["two"]]
    assert len(gateway.credentials) == 1


def test_options_change_between_turns(address, gateway):
    talk = "one\n/temperature 0.5\n/truncation auto\ntwo\n/temperature\nthree\n"
    result = run("chat", "--temperature", "1", "--address", address, stdin=talk)
    assert result.stdout == "re: one at 1.0\nre: two at 0.5\nre: three at 0.0\n"
    assert options(gateway)[-1].routing.truncation == g.TRUNCATION_AUTO


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("/temperature 9", "/temperature is 9"),
        ("/temperature hot", "/temperature takes a number, not 'hot'"),
        ("/flavour 3", "there is no /flavour; /help lists what there is"),
    ],
)
def test_a_wrong_command_ends_a_script_and_its_line_is_named(address, wrong, why):
    result = run("chat", "--address", address, "--json", stdin=f"\none\n{wrong}\ntwo\n")
    told = lines(result)
    assert result.exit_code == 2
    assert [one["text"] for one in told if one["event"] == "delta"] == ["re: one at 0.0"]
    assert told[-1]["reason"] == "INVALID_ARGUMENT"
    assert f"standard input: line 3: {why}" in told[-1]["message"]


def test_a_flag_out_of_bounds_is_told_before_anything_is_read(address):
    result = run("chat", "--address", address, "--temperature", "9", stdin="one\n")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--temperature is 9" in result.stderr


def test_a_failure_ends_a_script_and_names_the_reason(address):
    result = run("chat", "--address", address, "--json", stdin="fail\none\n")
    assert result.exit_code == 1
    assert lines(result)[-1]["reason"] == "CONTEXT_TOO_LONG"
    assert run("chat", "--address", AWAY, stdin="hi\n").exit_code == 1


def test_a_connection_that_is_lost_while_options_change_is_no_wrong_line(address, monkeypatch):
    async def lost(*_, **__):
        raise LlmrouterError("UPSTREAM_UNAVAILABLE", "nothing answers", transport=True)

    monkeypatch.setattr(Conversation, "change", lost)
    result = run("chat", "--address", address, "--json", stdin="one\n/temperature 0.5\ntwo\n")
    assert result.exit_code == 1
    assert lines(result)[-1]["reason"] == "UPSTREAM_UNAVAILABLE"
    assert address in lines(result)[-1]["message"]


def test_an_answer_that_takes_too_long_is_given_up(address, gateway):
    result = run("chat", "--address", address, "--timeout", "0.2", stdin="hang\none\n")
    assert result.exit_code == 1
    assert (
        "the deadline passed; --timeout sets how long it may take, 0.2 s this time" in result.stderr
    )
    assert [one.cancel.turn for one in gateway.requests if one.HasField("cancel")] == [1]


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_gives_the_running_answer_up_and_the_talk_goes_on(address, gateway):
    with subprocess.Popen(
        [*COMMAND, "chat", "--address", address],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:  # fmt: skip
        process.stdin.write("hang\n")
        process.stdin.flush()
        assert process.stdout.read(12) == "re: hang at "
        process.send_signal(signal.SIGINT)
        process.stdin.write("two\n")
        process.stdin.flush()
        told, complaints = process.communicate(timeout=30)
    assert told.splitlines()[-1] == "re: two at 0.0"
    assert "stopped" in complaints
    assert process.returncode == 0
    assert [one.cancel.turn for one in gateway.requests if one.HasField("cancel")] == [1]
    assert said(gateway) == [["hang"], ["two"]]


HELD = Options(temperature=0.5, max_tokens=9)


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("hello", None),
        ("//etc is a folder", None),
        ("/quit", Quit()),
        (" /exit ", Quit()),
        ("/options", Told("/temperature 0.5\n/max-tokens 9")),
        ("/seed 3", Changed(Options(temperature=0.5, max_tokens=9, seed=3))),
        ("/max-tokens", Changed(Options(temperature=0.5))),
        ("/max-tokens many", Wrong("/max-tokens takes a whole number, not 'many'")),
    ],
)
def test_a_line_means_one_thing(line, meant):
    assert obey(line, HELD) == meant
    assert Options(temperature=0.5, max_tokens=9) == HELD


def test_help_names_every_command():
    told = obey("/help", HELD).text
    assert all(f"/{name}" in told for name in ("model", "top-k", "truncation", "quit", "options"))


async def test_a_stream_that_has_ended_is_followed_by_one_that_is_told_all_of_it():
    gateway = FakeGateway()
    async with serving(gateway) as address, AsyncClient(address) as client:
        talk = Talk(client, Options(), "be brief")
        assert [event async for event in talk.answer("one")]
        with pytest.raises(LlmrouterError, match="too long"):
            [event async for event in talk.answer("fail")]
        assert [event async for event in talk.answer("two")]
        await talk.close()
    assert said(gateway) == [
        ["be brief", "one"],
        ["fail"],
        ["be brief", "one", "re: one at 0.0", "two"],
    ]
