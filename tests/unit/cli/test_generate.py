"""`generate`, `chat` and `embed` against a scripted gateway."""

from __future__ import annotations

import pytest
from tests.unit.cli.driving import AWAY, lines, run
from tests.unit.client.fake_gateway import TEXT, whole_answer

from llmrouter.common.errors import FieldViolation, Reason, RouterError
from llmrouter.v1 import generation_pb2 as g


def test_generate_streams_the_answer_and_then_its_route(address):
    result = run("generate", "hi", "--address", address)
    assert result.exit_code == 0
    assert result.stdout == "".join(TEXT) + "\n"
    route = {line.split("  ")[0]: line for line in result.stderr.splitlines()}
    assert "smollm2-135m-instruct-int8 @ 0123456789ab" in route["model"]
    assert "best balanced score: 0.812" in route["why"]
    assert "miss" in route["cache"]
    assert "80 tokens/s, 9 tokens in" in route["speed"]
    assert "ms" in route["first token"]
    assert "big QUEUE_FULL (h:1), then smollm2-135m-instruct-int8 answered" in route["attempts"]


def test_of_several_gateways_those_that_are_away_are_passed_by(address, gateway):
    several = f"{AWAY},{address}"
    assert run("generate", "hi", "--address", several).stdout == "".join(TEXT) + "\n"
    assert run("embed", "hi", "--address", several).exit_code == 0
    assert run("chat", "--address", several, stdin="hi\n").exit_code == 0
    alone = run("generate", "hi", "--address", f"{AWAY},{AWAY}")
    assert f"no gateway answers at {AWAY}, {AWAY}, which --address says" in alone.stderr


def test_generate_sends_what_it_was_told(address, gateway):
    options = "--model m --strategy s --temperature 0 --max-tokens 5 --seed 1 --top-k 2 --top-p 0.5"
    result = run(
        "generate", "-", *options.split(), "--stop", "a", "--stop", "b", "--no-cache", "--raw",
        "--no-route", "--timeout", "30", "--address", address, stdin="piped in",
    )  # fmt: skip
    assert (result.exit_code, result.stderr) == (0, "")
    (request,) = gateway.requests
    assert request.prompt == "piped in"
    assert request.sampling == g.SamplingOptions(
        temperature=0, max_tokens=5, seed=1, top_k=2, top_p=0.5, stop=["a", "b"]
    )
    assert request.routing == g.RoutingWishes(model="m", strategy="s")
    assert request.cache.mode == g.CACHE_MODE_OFF
    assert gateway.deadlines[0] <= 30.2  # gRPC rounds it up


@pytest.mark.parametrize(
    ("piped", "asked"),
    [("hi\n", "hi"), ("hi\r\n", "hi"), ("two\nlines\n\n", "two\nlines\n"), (" hi ", " hi ")],
)
def test_the_newline_that_ends_a_piped_question_is_no_part_of_it(address, gateway, piped, asked):
    assert run("generate", "-", "--raw", "--address", address, stdin=piped).exit_code == 0
    assert gateway.requests[0].prompt == asked


def test_a_service_behind_the_gateway_that_is_away_is_not_taken_for_the_gateway(address, gateway):
    away = RouterError(
        Reason.UPSTREAM_UNAVAILABLE, "selector does not answer", metadata={"detail": "refused"}
    )
    gateway.scripts = [[away]]
    result = run("generate", "hi", "--address", address)
    assert (result.exit_code, result.stderr) == (1, "error: selector does not answer\n")


def test_generate_sends_who_may_answer(address, gateway):
    flags = "--min-quality 0.5 --max-cost 0.01 --max-latency 2 --tag a=b --tag c --session s"
    assert run("generate", "hi", *flags.split(), "--address", address).exit_code == 0
    routing = gateway.requests[0].routing
    assert (routing.min_quality, routing.max_cost, routing.session) == (0.5, 0.01, "s")
    assert (list(routing.tags), routing.max_latency.seconds) == (["a=b", "c"], 2)


