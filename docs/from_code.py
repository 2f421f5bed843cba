"""
What the pages take from the code: help, docstrings, states and errors, and the drawings.

It stands in the pages themselves, so that they can be read where no Sphinx builds them, each part between two
comments::

    .. from code: NAME

    .. end of NAME

``python docs/from_code.py`` writes all of :data:`PARTS` there anew, and the drawings of ``docs/drawings.py`` into
``docs/images/``. With ``--check`` it writes nothing, names what is stale, and ends with status 1 when there is any.
Needs no Sphinx.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from enum import IntEnum
from functools import partial
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

from msgspec import inspect as types
from twisted.scripts.twistd import ServerOptions
from zope.interface.interface import InterfaceClass, Method

# The code beside these pages, not one that is installed, and the modules of this folder.
sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from drawing import WIDTH as DRAWING_WIDTH, Drawing
from drawings import DRAWINGS, TABLES

import sodiumtwist
from sodiumtwist.core import errors
from sodiumtwist.core.v2 import noise, pdus
from sodiumtwist.describe.events import EVENTS, FIELDS
from sodiumtwist.operation import values
from sodiumtwist.programs.cli import Options
from sodiumtwist.protocol import observing
from sodiumtwist.transfer.tree import messages

ROOT = Path(__file__).resolve().parent.parent

#: What parses the command lines of each program.
PROGRAMS: dict[str, Callable[[], Any]] = {"sodiumtwist": Options, "twistd": ServerOptions}

WIDTH = 120


def _indented(lines: Iterable[str], by: str = "   ") -> Iterator[str]:
    yield from (f"{by}{line}".rstrip() for line in lines)


def _literal(lines: Iterable[str]) -> Iterator[str]:
    yield from (".. code-block:: text", "")
    yield from _indented(lines, "    ")
    yield ""


# The help


def help_of(command: str, *words: str) -> list[str]:
    """
    Return the lines that a command prints for ``--help``, on a screen of 80 columns.

    :raises UsageError: when there is no such command.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SODIUMTWIST_")}
    arguments = [*words, "--help"]
    with (
        patch.dict(os.environ, {**kept, "COLUMNS": "80"}, clear=True),
        patch.object(sys, "argv", [command, *arguments]),
        redirect_stdout(StringIO()) as printed,
        suppress(SystemExit),
    ):
        PROGRAMS[command]().parseOptions(arguments)
    return printed.getvalue().strip().splitlines()


def _sodiumtwist() -> Iterator[str]:
    yield from _literal(help_of("sodiumtwist"))
    commands: Any = Options.subCommands
    for name, _, _, what in commands:
        title = f"sodiumtwist {name}"
        yield from (title, "~" * len(title), "", what[0].upper() + what[1:] + ".", "")
        yield from _literal(help_of("sodiumtwist", name))


def _twistd(name: str) -> Iterator[str]:
    yield from _literal(help_of("twistd", name))


# Docstrings


def _text(docstring: str | None) -> list[str]:
    """Return the lines of a docstring. A block of it gets a language, as each block of a page has one."""
    text = inspect.cleandoc(docstring or "")
    return re.sub(r"^( *)(?!\.\. )(.*):: *$", r"\1\2:\n\n\1.. code-block:: text", text, flags=re.M).splitlines()


def _described(kind: str, signature: str, options: Iterable[str], lines: Iterable[str]) -> list[str]:
    """Make one of Sphinx's directives that describe a name. A long signature goes on behind a backslash."""
    head = f".. py:{kind}:: {signature}"
    width = WIDTH - len("    \\")  # room for the backslash, and for members, which are indented
    wrapped = textwrap.wrap(head, width, subsequent_indent=" " * 6, break_long_words=False, break_on_hyphens=False)
    return [*(f"{line} \\" for line in wrapped[:-1]), wrapped[-1], *_indented(options), "", *_indented(lines)]


# Signatures are read in the source: what Python makes of a default when it runs looks different from version to
# version, and a name says more than its value.


def _parsed(thing: Any) -> tuple[Any, str]:
    """Return the syntax tree of a function or class, and the source that it is of."""
    source = textwrap.dedent(inspect.getsource(thing))
    return ast.parse(source).body[0], source


