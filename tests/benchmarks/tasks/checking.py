"""Whether an answer to a task is right: 1.0 or 0.0, the same for the same answer."""

import re

from tests.benchmarks.tasks.sandbox import run_function

_FENCE = re.compile(r"```(?:[Pp]y\w*)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def check(answer, task):
    """Grade one answer.

    A number is right when it is the last one the answer names, as is usual for such tasks: models
    repeat the question first. Code is the first fenced block, or else what starts at `def`.
    """
    wanted = task["check"]
    if wanted["kind"] == "number":
        return float(last_number(answer) == wanted["value"])
    if wanted["kind"] == "regex":
        return float(re.search(wanted["pattern"], answer) is not None)
    if wanted["kind"] == "python":
        return float(run_function(code_of(answer), wanted["entry"], wanted["cases"]))
    raise ValueError(f"no checker is named {wanted['kind']!r}")


def last_number(answer):
    found = _NUMBER.findall(answer)
    return float(found[-1].replace(",", "")) if found else None


def code_of(answer):
    fenced = _FENCE.search(answer)
    if fenced:
        return fenced[1]
    start = answer.find("def ")
    return answer[start:] if start >= 0 else ""
