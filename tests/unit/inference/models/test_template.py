"""Hostile chat templates end in a sentence, not in a full memory or a busy core."""

from __future__ import annotations

import sys

import pytest

from llmrouter.inference.models.template import ChatTemplate, TemplateError

MESSAGES = [{"role": "user", "content": "hello"}]

BOMBS = {
    "a repeated string": "{{ 'a' * 10 ** 9 }}",
    "a repeated list": "{{ [0] * 1000000000 }}",
    "a power": "{{ 9 ** 9 ** 9 }}",
    "a doubling": "{% set n = namespace(x='ab') %}"
    "{% for i in range(40) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x }}",
    "a doubling by joining": "{% set n = namespace(x='ab') %}"
    "{% for i in range(40) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "a doubling by the join filter": "{% set n = namespace(x='ab') %}"
    "{% for i in range(40) %}{% set n.x = [n.x, n.x] | join %}{% endfor %}",
    "a doubling by replacing": "{% set n = namespace(x='ab') %}"
    "{% for i in range(40) %}{% set n.x = n.x.replace('a', 'aa') %}{% endfor %}",
    "a doubling by a block": "{% set n = namespace(x='ab') %}{% for i in range(40) %}"
    "{% set y %}{{ n.x }}{{ n.x }}{% endset %}{% set n.x = y %}{% endfor %}",
    "a doubling list": "{% set n = namespace(x=[1]) %}"
    "{% for i in range(40) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "numbers that square": "{% set n = namespace(x=3) %}"
    "{% for i in range(29) %}{% set n.x = n.x * n.x %}{% endfor %}",
    "numbers that double by subtraction": "{% set n = namespace(x=3) %}"
    "{% for i in range(99999) %}{% set n.x = n.x - (0 - n.x) %}{% endfor %}",
    "lists of themselves as JSON": "{% set n = namespace(x=[1]) %}"
    "{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x | tojson }}",
    "lists of themselves written out": "{% set n = namespace(x=[1]) %}"
    "{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
    "lists of themselves joined": "{% set n = namespace(x=[1]) %}"
    "{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x ~ 'a' }}",
    "lists of themselves compared": "{% set n = namespace(x=[1], y=[1]) %}{% for i in range(60) %}"
    "{% set n.x = [n.x, n.x] %}{% set n.y = [n.y, n.y] %}{% endfor %}{{ n.x == n.y }}",
    "dictionaries of themselves compared": "{% set n = namespace(x=1, y=1) %}"
    "{% for i in range(60) %}{% set n.x = {1: n.x, 2: n.x} %}{% set n.y = {1: n.y, 2: n.y} %}"
    "{% endfor %}{{ n.x in [n.y] }}",
    "dictionaries made by a call": "{% set n = namespace(x=1, y=1) %}{% for i in range(60) %}"
    "{% set n.x = dict(a=n.x, b=n.x) %}{% set n.y = dict(a=n.y, b=n.y) %}{% endfor %}"
    "{{ n.x == n.y }}",
    "arguments of themselves": "{% set n = namespace(x=1, y=1) %}"
    "{% macro x() %}{% set n.x = varargs %}{% endmacro %}"
    "{% macro y() %}{% set n.y = varargs %}{% endmacro %}"
    "{% for i in range(60) %}{{ x(n.x, n.x) }}{{ y(n.y, n.y) }}{% endfor %}{{ n.x == n.y }}",
    "namespaces of themselves written out": "{% set n = namespace(x=1) %}{% for i in range(60) %}"
    "{% set n.x = namespace(a=n.x, b=n.x) %}{% endfor %}{{ n.x }}",
    "namespaces of themselves as text": "{% set n = namespace(x=1) %}{% for i in range(60) %}"
    "{% set n.x = namespace(a=n.x, b=n.x) %}{% endfor %}{{ n.x | string }}",
    "many long texts kept": "{% set n = namespace(x='ab', kept=[]) %}{% for i in range(19) %}"
    "{% set n.x = n.x ~ n.x %}{% endfor %}{% for i in range(9999) %}"
    "{% set n.kept = n.kept + [n.x ~ i] %}{% endfor %}",
    "a long sort again and again": "{% for i in range(99999) %}"
    "{% if range(99999) | sort(reverse=true) | first %}{% endif %}{% endfor %}",
    "rounding to many places": "{{ 1 | round(1000000000, 'ceil') }}",
    "bytes of numbers": "{{ (1).to_bytes(2000000000, 'big') | length }}",
    "numbers of bytes": "{{ range.from_bytes('a') }}{{ (1).real.from_bytes([1, 2]) }}",
    "long division": "{% set n = namespace(x='9') %}{% for i in range(12) %}"
    "{% set n.x = n.x ~ n.x %}{% endfor %}{{ (n.x | int) // 7 }}",
    "a chain of filters that is never looked at": "{% set n = namespace(x='ab') %}"
    "{% for i in range(16) %}{% set n.x = n.x ~ n.x %}{% endfor %}"
    "{% for y in range(20000) | map('string') | map('replace', '', n.x) %}{% endfor %}",
    "a chain of filters whose length is asked": "{% set n = namespace(x='ab') %}"
    "{% for i in range(16) %}{% set n.x = n.x ~ n.x %}{% endfor %}"
    "{% for y in range(20000) | map('string') | map('replace', '', n.x) %}{{ loop.length }}"
    "{% endfor %}",
    "namespaces of themselves in capitals": "{% set n = namespace(x=1) %}{% for i in range(60) %}"
    "{% set n.x = namespace(a=n.x, b=n.x) %}{% endfor %}{{ n.x | upper }}",
    "namespaces of themselves as a refusal": "{% set n = namespace(x=1) %}"
    "{% for i in range(60) %}{% set n.x = namespace(a=n.x, b=n.x) %}{% endfor %}"
    "{{ raise_exception(n.x) }}",
    "text from nothing": "{{ lipsum(n=100000) }}",
    "long output": "{% for i in range(99999) %}{{ 'x' + 'y' }}aaaaaaaaaaaaaaaaaaaa{% endfor %}",
    "nested loops without output": "{% for a in range(99999) %}{% for b in range(99999) %}"
    "{% endfor %}{% endfor %}",
    "wide formatting": "{{ '%1000000000d' % 1 }}",
    "wide format": "{{ '{:1000000000}'.format(1) }}",
    "centred": "{{ 'a' | center(1000000000) }}",
    "adjusted": "{{ 'a'.ljust(1000000000) }}",
    "endless recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "reaching out": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "changing the messages": "{{ messages.append(1) }}",
    "globals": "{{ cycler.__init__.__globals__ }}",
    "including": "{% include '/etc/passwd' %}",
    "unknown names": "{{ nothing.more }}",
}