def _as_written(source: str, node: ast.expr) -> ast.Name:
    segment = ast.get_source_segment(source, node)
    assert segment is not None
    return ast.Name(id=" ".join(segment.split()))


def _parameters(function: Any, *, bound: bool = True) -> str:
    """
    Return the parameters of a function, with their defaults as its source has them.

    :param bound: whether the first one is ``self`` or ``cls``, and left out.
    """
    tree, source = _parsed(function)
    arguments = tree.args
    for node in ast.walk(arguments):
        if isinstance(node, ast.arg):
            node.annotation = None
    arguments.defaults = [_as_written(source, node) for node in arguments.defaults]
    arguments.kw_defaults = [node and _as_written(source, node) for node in arguments.kw_defaults]
    if bound:
        del (arguments.posonlyargs or arguments.args)[0]
    return ast.unparse(arguments)


def _default(source: str, value: ast.expr) -> str:
    """Return the default that a dataclass gives a field, as ``=`` and its source; nothing for one without."""
    call = ""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "field":
        given = {keyword.arg: keyword.value for keyword in value.keywords}
        if not given.keys() & {"default", "default_factory"}:
            return ""
        call = "()" if "default_factory" in given else ""
        value = given["default_factory" if call else "default"]
    elif isinstance(value, ast.Call) and ast.unparse(value.func).startswith("_"):
        (value,) = value.args  # a kind of number that is nobody's business but the module's
    return f"={_as_written(source, value).id}{call}"


def _fields(kind: Any) -> str:
    """Return the parameters of a dataclass."""
    defaults: dict[str, str] = {}
    for base in filter(dataclasses.is_dataclass, kind.__mro__[::-1]):
        tree, source = _parsed(base)
        for statement in tree.body:
            if isinstance(statement, ast.AnnAssign) and statement.value is not None:
                defaults[ast.unparse(statement.target)] = _default(source, statement.value)
    return ", ".join(field.name + defaults.get(field.name, "") for field in dataclasses.fields(kind) if field.init)


def _constructor(kind: Any) -> str:
    """Return what a class is called with, in parentheses; nothing when it is as it is in Twisted's or Python's."""
    if dataclasses.is_dataclass(kind):
        return f"({_fields(kind)})"
    if getattr(kind, "_is_protocol", False):
        return ""
    for base in kind.__mro__:
        if "__init__" in vars(base):
            return f"({_parameters(base.__init__)})" if base.__module__.startswith("sodiumtwist") else ""
    return ""


@dataclasses.dataclass(frozen=True)
class Members:
    """
    Which members of a class a page shows, of those that have a docstring and no underscore.

    :ivar own: whether those are shown that the class defines itself.
    :ivar inherited: whether those are shown that it inherits from our own classes.
    :ivar first: inherited ones that stand before all others.
    :ivar without: names left out.
    """

    own: bool = True
    inherited: bool = False
    first: tuple[str, ...] = ()
    without: frozenset[str] = frozenset()


# What the transport and the factory call, not applications.
_CALLED = frozenset({"connectionLost", "connectionMade", "dataReceived", "makeConnection"})
_CALLED_ON_SERVERS = frozenset({"is_finishing", "stop_checking"})

#: Classes of which other members are shown than their own.
MEMBERS: Mapping[str, Members] = {
    "RequestClient": Members(
        first=("request", "ready", "when_lost", "close", "abort", "ping"),
        without=_CALLED | frozenset({"payload_received"}),
    ),
    "Peer": Members(without=frozenset({"asked_by", "ended"})),
    "SodiumServerFactory": Members(own=False, first=("drain", "change")),
    "SodiumClientFactory": Members(own=False),
    "SodiumServerProtocol": Members(inherited=True, without=_CALLED | _CALLED_ON_SERVERS),
    "SodiumClientProtocol": Members(inherited=True, without=_CALLED),
    "ServerConnection": Members(inherited=True),
    "ClientConnection": Members(inherited=True),
}


def _docstring(kind: Any, name: str) -> str | None:
    """Return the docstring of a member, or that of the one that it overrides."""
    found = (vars(base)[name].__doc__ for base in kind.__mro__ if name in vars(base))
    return next(filter(None, found), None)