def test_generate_sends_what_the_cache_may_do(address, gateway):
    flags = [
        "--cache",
        "refresh",
        "--cache-ttl",
        "90",
        "--cache-tag",
        "b",
        "--cache-tag",
        "a",
        *("--cache-allow", "drawn", "--cache-allow", "stale"),
    ]
    assert run("generate", "hi", *flags, "--address", address).exit_code == 0
    sent = gateway.requests[0].cache
    assert (sent.mode, sent.ttl.seconds, list(sent.tags), sent.drawn, sent.stale) == (
        g.CACHE_MODE_REFRESH,
        90,
        ["b", "a"],
        True,
        True,
    )
    refused = run("generate", "hi", "--no-cache", "--cache", "read", "--address", address)
    assert refused.exit_code == 2
    assert "contradicts --cache read" in refused.stderr


def test_a_cached_answer_says_where_it_was_found(address, gateway):
    begun = g.Started(model="m", cache=g.CACHE_STATUS_HIT, cached=g.CACHE_LEVEL_DISK)
    gateway.scripts = [[g.GenerationEvent(started=begun), *whole_answer()[1:]]]
    shown = run("generate", "hi", "--address", address)
    assert "hit (answered from cache), from the cache's disk" in shown.stderr


@pytest.mark.parametrize(
    "status", [g.CACHE_STATUS_HIT, g.CACHE_STATUS_SIMILAR, g.CACHE_STATUS_STALE]
)
def test_an_answer_that_was_kept_has_no_speed(address, gateway, status):
    begun = g.Started(model="m", cache=status)
    gateway.scripts = [[g.GenerationEvent(started=begun), *whole_answer()[1:]]]
    shown = run("generate", "hi", "--address", address)
    assert (shown.exit_code, "cache" in shown.stderr) == (0, True)
    assert "speed" not in shown.stderr


def test_generate_sends_what_shapes_the_draw(address, gateway):
    options = (
        "--min-p 0.05 --repetition-penalty 1.1 --presence-penalty 0.5 --frequency-penalty -0.5 "
        "--logit-bias 42=-100 --logit-bias 7=1.5 --min-tokens 2 -n 3 --logprobs --top-logprobs 4"
    )
    assert run("generate", "hi", *options.split(), "--address", address).exit_code == 0
    assert gateway.requests[0].sampling == g.SamplingOptions(
        min_p=0.05, repetition_penalty=1.1, presence_penalty=0.5, frequency_penalty=-0.5,
        logit_bias={42: -100, 7: 1.5}, min_tokens=2, n=3, logprobs=True, top_logprobs=4,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("flag", "value", "sent"),
    [
        ("--json-schema", ' {"type": "object"}', {"json_schema": ' {"type": "object"}'}),
        ("--json-schema", "FILE", {"json_schema": "from a file"}),
        ("--regex", "a+", {"regex": "a+"}),
        ("--grammar", "FILE", {"grammar": "from a file"}),
    ],
)
def test_generate_asks_for_a_format(address, gateway, tmp_path, flag, value, sent):
    file = tmp_path / "format"
    file.write_text("from a file")
    given = str(file) if value == "FILE" else value
    assert run("generate", "hi", flag, given, "--address", address).exit_code == 0
    assert gateway.requests[0].sampling.response_format == g.ResponseFormat(**sent)


def test_generate_asks_for_any_json_object(address, gateway):
    assert run("generate", "hi", "--json-object", "--address", address).exit_code == 0
    assert gateway.requests[0].sampling.response_format.HasField("json_object")


@pytest.mark.parametrize(
    "options",
    [
        ("--regex", "a", "--json-object"),
        ("--json-schema", "/no/such/file"),
        ("--grammar", "/no/such/file"),
    ],
)
def test_formats_that_cannot_be_are_wrong_usage(address, options):
    assert run("generate", "hi", *options, "--address", address).exit_code == 2


def test_a_bias_that_is_none_is_wrong_usage(address):
    result = run("generate", "hi", "--logit-bias", "the=1", "--address", address)
    assert result.exit_code == 2
    assert "TOKEN=BIAS" in result.stderr


