"""A chat template is believed to keep messages only where its form proves it."""

from __future__ import annotations

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from llmrouter.inference.models.template import ChatTemplate, TemplateError

LOOP = "{%% for m in messages %%}%s{%% endfor %%}"


@pytest.mark.parametrize(
    "body",
    [
        "{{ m.content }}",
        "{{ '<' + m['role'] + '>' + m['content'] + '\n' }}",
        "{{ m.role ~ m.content ~ loop.index }}",
        "{% if loop.first and m.role != 'system' %}hello{% endif %}{{ m.content }}",
        "{% if x %}{{ m.content }}{% elif y %}{{ m.content }}{% else %}{{ m.content }}{% endif %}",
        "{{ m.content if m.role == 'user' else '<' + m.content }}",
        "{% set said = m.content | trim %}{{ said }}{{ m.content }}",
        "{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}{{ m.content }}",
    ],
)
def test_the_plain_form_is_proven(body: str) -> None:
    assert ChatTemplate("{{ bos_token }}" + LOOP % body + "{{ 'go' }}").keeps_messages


@pytest.mark.parametrize(
    "source",
    [
        "",
        "{{ messages[0].content }}",
        LOOP % "{{ m.content | trim }}",
        LOOP % "{{ m.content.strip() }}",
        LOOP % "{{ m.content.split('</think>')[-1] }}",
        LOOP % "{{ m.content[:9] }}",
        LOOP % "{{ m.role }}",
        LOOP % "{{ m.content if m.role == 'user' }}",
        LOOP % "{% if m.role != 'system' %}{{ m.content }}{% endif %}",
        LOOP % "{% if m.role != 'user' %}x{% else %}{{ m.content }}{% endif %}",
        LOOP % "{% if loop.first %}{% continue %}{% endif %}{{ m.content }}",
        LOOP % "{{ m.content }}{% break %}",
        LOOP % "{% set m = {'content': ''} %}{{ m.content }}",
        LOOP % "{% macro m() %}{% endmacro %}{{ m.content }}",
        LOOP % "{% for m in [] %}{% endfor %}{{ m.content }}",
        LOOP % "{% for x in [] %}{{ m.content }}{% endfor %}",
        LOOP % "{% filter trim %}{{ m.content }}{% endfilter %}",
        LOOP % "{% set said %}{{ m.content }}{% endset %}",
        "{% set messages = messages[1:] %}" + LOOP % "{{ m.content }}",
        "{% if messages[1:] %}" + LOOP % "{{ m.content }}" + "{% endif %}",
        "{% macro all() %}" + LOOP % "{{ m.content }}" + "{% endmacro %}",
        "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}",
        "{% for m in messages[-2:] %}{{ m.content }}{% endfor %}",
        "{% for m in messages | reverse %}{{ m.content }}{% endfor %}",
    ],
)
def test_what_might_leave_text_out_is_not(source: str) -> None:
    assert not ChatTemplate(source).keeps_messages


STATEMENTS = st.recursive(
    st.sampled_from([
        "{{ m.content }}", "{{ m.role + m['content'] }}", "{{ m.content | trim }}", "text",
        "{{ m.content[1:] }}", "{% set m = messages[0] %}", "{% continue %}", "{% break %}",
        "{{ raise_exception('no') }}", "{% set x = m.content %}{{ x }}",
    ]),
    lambda inner: st.tuples(st.sampled_from(["loop.first", "m.role == 'user'"]), inner, inner).map(
        lambda parts: "{{% if {} %}}{}{{% else %}}{}{{% endif %}}".format(*parts)
    ) | st.lists(inner, min_size=1, max_size=3).map("".join),
    max_leaves=6,
)  # fmt: skip
TURNS = st.lists(st.tuples(st.sampled_from(["system", "user"]), st.text(max_size=8)), min_size=1)


@settings(max_examples=300, deadline=None)
@given(STATEMENTS, TURNS)
def test_a_proven_template_writes_all_of_every_message_or_fails(
    body: str, turns: list[tuple[str, str]]
) -> None:
    template = ChatTemplate(LOOP % body)
    if not template.keeps_messages:
        return
    event("proven")
    try:
        said = template.render([{"role": role, "content": text} for role, text in turns])
    except TemplateError:
        return
    for _, text in turns:
        assert text in said
        said = said[said.index(text) + len(text) :]
