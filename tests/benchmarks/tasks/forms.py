"""What the families' tasks are made of: questions with their checks, and numbers to draw."""

PER_FAMILY = 12
THINGS = ("apples", "books", "coins", "stones", "cards", "pencils", "eggs", "shells")
WRITE = "Write a Python function `{}` that returns {}."


def number(prompt, value):
    """The last number of the answer is `value`."""
    told = f"{prompt} Reply with the number only."
    return {"prompt": told, "check": {"kind": "number", "value": value}}


def code(prompt, entry, *cases):
    """The function `entry` is right; each case is the arguments and, last, the value expected."""
    listed = [[list(case[:-1]), case[-1]] for case in cases]
    return {
        "prompt": f"{prompt} Reply with the code only.",
        "check": {"kind": "python", "entry": entry, "cases": listed},
    }


def word(prompt, pattern):
    """The pattern is found in the answer."""
    return {
        "prompt": f"{prompt} Reply with the name only.",
        "check": {"kind": "regex", "pattern": pattern},
    }


def named(name):
    """The pattern of an answer that gives a name: alone on a line, marked, or after `is`.

    Many names are words of English, too, which any sentence may have.
    """
    whole = rf"(?:git |[\w.]+\.)?{name}(?:\(\))?"
    return rf"(?m)^\W*{whole}\W*$|[`'\"*]+{whole}\b|\bis {whole}\W*$"


def line(prompt, pattern):
    """The pattern is found in the answer, which is a line of code in some language."""
    return {
        "prompt": f"{prompt} Reply with the code only.",
        "check": {"kind": "regex", "pattern": pattern},
    }


def printed(program, value):
    """A program is read, and prints the number `value`."""
    return number(f"```python\n{program}\n```\nWhat does this Python program print?", value)


def pairs(draw, low, high, count=PER_FAMILY):
    """Pairs of numbers, none twice."""
    found = []
    while len(found) < count:
        pair = (draw.randint(low, high), draw.randint(low, high))
        if pair not in found:
            found.append(pair)
    return found