def test_further_answers_follow_the_first_one(address, gateway):
    said = [
        g.GenerationEvent(delta=g.Delta(text=text, choice=choice))
        for text, choice in (("b", 1), ("a", 0), ("B\x1b", 1), ("A", 0))
    ]
    gateway.scripts = [[whole_answer()[0], *said, whole_answer()[-1]]]
    result = run("generate", "hi", "-n", "2", "--address", address)
    assert result.stdout == "aA\n\n--- answer 2 ---\nbB\n"


def test_json_tells_log_probabilities_under_the_names_of_the_openai_api(address, gateway):
    top = g.TopLogprob(token_id=7, logprob=-1.5, bytes=b"b")
    told = g.TokenLogprob(token_id=6, logprob=-0.5, bytes=b"\xff", top_logprobs=[top])
    delta = g.GenerationEvent(delta=g.Delta(text="a", logprobs=[told]))
    gateway.scripts = [[whole_answer()[0], delta, whole_answer()[-1]]]
    events = lines(run("generate", "hi", "--json", "--address", address))
    likely = {"token_id": 7, "token": "b", "bytes": [98], "logprob": -1.5}
    assert events[1]["logprobs"] == [
        {
            "token_id": 6, "token": "\ufffd", "bytes": [255], "logprob": -0.5,
            "top_logprobs": [likely],
        }
    ]  # fmt: skip


def test_generate_json_is_one_event_per_line(address):
    events = lines(run("generate", "hi", "--json", "--address", address))
    assert [event["event"] for event in events] == [
        "started", *["delta"] * len(TEXT), "choice_finished", "finished"
    ]  # fmt: skip
    assert events[-1]["attempts"][0]["error_reason"] == "QUEUE_FULL"


def test_a_model_cannot_steer_the_terminal(address, gateway):
    hostile = g.GenerationEvent(delta=g.Delta(text="a\x1b[2J\x07\x9bb\tc\n[red]d"))
    gateway.scripts = [[whole_answer()[0], hostile, whole_answer()[-1]]]
    assert run("generate", "hi", "--address", address).stdout == "a[2Jb\tc\n[red]d\n"


def test_a_refusal_tells_the_servers_sentence_unbroken(address, gateway):
    said = "the prompt has 9,000 tokens and [m] holds 8,192 :smile:; " + "long " * 40 + "end"
    gateway.scripts = [[RouterError(Reason.CONTEXT_TOO_LONG, said)]]
    result = run("generate", "hi", "--address", address)
    assert (result.exit_code, result.stderr) == (1, f"error: {said}\n")


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ("sampling.max_tokens", "--max-tokens is wrong"),
        ("sampling.response_format.json_schema", "--json-schema is wrong"),
        ("sampling.logit_bias[7]", "--logit-bias is wrong"),
        ("routing.strategy", "--strategy is wrong"),
        ("chat.messages[0].content[0].text", "the question is wrong"),
        ("chat.messages", "the question is wrong"),
        ("prompt", "the question is wrong"),
        ("cache.ttl", "--cache-ttl is wrong"),
        ("cache.similar", "--cache-allow similar is wrong"),
        ("cache.tags[3]", "--cache-tag is wrong"),
    ],
)
def test_a_wrong_field_is_told_as_the_flag_that_set_it(address, gateway, field, told):
    violations = (FieldViolation(field, "is wrong"),)
    refusal = RouterError(Reason.INVALID_ARGUMENT, f"{field} is wrong", violations=violations)
    gateway.scripts = [[refusal]]
    assert run("generate", "hi", "--address", address).stderr == f"error: {told}\n"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("texts[0] has 300 tokens; shorten it or set truncate",
         "text 1 has 300 tokens; shorten it or set --truncate"),
        ("logit_bias token 9 is outside", "--logit-bias token 9 is outside"),
        ("sampling.max_tokens must be 1 or more", "--max-tokens must be 1 or more"),
        ("'max_tokens' is no key; see inference.max_tokens",
         "'max_tokens' is no key; see inference.max_tokens"),
    ],
)  # fmt: skip
def test_fields_that_a_service_speaks_of_are_told_as_flags(address, gateway, said, told):
    gateway.scripts = [[RouterError(Reason.CONTEXT_TOO_LONG, said)]]
    assert run("generate", "hi", "--address", address).stderr == f"error: {told}\n"