@pytest.mark.parametrize("source", BOMBS.values(), ids=BOMBS.keys())
@pytest.mark.timeout(240)
def test_hostile_templates_are_refused(source: str) -> None:
    before = sys.gettrace()
    with pytest.raises(TemplateError):
        ChatTemplate(source).render(MESSAGES)
    assert sys.gettrace() is before


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ messages[0]['role'] ~ ': ' ~ messages[0].content | trim }}", "user: hello"),
        ("{{ messages | tojson }}", '[{"role": "user", "content": "hello"}]'),
        ("{{ bos_token + 'x' }}", "<s>x"),
        ("{%- for m in messages %}\n{{ m.content.split('l')[0] }}\n{%- endfor %}", "he"),
        ("{% if add_generation_prompt %}go{% endif %}", "go"),
        ("{% for m in messages %}{% if true %}{% continue %}{% endif %}x{% endfor %}y", "y"),
        ("{{ messages | length * 2 + 7 % 4 }}", "5"),
        ("{{ 'a,b'.replace(',', ';') ~ ','.join(['c', 'd']) }}", "a;bc,d"),
    ],
)
def test_what_honest_templates_use_works(source: str, expected: str) -> None:
    assert ChatTemplate(source).render(MESSAGES, bos_token="<s>") == expected  # noqa: S106 - no secret


def test_long_messages_are_no_bomb() -> None:
    content = "x" * 3_000_000
    rendered = ChatTemplate("{{ messages[0].content }}").render(
        [{"role": "user", "content": content}]
    )
    assert rendered == content
