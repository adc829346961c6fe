"""Every named step of the agent's journal, read from its code: which of them were never reached must not stay unseen.

A step is a function of a transaction that is handed to the journal: one whose name stands somewhere as a value.
Functions that only other functions of a transaction call are parts of a step.
"""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import sse_agent
from sse_agent.journal import Transaction

NOT_THE_AGENT = (
    "sse_agent.control_plane",
    "sse_agent.__main__",
    "sse_agent.cli",
    "sse_agent.journal.at_rest",
    "sse_agent.notify",
)
"""The other end; what looks into a journal at rest from a process of its own; what only asks whether it answers."""

PARTS = {"desk._cancel": "desk.do", "desk._pause": "desk.do", "desk._resume": "desk.do", "desk._retry": "desk.do"}
"""Functions that stand in a table, but as parts of the step that looks them up there."""


def step_of(work: Callable[..., Any]) -> str:
    """Module and function, as people would say it: `inbox.receive`."""
    return f"{work.__module__.rpartition('.')[2]}.{work.__qualname__}"


@cache
def named_steps() -> frozenset[str]:
    """All of them."""
    return frozenset(step_of(work) for module in _modules() for work in _handed_on(module)) - PARTS.keys()


def _modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(sse_agent.__path__, "sse_agent."):
        if not found.name.startswith(NOT_THE_AGENT):
            yield importlib.import_module(found.name)


def _handed_on(module: ModuleType) -> Iterator[Callable[..., Any]]:
    """Functions of a transaction that this module uses as values; what it calls itself does not count."""
    tree = ast.parse(Path(str(module.__file__)).read_text())
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if id(node) not in called:
            yield from (work for work in _named(module, node) if _takes_transaction(work))


def _named(module: ModuleType, node: ast.AST) -> Iterator[Any]:
    """What a name, or a name and an attribute, stand for in that module."""
    names = vars(module)
    match node:
        case ast.Name(id=name, ctx=ast.Load()):
            yield names.get(name)
        case ast.Attribute(value=ast.Name(id="self"), attr=name):
            yield from (vars(one).get(name) for one in names.values() if inspect.isclass(one) and _is_of(one, module))
        case ast.Attribute(value=ast.Name(id=base), attr=name, ctx=ast.Load()):
            yield getattr(names.get(base), name, None)


def _is_of(one: type, module: ModuleType) -> bool:
    return one.__module__ == module.__name__


def _takes_transaction(work: Any) -> bool:
    if not inspect.isfunction(work):
        return False
    annotations = [parameter.annotation for parameter in inspect.signature(work).parameters.values()]
    return any(annotation in (Transaction, "Transaction") for annotation in annotations[:2])
