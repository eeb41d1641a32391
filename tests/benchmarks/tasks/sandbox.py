"""Runs a function that a model wrote: screened, in a process of its own, within limits.

Screening allows no imports but a few of the standard library, no dunder names and none of the
builtins that reach files or code. The process has no environment, an empty folder, one second of
processor time, 256 MiB of memory and may neither write files nor start processes.
"""

import ast
import json
import subprocess
import sys
import tempfile

_SECONDS = 5
_IMPORTS = frozenset({"math", "itertools", "functools", "collections", "string", "re", "typing"})
_FORBIDDEN = frozenset({
    "open", "exec", "eval", "compile", "input", "globals", "locals", "vars", "getattr", "setattr",
    "delattr", "breakpoint", "help", "exit", "quit", "memoryview", "object", "type", "super",
})  # fmt: skip
# The limits are set in the child rather than between fork and exec, which is unsafe beside threads.
_HARNESS = """
import json, resource, sys
for kind, most in (("CPU", 1), ("AS", 256 << 20), ("FSIZE", 0), ("NPROC", 0), ("CORE", 0)):
    resource.setrlimit(getattr(resource, "RLIMIT_" + kind), (most, most))
told = json.load(sys.stdin)
names = {}
sys.stdout = None
exec(compile(told["code"], "answer", "exec"), names)
function = names[told["entry"]]
def plain(value):
    return list(map(plain, value)) if isinstance(value, (list, tuple)) else value
def same(found, wanted):
    if isinstance(wanted, bool) or isinstance(found, bool):
        return found is wanted
    if isinstance(wanted, float):
        return abs(found - wanted) < 1e-9
    return plain(found) == wanted
right = all(same(function(*given), wanted) for given, wanted in told["cases"])
sys.__stdout__.write("right" if right else "wrong")
"""


def run_function(code, entry, cases):
    """Whether the function named `entry` returns what every case expects."""
    if not allowed(code):
        return False
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-S", "-c", _HARNESS],
                input=json.dumps({"code": code, "entry": entry, "cases": cases}),
                capture_output=True, text=True, timeout=_SECONDS, cwd=folder, env={}, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return False
    return done.returncode == 0 and done.stdout == "right"


def allowed(code):
    """Whether the code parses and asks for nothing beyond computing."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(map(_harmless, ast.walk(tree)))


def _harmless(node):
    if isinstance(node, ast.Import):
        return all(one.name in _IMPORTS for one in node.names)
    if isinstance(node, ast.ImportFrom):
        return node.module in _IMPORTS
    if isinstance(node, ast.Attribute):
        return not node.attr.startswith("_")
    if isinstance(node, ast.Name):
        return node.id not in _FORBIDDEN and not node.id.startswith("__")
    return True
