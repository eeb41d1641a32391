"""`batch` against a scripted gateway."""

from __future__ import annotations

import json

import pytest
from tests.unit.cli.driving import lines, run


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text(
        "\n".join(
            json.dumps(one, ensure_ascii=False)
            for one in (
                "What is\u2028it?",
                {"id": 7, "prompt": "fail", "temperature": 1.0},
                {"id": "c", "messages": [{"role": "user", "content": "Who?"}], "max_tokens": 3},
            )
        )
        + "\n\n"
    )
    return str(path)


def test_a_batch_shows_each_result_and_ends_with_one_for_those_that_failed(address, questions):
    result = run("batch", questions, "--address", address)
    assert result.exit_code == 1
    assert result.stdout == (
        "--- 3: Who? ---\nre: Who?\n--- 2: fail ---\nerror: too long\n"
        "--- 1: What is it? ---\nre: What is\u2028it?\n"
    )
    assert "2 answers, 18 tokens in" in result.stderr
    assert "1 failed" in result.stderr


def test_a_batch_for_machines_is_one_object_per_result(address, questions, gateway):
    flags = ["--temperature", "0", "--concurrency", "2", "--priority", "low", "--json"]
    result = run("batch", questions, "--address", address, *flags)
    told = [one for one in lines(result) if one["event"] != "progress"]
    assert [one["event"] for one in told] == ["answer", "error", "answer", "finished"]
    assert (told[0]["id"], told[0]["text"], told[0]["index"]) == ("c", "re: Who?", 2)
    assert told[0]["choices"] == [{"text": "re: Who?", "finish_reason": "stop", "stop": ""}]
    assert (told[1]["id"], told[1]["reason"]) == (7, "CONTEXT_TOO_LONG")
    assert "id" not in told[2]
    assert (told[3]["answered"], told[3]["failed"]) == (2, 1)
    (request,) = gateway.requests
    assert request.concurrency == 2
    assert [one.sampling.temperature for one in request.requests] == [0, 1, 0]
    assert request.requests[2].sampling.max_tokens == 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no line"),
        ("hello", "line 1 is no JSON"),
        ('"fine"\n3', "line 2 must be a string"),
        ('{"prompt": "a", "messages": []}', "line 1 must be"),
        ('{"prompt": "a", "temprature": 1}', "'temprature'"),
        ('{"prompt": "a", "timeout": 1}', "'timeout'"),
        ('{"messages": [{"role": "user"}]}', "line 1 must have messages"),
        ('"a"\n{"prompt": "b", "temperature": "hot"}', "question 2"),
    ],
)
def test_a_line_that_is_wrong_is_told_as_wrong_usage(text, told):
    result = run("batch", "-", stdin=text)
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.replace("│", " ").split())


def test_a_file_that_cannot_be_read_is_told():
    result = run("batch", "/nowhere/questions.jsonl")
    assert result.exit_code == 1
    assert result.stderr == "error: /nowhere/questions.jsonl: No such file or directory\n"
