"""What LangChain's OpenAI adapters make of our answers: `langchain_calls.py BASE_URL`, as JSON."""

import json
import os
import sys

import openai
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

BASE = {"base_url": sys.argv[1], "api_key": "none", "max_retries": 0, "timeout": 30}
SCHEMA = {"title": "day", "description": "A day.", "type": "object", "required": ["day"],
          "properties": {"day": {"enum": ["Monday", "Sunday"]}},
          "additionalProperties": False}  # fmt: skip


def chat(**given):
    return ChatOpenAI(**{"model": "tiny", "temperature": 0, "max_tokens": 8, **BASE, **given})


def refused(call):
    try:
        call()
    except openai.APIStatusError as error:
        names = [one.__name__ for one in type(error).__mro__]
        return [names, error.status_code, error.param, error.code]
    return None


told = {}
whole = chat().invoke("abcd")
told["whole"] = {"text": whole.content, "tokens": whole.usage_metadata["output_tokens"]}
chunks = list(chat(stream_usage=True).stream("abcd"))
told["streamed"] = {
    "text": "".join(chunk.content for chunk in chunks),
    "tokens": next(one.usage_metadata["output_tokens"] for one in chunks if one.usage_metadata),
}
shaped = chat(max_tokens=60).with_structured_output(SCHEMA, method="json_schema")
told["parsed"] = shaped.invoke("abcd")
several = chat(temperature=1, seed=5, n=2)
told["several"] = [
    [one.text for one in several.generate([[HumanMessage("abcd")]]).generations[0]]
    for _ in range(2)
]
sure = chat(logprobs=True, top_logprobs=2).invoke("abcd").response_metadata["logprobs"]["content"]
told["logprobs"] = [[one["token"], one["logprob"], len(one["top_logprobs"])] for one in sure]
stopped = chat().invoke("abcd", stop=[whole.content[2]])
told["stopped"] = [stopped.content, stopped.response_metadata["finish_reason"]]
older = OpenAI(model="tiny", temperature=0, max_tokens=4, **BASE).generate(["abcd", "ab"])
told["completions"] = [place for place, _ in enumerate(older.generations)]
tool = {"name": "warmth", "description": "How warm it is.", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}}}  # fmt: skip
bound = chat(model="caller").bind_tools([tool])
gathered = None
for part in bound.stream("abcd"):
    gathered = part if gathered is None else gathered + part
told["tools"] = [
    [[call["id"], call["name"], call["args"]] for call in one.tool_calls]
    for one in (bound.invoke("abcd"), gathered)
]
embedder = OpenAIEmbeddings(model="vectors", check_embedding_ctx_length=False, **BASE)
told["embeddings"] = [len(one) for one in embedder.embed_documents(["red", "blue"])]
told["errors"] = {
    "bound": refused(lambda: chat(temperature=3).invoke("abcd")),
    "unknown": refused(lambda: chat(model="nobody").invoke("abcd")),
    "key": refused(lambda: chat(api_key=os.environ["WRONG_KEY"]).invoke("abcd")),
}
sys.stdout.write(json.dumps(told) + "\n")
