"""
What the pages take from the code when they are built, as reST, so that it can't go stale:
``python docs/from_code.py NAME`` prints one of :data:`PARTS`. Needs no Sphinx.
"""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import sodiumtwist
from sodiumtwist.core import errors, states
from sodiumtwist.programs.cli import Options

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

SODIUMTWIST = [sys.executable, "-m", "sodiumtwist"]
TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]


def _literal(lines: Iterable[str]) -> Iterator[str]:
    yield ".. code-block:: text"
    yield ""
    yield from (f"    {line}".rstrip() for line in lines)
    yield ""


def help_of(command: list[str]) -> list[str]:
    """
    Return the lines of a command's ``--help``.

    :raises CalledProcessError: when it fails.
    """
    environment = {**os.environ, "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run([*command, "--help"], env=environment, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return done.stdout.decode().strip().splitlines()


def _sodiumtwist() -> Iterator[str]:
    yield from _literal(help_of(SODIUMTWIST))
    commands: Any = Options.subCommands
    for name, _, _, what in commands:
        title = f"sodiumtwist {name}"
        yield from (title, "~" * len(title), "", what[0].upper() + what[1:] + ".", "")
        yield from _literal(help_of([*SODIUMTWIST, name]))


def _twistd(name: str) -> Iterator[str]:
    yield from _literal(help_of([*TWISTD, name]))


def _error_tree() -> Iterator[str]:
    assert errors.__doc__ is not None
    tree = errors.__doc__.partition("::\n\n")[2].partition("\n\n")[0]
    yield from _literal(textwrap.dedent(tree).splitlines())


def _meanings(module: ModuleType) -> dict[str, str]:
    """Read the ``#:`` comments above what a module assigns."""
    found = re.findall(r"((?: *#: .*\n)+) *(\w+) = ", inspect.getsource(module))
    return {name: " ".join(re.sub(r"^ *#: ", "", comment, flags=re.M).split()) for comment, name in found}


def _state_table(table: states.Table) -> Iterator[str]:
    meanings = _meanings(states)
    yield from (".. list-table::", "   :widths: 30 70", "")
    for state in table:
        yield f"   * - {state.name}"
        yield f"     - {meanings[state.name]}"
    yield ""


def _state_drawing(table: states.Table) -> Iterator[str]:
    """Draw how a state leads to others; that each may close is left out."""
    lines = []
    for state, acts in table.items():
        lines.append(state.name)
        shown = [(act, following) for act, following in acts.items() if act is not states.Act.CLOSE]
        width = max((len(act.value) for act, _ in shown), default=0)
        for act, following in shown:
            arrow = "-" * (width - len(act.value))
            where = "(stays)" if following is state else following.name
            lines.append(f"  |-- {act.value} {arrow}--> {where}")
        lines.append("  `-- close" if state is not states.State.CLOSED else "  (the end)")
    yield from _literal(lines)


def _interface(name: str) -> Iterator[str]:
    """Describe a zope interface, which autodoc takes for no class."""
    interface: Any = getattr(sodiumtwist, name)
    yield from (f".. py:class:: {name}", f"   :canonical: {interface.__module__}.{name}", "")
    yield from textwrap.indent(inspect.cleandoc(interface.__doc__), "   ").splitlines()
    for member in interface.names():
        found: Any = interface[member]
        is_method = hasattr(found, "getSignatureString")
        kind = f"method:: {member}{found.getSignatureString()}" if is_method else f"attribute:: {member}"
        yield from ("", f"   .. py:{kind}", f"      :canonical: {interface.__module__}.{name}.{member}", "")
        yield from textwrap.indent(inspect.cleandoc(found.getDoc()), "      ").splitlines()
    yield ""


#: What ``.. from-code:: NAME`` may name, with what makes the lines of it.
PARTS: dict[str, Callable[[], Iterator[str]]] = {
    "help-sodiumtwist": _sodiumtwist,
    "help-twistd-sodium": partial(_twistd, "sodium"),
    "help-twistd-sodium-tunnel": partial(_twistd, "sodium-tunnel"),
    "errors": _error_tree,
    "server-drawing": partial(_state_drawing, states.SERVER),
    "client-drawing": partial(_state_drawing, states.CLIENT),
    "server-states": partial(_state_table, states.SERVER),
    "client-states": partial(_state_table, states.CLIENT),
    **{name: partial(_interface, name) for name in ("ISodiumTransport", "ISodiumAvatar", "IReplayMemory")},
}


if __name__ == "__main__":
    print("\n".join(PARTS[sys.argv[1]]()))
