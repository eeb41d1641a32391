"""What a line of the log holds, how often it is said, and what it never says."""

import io
import json
import logging

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider

from llmrouter.common.logs import configure_logs
from llmrouter.common.telemetry.redaction import HIDDEN, redact, redacted_text
from llmrouter.common.telemetry.repetition import Repetition


@pytest.fixture
def lines(monkeypatch):
    """Production's log, and what was written to it so far."""
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    before = logging.getLogger().handlers[:]
    configure_logs(json=True)
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    logging.getLogger().handlers[:] = before


def test_a_line_within_a_span_names_it(lines):
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    with tracer.start_as_current_span("request") as span:
        structlog.get_logger().info("request", outcome="OK")
        logging.getLogger("library").warning("slow")
    structlog.get_logger().info("serving")
    ids = f"{span.get_span_context().trace_id:032x}"
    assert [line.get("trace_id") for line in lines()] == [ids, ids, None]


def test_a_fault_that_repeats_is_held_back_and_requests_are_not(lines):
    for number in range(100):
        structlog.get_logger().warning("cache lookup failed", request_id=str(number))
        logging.getLogger("library").error("failed %s", number)
        structlog.get_logger().info("request", request_id=str(number))
    said = [line["event"] for line in lines()]
    assert said.count("cache lookup failed") == 10
    assert sum(event.startswith("failed") for event in said) == 10
    assert said.count("request") == 100


def test_a_line_says_how_many_like_it_were_held_back():
    now = 0.0
    repetition = Repetition(burst=2, seconds=10, clock=lambda: now)
    assert [repetition.pass_on("a") for _ in range(5)] == [0, 0, None, None, None]
    assert repetition.pass_on("b") == 0
    now = 10.0
    assert [repetition.pass_on("a") for _ in range(3)] == [3, 0, None]


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 5)), max_size=200))
def test_no_window_lets_more_than_its_burst_through(steps):
    now, passed = 0.0, []
    repetition = Repetition(burst=3, seconds=10, clock=lambda: now)
    for key, pause in steps:
        now += pause
        if repetition.pass_on(str(key)) is not None:
            passed.append((key, now))
    for key, at in passed:
        # Two windows may touch: no stretch of ten seconds holds more than both bursts.
        assert sum(one == key and at <= when < at + 10 for one, when in passed) <= 6


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer planted-secret-value",
        "api_key=planted-secret-value&x=1",
        '{"password": "planted-secret-value"}',
        "redis://user:planted-secret-value@host:6379/0",
        "the key sk-planted-secret-value-1234 was refused",
    ],
)
def test_what_looks_like_a_secret_is_hidden_in_any_sentence(text):
    told = redacted_text(text)
    assert "planted-secret" not in told
    assert HIDDEN in told


@pytest.mark.parametrize(
    "text",
    [
        "no inference answers at 127.0.0.1:50054",
        "smollm2 broke its answer off after 12 tokens: gone",
        "completion_tokens=8 prompt_tokens=5",
        "the basic idea",
    ],
)
def test_ordinary_sentences_stay_as_they_are(text):
    assert redacted_text(text) == text


def test_fields_are_hidden_by_their_names_however_deep():
    event = {
        "headers": {"authorization": "abc"},
        "collector_token": "x",
        "tokens": 3,
        "keys": ["a"],
    }
    assert redact(None, "info", event) == {
        "headers": {"authorization": HIDDEN},
        "collector_token": HIDDEN,
        "tokens": 3,
        "keys": ["a"],
    }


def test_a_traceback_tells_no_secret(lines):
    try:
        int("password=planted-secret-value")
    except ValueError:
        structlog.get_logger().exception("failed")
    [line] = lines()
    assert "ValueError" in line["exception"]
    assert "planted" not in line["exception"]