def _names(kind: Any) -> Iterator[str]:
    """The members that a page shows: those of the class in the order of the source, then the inherited ones by name."""
    shown = MEMBERS.get(kind.__name__, Members())
    inherited: set[str] = set()
    for base in kind.__mro__[1:] if shown.inherited else ():
        inherited.update(vars(base) if base.__module__.startswith("sodiumtwist") else ())
    own = list(vars(kind)) if shown.own else []
    names = [*shown.first, *own, *sorted(inherited.difference(own))]
    # The default of a field may be a function.
    fields = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    for name in names:
        if not name.startswith("_") and name not in shown.without and name not in fields:
            yield name


def _member(kind: Any, name: str) -> list[str]:
    """Describe a method or property; nothing for what is neither, or has no docstring."""
    docstring = _docstring(kind, name)
    member = inspect.getattr_static(kind, name)
    if docstring is None:
        return []
    if isinstance(member, property):
        return _described("property", name, [], _text(docstring))
    if not inspect.isroutine(getattr(kind, name)):
        return []
    options = [f":{type(member).__name__}:"] if isinstance(member, (classmethod, staticmethod)) else []
    parameters = _parameters(getattr(kind, name), bound=not isinstance(member, staticmethod))
    return _described("method", f"{name}({parameters})", options, _text(docstring))


def _class(kind: Any, options: list[str]) -> list[str]:
    lines = _text(kind.__doc__)
    if issubclass(kind, IntEnum):
        lines += ["", *(f"- ``{member.name}``: {int(member)}" for member in kind)]
    for name in _names(kind):
        if member := _member(kind, name):
            lines += ["", *member]
    directive = "exception" if issubclass(kind, BaseException) else "class"
    return _described(directive, kind.__name__ + _constructor(kind), options, lines)


def _interface(interface: Any, options: list[str]) -> list[str]:
    lines = _text(interface.__doc__)
    for name in interface.names():
        member = interface[name]
        is_method = isinstance(member, Method)
        signature = name + (member.getSignatureString() if is_method else "")
        # Docstrings refer to these by where they are defined.
        canonical = f":canonical: {interface.__module__}.{interface.__name__}.{name}"
        kind = "method" if is_method else "attribute"
        lines += ["", *_described(kind, signature, [canonical], _text(member.getDoc()))]
    return _described("class", interface.__name__, options, lines)


def _public(module: str, names: Iterable[str]) -> Iterator[str]:
    """
    Describe classes, interfaces, errors and functions.

    :param module: that they are imported from. The page says so, by ``py:module`` or ``py:currentmodule``.
    """
    for name in names:
        thing = getattr(import_module(module), name)
        options = [f":canonical: {thing.__module__}.{name}"] if thing.__module__ != module else []
        if isinstance(thing, InterfaceClass):
            yield from _interface(thing, options)
        elif inspect.isclass(thing):
            yield from _class(thing, options)
        else:
            parameters = _parameters(thing, bound=False)
            yield from _described("function", f"{name}({parameters})", options, _text(thing.__doc__))
        yield ""


def _module(name: str) -> Iterator[str]:
    """Describe a module by its docstring alone."""
    yield from (f".. py:module:: {name}", "")
    yield from _text(import_module(name).__doc__)
    yield ""


def _module_and_names(name: str) -> Iterator[str]:
    """
    Describe a module and what it defines, in the order of its source; or what its ``__all__`` names. What the package
    itself offers, too, has its place there.
    """
    module = import_module(name)
    offered = getattr(module, "__all__", None)
    # What a module offers may be another one's, and so are the comments.
    homes = {getattr(getattr(module, member), "__module__", name) for member in offered or ()}
    meanings = {key: text for home in sorted({name, *homes}) for key, text in _meanings(import_module(home)).items()}
    yield from _module(name)
    for member in offered or vars(module):
        thing = getattr(module, member)
        if member.startswith("_") or member in sodiumtwist.__all__:
            continue
        if member in meanings:
            lines = textwrap.wrap(meanings[member], WIDTH - 3, break_on_hyphens=False)
            yield from _described("data", member, [f":value: {thing!r}"], lines)
            yield ""
        elif (home := getattr(thing, "__module__", None)) and (offered or home == name) and thing.__doc__:
            yield from _public(name, [member])


# Errors


def _error_names() -> list[str]:
    return [name for name, thing in vars(errors).items() if inspect.isclass(thing)]


