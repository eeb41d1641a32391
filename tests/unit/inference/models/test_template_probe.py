"""Templates that take too much for a plain chat are told; those of known families pass."""

from __future__ import annotations

import pytest

from llmrouter.inference.models.template import (
    ChatTemplate,
    MessagesRefusedError,
    TemplateTooCostlyError,
)

MESSAGES = [{"role": "user", "content": "What is red?"}]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}

SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are SmolLM.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN2_5 = (
    "{%- if tools %}{{- '<|im_start|>system\\n' }}{%- for tool in tools %}{{- tool | tojson }}"
    "{%- endfor %}{%- else %}{%- if messages[0]['role'] == 'system' %}"
    "{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}{%- else %}"
    "{{- '<|im_start|>system\\nYou are Qwen.<|im_end|>\\n' }}{%- endif %}{%- endif %}"
    "{%- for message in messages %}{%- if (message.role == 'user') or "
    "(message.role == 'system' and not loop.first) or "
    "(message.role == 'assistant' and not message.tool_calls) %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' "
    "+ message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}"
    "{% endfor %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}"
    "{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}"
    "{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\n' "
    "+ message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
FAMILIES = {
    "smollm2": SMOLLM2, "qwen2.5": QWEN2_5, "llama3": LLAMA3, "mistral": MISTRAL, "gemma": GEMMA,
}  # fmt: skip

LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
COSTLY = {
    "lines": (LOOP, "more than 100000 steps"),
    "output": ("{% for a in range(9999) %}" + "{{ 'x' }}" * 40 + "{% endfor %}", "more than 262"),
    "time": (
        "{% for a in range(9999) %}{% if range(99999) | sort | first %}{% endif %}{% endfor %}",
        "too long",
    ),
    "with a system's message": ("{% if messages[0].role == 'system' %}" + LOOP + "{% endif %}", ""),
    "with an answer": ("{% if messages | length > 2 %}" + LOOP + "{% endif %}", ""),
    "where it refuses another chat": (
        "{% if messages | length < 3 %}{{ raise_exception('no') }}{% endif %}" + LOOP,
        "",
    ),
}


@pytest.mark.parametrize("source", FAMILIES.values(), ids=FAMILIES.keys())
def test_templates_of_known_families_pass(source: str) -> None:
    template = ChatTemplate(source)
    template.probe(**TOKENS)
    assert "What is red?" in template.render(MESSAGES, **TOKENS)


@pytest.mark.parametrize(("source", "told"), COSTLY.values(), ids=COSTLY.keys())
def test_a_template_that_takes_too_much_for_a_plain_chat_is_told(source: str, told: str) -> None:
    with pytest.raises(TemplateTooCostlyError, match=rf"{told}.* for a plain chat"):
        ChatTemplate(source).probe(**TOKENS)


@pytest.mark.parametrize("source", ["{{ raise_exception('no') }}", "{{ nothing.more }}"])
def test_what_a_template_refuses_or_fails_at_is_for_those_who_ask(source: str) -> None:
    ChatTemplate(source).probe(**TOKENS)


def test_a_template_that_takes_no_system_message_says_so_when_it_is_asked() -> None:
    messages = [{"role": "system", "content": "Be brief."}, *MESSAGES]
    with pytest.raises(MessagesRefusedError, match="System role not supported"):
        ChatTemplate(GEMMA).render(messages, **TOKENS)