def test_a_deadline_that_passed_is_told_with_the_flag_that_sets_it(address, gateway):
    gateway.scripts = [[RouterError(Reason.DEADLINE_EXCEEDED, "the deadline passed")]]
    told = run("generate", "hi", "--address", address).stderr
    assert told == "error: the deadline passed; --timeout sets how long it may take\n"


@pytest.mark.parametrize("command", ["generate", "select"])
@pytest.mark.parametrize(("given", "why"), [(" ", "is empty"), ("\udcff", "is not UTF-8 text")])
def test_a_question_without_text_is_wrong_usage(command, given, why):
    result = run(command, given, "--address", AWAY)
    assert (result.exit_code, why in result.stderr) == (2, True)


def test_embed_writes_the_vectors_as_json(address, gateway):
    result = run("embed", "red", "blue", "--model", "mini", "--address", address, "--json")
    (answer,) = lines(result)
    assert [one["values"] for one in answer["vectors"]] == [[1.0, 0.0], [1.0, 1.0]]
    assert (gateway.requests[0].model, answer["model"]) == ("mini", "mini")


def test_embed_shows_how_alike_texts_are_to_the_first_and_reads_lines(address, gateway):
    result = run("embed", "-", "--address", address, stdin="red\n\nblue\n")
    assert list(gateway.requests[0].texts) == ["red", "blue"]
    assert "0.707" in result.stdout


@pytest.mark.parametrize(
    ("flag", "wish"),
    [
        ("3", g.Ensemble(models=3, election=g.ELECTION_VOTE)),
        ("2:confidence", g.Ensemble(models=2, election=g.ELECTION_CONFIDENCE)),
        ("4:judge=wise", g.Ensemble(models=4, election=g.ELECTION_JUDGE, judge="wise")),
    ],
)
def test_an_ensemble_is_one_flag(address, gateway, flag, wish):
    run("generate", "hi", "--ensemble", flag, "--min-confidence", "0.5", "--address", address)
    routing = gateway.requests[0].routing
    assert (routing.ensemble, routing.min_confidence) == (wish, 0.5)


@pytest.mark.parametrize("flag", ["some", "", "3:luck", "-1", "3=vote", "99999999999"])
def test_what_is_no_ensemble_is_wrong_usage(flag):
    result = run("generate", "hi", "--ensemble", flag, "--address", AWAY)
    assert result.exit_code == 2
    assert "is not N[:HOW]" in " ".join(result.stderr.split())


def test_the_route_tells_what_was_set_aside_and_what_all_cost(address, gateway):
    attempts = [
        g.Attempt(model="small", cost=0.002, set_aside="confidence 0.20 is below 0.60"),
        g.Attempt(model="large", cost=0.1),
    ]
    finished = g.Finished(usage=g.Usage(completion_tokens=3), attempts=attempts, cost=0.102)
    gateway.scripts = [[*whole_answer()[:-1], g.GenerationEvent(finished=finished)]]
    told = " ".join(run("generate", "hi", "--address", address).stderr.split())
    assert "small set aside (confidence 0.20 is below 0.60) for $0.002, then large" in told
    assert "answered for $0.1" in told
    assert "cost $0.102" in told


def test_who_may_go_on_with_an_answer_is_a_flag_and_a_switch_stands_in_the_route(address, gateway):
    switch = g.Switched(
        from_model="small", from_address="h:1", model="large", address="h:2", tokens=3, reason="X"
    )
    events = whole_answer()
    gateway.scripts = [[*events[:2], g.GenerationEvent(switched=switch), *events[2:]]]
    result = run("generate", "hi", "--switching", "same-version", "--address", address)
    assert result.stdout == "".join(TEXT) + "\n"
    assert "small was lost after 3 tokens, large (h:2) went on" in result.stderr
    assert gateway.requests[0].routing.switching == g.SWITCHING_SAME_VERSION
    [told] = [
        one
        for one in lines(run("generate", "hi", "--json", "--address", address))
        if one["event"] == "switched"
    ]
    assert (told["from_model"], told["tokens"]) == ("small", 3)