def _error_tree() -> Iterator[str]:
    """Make a list of lists of the tree in the docstring."""
    assert errors.__doc__ is not None
    tree = textwrap.dedent(errors.__doc__.partition("::\n\n")[2].partition("\n\n")[0])
    before = 0
    for line in tree.splitlines():
        found = re.match(r"((?:\|   |    )*(?:\|-- |`-- )?)([\w, ]*?\w)(?: {2,}| (?=\()|$)(.*)", line)
        assert found is not None, line
        depth = len(found[1]) // 4
        names = ", ".join(f":exc:`~sodiumtwist.{name}`" for name in found[2].split(", "))
        what = found[3] if not found[3] or found[3].startswith("(") else f"– {found[3]}"
        if depth != before:
            yield ""
        before = depth
        yield f"{'  ' * depth}- {names} {what}".rstrip()
    yield ""


def _error_meanings() -> Iterator[str]:
    yield from (".. list-table::", "   :widths: 35 65", "")
    for name in _error_names():
        yield f"   * - :exc:`~sodiumtwist.{name}`"
        first, *others = _text(getattr(errors, name).__doc__)
        yield f"     - {first}"
        yield from _indented(others, " " * 7)
    yield ""


# The log


def _events() -> Iterator[str]:
    yield from (".. list-table::", "   :widths: 20 8 45 27", "   :header-rows: 1", "")
    rows = [("Event", "Level", "What happened", "Fields")]
    for name, kind in EVENTS.items():
        fields = ", ".join(f"``{field}``" for field in kind.fields.split())
        rows.append((f"``{name}``", kind.level, kind.meaning, fields))
    for first, *others in rows:
        yield f"   * - {first}"
        yield from (f"     - {cell}".rstrip() for cell in others)
    yield ""


def _words(meanings: Mapping[str, str]) -> Iterator[str]:
    yield from (f"- ``{word}``: {meaning}" for word, meaning in meanings.items())
    yield ""


# States


def _meanings(thing: Any) -> dict[str, str]:
    """Read the ``#:`` comments above what a module or a class assigns."""
    found = re.findall(r"((?:^ *#: .*\n)+) *(\w+)(?:: .*)? = ", inspect.getsource(thing), re.M)
    return {name: " ".join(re.sub(r"^ *#: ", "", comment, flags=re.M).split()) for comment, name in found}


#: Drawings on pages that lie in ``docs/`` itself.
FIRST_PAGES = frozenset({"overview", "first-contact"})


def _drawn(name: str, drawing: Callable[[], Drawing]) -> Iterator[str]:
    """Show a drawing, and say what is in it."""
    # From where the page is: code hosts show these pages, too.
    yield f".. image:: {'' if name in FIRST_PAGES else '../'}images/{name}.svg"
    told = textwrap.wrap(drawing().told, WIDTH - 9, break_on_hyphens=False)
    yield f"   :alt: {told[0]}"
    yield from _indented(told[1:], " " * 9)
    # As wide as it is. Sphinx then links it to its file, which readers with small screens can enlarge.
    yield f"   :width: {DRAWING_WIDTH}px"
    yield ""


def _states(name: str) -> Iterator[str]:
    """
    Show a table of states, and say what each of them means: by the ``#:`` comment above it.

    :param name: of its drawing.
    """
    _, table = TABLES[name]
    yield from _drawn(name, DRAWINGS[name])
    meanings = _meanings(type(next(iter(table))))
    yield from (".. list-table::", "   :widths: 30 70", "")
    for state in table:
        yield f"   * - {state.name}"
        yield f"     - {meanings[state.name]}"
    yield ""


# The handshake of version 2


def _handshake(pattern: noise.Pattern) -> Iterator[str]:
    """Draw who sends which tokens, as the Noise specification writes it."""
    lines = ["<- s", "..."] if pattern.known else []
    lines += [f"{'<-' if number % 2 else '->'} {', '.join(tokens)}" for number, tokens in enumerate(pattern.messages)]
    yield from _literal(lines)


# The PDUs of version 2


def _rows(widths: str, titles: Iterable[str], cells: Iterable[Iterable[object]]) -> Iterator[str]:
    """Make a table with a head."""
    yield from (".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", "")
    for row in (titles, *cells):
        for number, cell in enumerate(row):
            begin = "     - " if number else "   * - "
            lines = textwrap.wrap(str(cell), WIDTH - len(begin), break_on_hyphens=False)
            yield begin + lines[0]
            yield from _indented(lines[1:], " " * len(begin))
    yield ""


