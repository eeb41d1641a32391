"""What LiteLLM's OpenAI adapter makes of our answers: `litellm_calls.py BASE_URL`, as JSON."""

import json
import os
import sys

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
import openai

BASE = {"api_base": sys.argv[1], "api_key": "none", "max_retries": 0, "timeout": 30}
CHAT = {"model": "openai/tiny", "messages": [{"role": "user", "content": "abcd"}],
        "temperature": 0, "max_tokens": 8}  # fmt: skip
SCHEMA = {"name": "day", "strict": True, "schema": {"enum": ["Monday", "Sunday"]}}


def chat(**given):
    return litellm.completion(**{**CHAT, **BASE, **given})


def refused(call):
    try:
        call()
    except openai.APIStatusError as error:
        return [[one.__name__ for one in type(error).__mro__], error.status_code]
    return None


told = {}
whole = chat()
text = whole.choices[0].message.content
told["whole"] = {"text": text, "tokens": whole.usage.completion_tokens}
chunks = list(chat(stream=True, stream_options={"include_usage": True}))
told["streamed"] = {
    "text": "".join(one.choices[0].delta.content or "" for one in chunks if one.choices),
    "tokens": next(one.usage.completion_tokens for one in reversed(chunks) if "usage" in one),
}
answer = chat(max_tokens=40, response_format={"type": "json_schema", "json_schema": SCHEMA})
told["parsed"] = answer.choices[0].message.content
told["several"] = [
    [choice.message.content for choice in chat(temperature=1, seed=5, n=2).choices]
    for _ in range(2)
]
sure = chat(logprobs=True, top_logprobs=2).choices[0].logprobs.content
told["logprobs"] = [[one.token, one.logprob, len(one.top_logprobs)] for one in sure]
stopped = chat(stop=[text[2]]).choices[0]
told["stopped"] = [stopped.message.content, stopped.finish_reason]
older = litellm.text_completion(
    model="text-completion-openai/tiny", prompt=["abcd", "ab"], temperature=0, max_tokens=4, **BASE
)
told["completions"] = [choice.index for choice in older.choices]
tool = {"type": "function", "function": {"name": "warmth", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}}}}  # fmt: skip
asking = {"model": "openai/caller", "tools": [tool]}
gathered = litellm.stream_chunk_builder(list(chat(**asking, stream=True)))
told["tools"] = [
    [
        [call.id, call.function.name, json.loads(call.function.arguments)]
        for call in one.choices[0].message.tool_calls
    ]
    for one in (chat(**asking), gathered)
]
vectors = litellm.embedding(
    model="openai/vectors", input=["red", "blue"], encoding_format="float", **BASE
)
told["embeddings"] = [len(one["embedding"]) for one in vectors.data]
told["errors"] = {
    "bound": refused(lambda: chat(temperature=3)),
    "unknown": refused(lambda: chat(model="openai/nobody")),
    "key": refused(lambda: chat(api_key=os.environ["WRONG_KEY"])),
}
sys.stdout.write(json.dumps(told) + "\n")
