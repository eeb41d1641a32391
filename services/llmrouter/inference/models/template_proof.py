"""Proves of a chat template that it writes every message whole, as far as its form tells.

A template may do anything with messages: trim them, cut thoughts out, leave a system message or
old turns away. Trying it on examples proves nothing; so its tree is read, and only the plain form
counts:

    {% for message in messages %} … {{ … + message.content + … }} … {% endfor %}
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jinja2 import nodes

__all__ = ["keeps_messages"]


def keeps_messages(template: nodes.Template) -> bool:
    """Whether the template, wherever it does not fail, writes the content of each message whole.

    False says only that its form does not prove it.
    """
    return not _stores(template.body, "messages") and _certain(template.body, _writes_each)


def _certain(body: Sequence[nodes.Node], proves: Callable[[nodes.Node], bool]) -> bool:
    """Whether a statement that `proves` runs in `body`, whichever way is taken through it."""
    return any(proves(one) or _in_each_branch(one, proves) for one in body)


def _in_each_branch(one: nodes.Node, proves: Callable[[nodes.Node], bool]) -> bool:
    if not isinstance(one, nodes.If):
        return False
    branches = [one.body, *(other.body for other in one.elif_), one.else_]
    return all(_certain(branch, proves) for branch in branches)


def _writes_each(one: nodes.Node) -> bool:
    """Whether a statement is a loop over all messages that writes each and is never left early."""
    if not (isinstance(one, nodes.For) and one.test is None):
        return False
    if not (isinstance(one.iter, nodes.Name) and one.iter.name == "messages"):
        return False
    if not isinstance(one.target, nodes.Name) or _leaves(one):
        return False
    turn = one.target.name
    return not _stores(one.body, turn) and _certain(one.body, lambda part: _writes(part, turn))


def _leaves(loop: nodes.For) -> bool:
    return any(isinstance(one, nodes.Break | nodes.Continue) for one in loop.find_all(nodes.Stmt))


def _stores(body: Sequence[nodes.Node], name: str) -> bool:
    """Whether something in `body` gives a name another meaning."""
    found = (one for part in body for one in (part, *part.find_all((nodes.Name, nodes.Macro))))
    return any(_gives(one, name) for one in found)


def _gives(one: nodes.Node, name: str) -> bool:
    if isinstance(one, nodes.Name):
        return one.name == name and one.ctx != "load"
    return isinstance(one, nodes.Macro) and one.name == name


def _writes(one: nodes.Node, turn: str) -> bool:
    return isinstance(one, nodes.Output) and any(_holds(part, turn) for part in one.nodes)


def _holds(value: nodes.Node, turn: str) -> bool:
    """Whether the text of an expression has the content of `turn` in it, as it is."""
    match value:
        case nodes.Add():
            return _holds(value.left, turn) or _holds(value.right, turn)
        case nodes.Concat():
            return any(_holds(part, turn) for part in value.nodes)
        case nodes.CondExpr():
            other = value.expr2
            return other is not None and _holds(value.expr1, turn) and _holds(other, turn)
        case nodes.Getattr(node=nodes.Name(name=name), attr="content"):
            return bool(name == turn)
        case nodes.Getitem(node=nodes.Name(name=name), arg=nodes.Const(value="content")):
            return bool(name == turn)
    return False