def _sizes(rule: pdus.Rule) -> str:
    return f"{rule.smallest:,} to {rule.largest:,}" if rule.largest else "none"


def _pdu_types() -> Iterator[str]:
    meanings = _meanings(pdus.PDUType)
    yield from _rows(
        "6 12 10 6 8 18 40",
        ("Type", "Name", "From", "Id", "MORE", "Payload", "What it says"),
        (
            (
                int(pdu_type),
                pdu_type.name,
                rule.sender.value,
                "yes" if rule.numbered else "0",
                "yes" if rule.parts else "never",
                _sizes(rule),
                meanings[pdu_type.name],
            )
            for pdu_type, rule in pdus.RULES.items()
        ),
    )


def _codes() -> Iterator[str]:
    cells = ((int(code), code.name, pdus.describe_code(code)) for code in pdus.Code)
    yield from _rows("10 30 60", ("Code", "Name", "What it says"), cells)


# The file dialogue


def _number(number: int) -> str:
    """Write a bound of integers."""
    for bound, text in ((1 << 63, "2^63"), (1 << 32, "2^32")):
        if abs(number) in (bound, bound - 1):
            return ("-" if number < 0 else "") + text + (" - 1" if number == bound - 1 else "")
    return f"{number:,}"


def _most(least: int | None, most: int | None, unit: str) -> str:
    return f"{least} to {most:,}{unit}" if least else f"at most {most:,}{unit}"


def _value(kind: types.Type) -> str:
    """Say what a field may hold."""
    if isinstance(kind, types.IntType):
        assert kind.ge is not None and kind.le is not None
        return f"{_number(int(kind.ge))} to {_number(int(kind.le))}"
    if isinstance(kind, types.BytesType):
        return _most(kind.min_length, kind.max_length, " bytes")
    if isinstance(kind, types.StrType):
        return f"text, {_most(kind.min_length, kind.max_length, ' characters')}"
    if isinstance(kind, types.LiteralType):
        return ", ".join(f"``{value}``" for value in kind.values)
    if isinstance(kind, types.ListType):
        return f"array of {_value(kind.item_type)}, {_most(kind.min_length, kind.max_length, '')}"
    if isinstance(kind, types.TupleType):
        return f"({'; '.join(map(_value, kind.item_types))})"
    if isinstance(kind, types.StructType):
        return f"*{kind.cls.__name__}*"
    assert isinstance(kind, types.BoolType), kind
    return "true or false"


def _file_words(text: str) -> str:
    """Write what a docstring tells of a message as a page does: numbers with names, and types."""
    text = re.sub(r":data:`(\w+)`", lambda found: f"{getattr(messages, found[1])} ({found[1]})", text)
    return re.sub(r":class:`(\w+)`", lambda found: f"*{found[1]}*", text)


def _assumed(field: types.Field) -> str:
    """What holds of a field that is not there."""
    if field.required:
        return "–"
    if isinstance(field.default, bool):
        return str(field.default).lower()
    if isinstance(field.default, int):
        return _number(field.default)
    return "empty"


def _file_fields(kind: Any) -> Iterator[tuple[str, str, str, str]]:
    """Name, values, default and meaning of each field of a message of files, or of what it lists."""
    docstring = " ".join(inspect.cleandoc(kind.__doc__).split())
    meanings = dict(re.findall(r":ivar (\w+): (.*?)(?= :ivar |$)", docstring))
    described = types.type_info(kind)
    assert isinstance(described, types.StructType)
    for field in described.fields:
        meaning = _file_words(meanings[field.name])
        yield field.name, _value(field.type), _assumed(field), meaning[0].upper() + meaning[1:]


def _file_messages(*kinds: type) -> Iterator[str]:
    """Describe messages: a table of all their fields."""
    cells: list[tuple[str, ...]] = []
    for kind in kinds:
        name = f"*{kind.__name__}*, ``{kind.__struct_config__.tag}``"  # type: ignore[attr-defined]
        for row in list(_file_fields(kind)) or [("none", "–", "–", "–")]:
            cells.append((name, *row))
            name = "–"
    yield from _rows("18 12 22 10 38", ("Message, type", "Field", "Values", "Default", "What it says"), cells)


def _file_arrays(*kinds: type) -> Iterator[str]:
    """Describe what is listed in messages: arrays, with the fields in this order."""
    cells: list[tuple[str, ...]] = []
    for kind in kinds:
        name = f"*{kind.__name__}*"
        for row in _file_fields(kind):
            cells.append((name, *row))
            name = "–"
    yield from _rows("12 14 24 10 40", ("Array", "Field", "Values", "Default", "What it says"), cells)


def _metrics(table: Mapping[str, values.Metric]) -> Iterator[str]:
    """Describe metrics."""
    cells = []
    for name, metric in table.items():
        kind = metric.kind + ("" if metric.rule == values.SUM else ", largest")
        labels = ", ".join(f"``{label}``" for label in metric.labels) or "–"
        cells.append((f"``{name}``", kind, labels, metric.help))
    yield from _rows("38 14 14 34", ("Metric", "Kind", "Labels", "What it tells"), cells)


def _metric_labels() -> Iterator[str]:
    """Describe what labels may say, of the metrics that have them."""
    for what, words in (
        (
            "``outcome`` of ``sodiumtwist_logins_total``: ``admitted``, ``refused`` or ``left``. Its ``reason`` then:",
            observing.REFUSALS,
        ),
        ("``outcome`` of ``sodiumtwist_sessions_ended_total``:", observing.ENDS),
        ("``outcome`` of ``sodiumtwist_request_seconds``:", observing.REQUESTS),
        ("``outcome`` of ``sodiumtwist_uploads_total``:", observing.UPLOADS),
        ("``outcome`` of ``sodiumtwist_downloads_total``:", observing.DOWNLOADS),
        ("``outcome`` of ``sodiumtwist_tunnel_connections_ended_total``:", observing.TUNNEL_ENDS),
    ):
        yield from (what, "")
        yield from (f"- ``{word}``: {meaning}" for word, meaning in words.items())
        yield ""


#: What pages take from the code, by the names in their comments, with what makes the lines of it.
PARTS: Mapping[str, Callable[[], Iterable[str]]] = {
    # docs/reference/events.rst
    "log-events": _events,
    "event-fields": partial(_words, FIELDS),
    "ends-of-clients": partial(_words, observing.ENDS),
    "refusals": partial(_words, observing.REFUSALS),
    # docs/reference/sodiumtwist.rst, docs/reference/twistd-sodium.rst
    "help-sodiumtwist": _sodiumtwist,
    "help-twistd-sodium": partial(_twistd, "sodium"),
    "help-twistd-sodium-tunnel": partial(_twistd, "sodium-tunnel"),
    # docs/reference/errors.rst
    "error-tree": _error_tree,
    "error-meanings": _error_meanings,
    # docs/reference/metrics.rst
    "metrics": partial(_metrics, values.METRICS),
    "metric-labels": _metric_labels,
    "process-metrics": partial(_metrics, values.PROCESS_METRICS),
    # docs/explanation/wire-2.rst
    "noise-tokens": partial(_handshake, noise.XK_HFS),
    "pdu-types": _pdu_types,
    "codes": _codes,
    # docs/explanation/files.rst
    "file-requests": partial(
        _file_messages,
        messages.StoreFiles,
        messages.FetchFiles,
        messages.ListFolder,
        messages.Announce,
        messages.SetTimes,
        messages.Finish,
    ),
    "file-answers": partial(
        _file_messages, messages.Place, messages.Found, messages.Listing, messages.Verdicts, messages.Done
    ),
    "file-outcome": partial(_file_messages, messages.Outcome),
    "file-arrays": partial(
        _file_arrays, messages.Entry, messages.Verdict, messages.Settled, messages.Listed, messages.Trouble
    ),
    # docs/explanation/states.rst
    **{name: partial(_states, name) for name in TABLES},
    # on any page
    **{f"drawn {name}": partial(_drawn, name, drawing) for name, drawing in DRAWINGS.items() if name not in TABLES},
    # docs/explanation/performance.rst
    "benchmarks": lambda: _text(import_module("benchmarks").__doc__),
    # docs/howto/logins.rst
    "authorized-keys-file": partial(_module, "sodiumtwist.admission.authorized"),
    # docs/howto/servers.rst
    "servers-file": partial(_module, "sodiumtwist.contacts.servers"),
    # docs/reference/api.rst
    "keys": partial(_public, "sodiumtwist", ["KeyPair", "parse_key"]),
    "key-files": partial(
        _public,
        "sodiumtwist.contacts.keyfiles",
        ["read_key_file", "read_public_key_file", "read_passphrase_file", "write_key_file"],
    ),
    "requests": partial(_public, "sodiumtwist", ["connect", "RequestClient", "ReconnectingClient"]),
    "streams": partial(
        _public, "sodiumtwist", ["SodiumServerEndpoint", "SodiumClientEndpoint", "ISodiumTransport", "IDrainable"]
    ),
    "pdus": partial(
        _public,
        "sodiumtwist",
        ["SodiumServerFactory", "SodiumClientFactory", "SodiumServerProtocol", "SodiumClientProtocol"],
    ),
    "admission": partial(
        _public,
        "sodiumtwist",
        [
            "SingleLogin",
            "AnyLogin",
            "AuthorizedKeys",
            "AuthorizedKeysFile",
            "ISodiumAvatar",
            "Peer",
            "IReplayMemory",
            "ReplayMemory",
            "ReplayDatabase",
        ],
    ),
    "limits": partial(_public, "sodiumtwist", ["Limits", "Bounds", "Timeouts", "RekeyAfter"]),
    "errors": partial(_public, "sodiumtwist", [*_error_names(), "Code"]),
    "testing": partial(_module_and_names, "sodiumtwist.testing"),
    "core": partial(_module, "sodiumtwist.core"),
    "connection": partial(_module_and_names, "sodiumtwist.core.connection"),
    "events": partial(_module_and_names, "sodiumtwist.core.events"),
}


def renew(
    page: str, parts: Mapping[str, Callable[[], Iterable[str]]] = PARTS, source: str = "code"
) -> tuple[str, list[str]]:
    """
    Put into a page what the code says now.

    :param page: the page's text.
    :param parts: what makes each part.
    :param source: what the comments before parts say that they are from.
    :return: the page with its parts renewed, and the names of those that were stale.
    :raises ValueError: for a part that is unknown, or has no end.
    """
    lines: list[str] = []
    stale = []
    rest = iter(page.splitlines())
    begin = f".. from {source}: "
    for line in rest:
        lines.append(line)
        if not line.startswith(begin):
            continue
        name = line.removeprefix(begin)
        if name not in parts:
            raise ValueError(f"no part is called {name!r}; those that are: {', '.join(parts)}")
        end = f".. end of {name}"
        found = []
        for inner in rest:
            if inner == end:
                break
            found.append(inner)
        else:
            raise ValueError(f"{line!r} is not followed by {end!r}")
        made = ["", *"\n".join(parts[name]()).strip("\n").split("\n"), ""]
        if made != found:
            stale.append(name)
        lines += [*made, end]
    return "\n".join(lines) + "\n", stale


def main(arguments: Sequence[str], folder: Path = ROOT / "docs") -> int:
    """
    Renew all pages of a folder, or with ``--check`` only tell which are stale.

    :return: the exit status: 1 when ``--check`` found any.
    """
    parser = argparse.ArgumentParser(description="Write into the pages of docs/ what they take from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; end with status 1 when a page is stale")
    check = parser.parse_args(arguments).check
    status = 0
    for path in sorted(folder.rglob("*.rst")):
        if "_build" in path.relative_to(folder).parts:
            continue
        page = path.read_text(encoding="utf-8")
        try:
            renewed, stale = renew(page)
        except ValueError as error:
            parser.error(f"{os.path.relpath(path)}: {error}")
        for name in stale:
            print(f"{os.path.relpath(path)}: {name} {'is stale' if check else 'is renewed'}")
        if check:
            status = 1 if stale else status
        elif stale:
            path.write_text(renewed, encoding="utf-8")
    for name, drawing in DRAWINGS.items():
        path = folder / "images" / f"{name}.svg"
        drawn = drawing().svg
        if path.exists() and path.read_text(encoding="utf-8") == drawn:
            continue
        print(f"{os.path.relpath(path)} {'is stale' if check else 'is renewed'}")
        if check:
            status = 1
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(drawn, encoding="utf-8")
    if status:
        print("to renew them: python docs/from_code.py")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
