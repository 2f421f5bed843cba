"""
The page of limits: it has all of them, with the numbers of the code, and what changes them does.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterator
from enum import EnumMeta
from fractions import Fraction
from operator import attrgetter
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import sodiumtwist
from sodiumtwist.admission import argon2
from sodiumtwist.core import connection
from sodiumtwist.programs import tunneltap
from sodiumtwist.programs.client_options import PingOptions
from sodiumtwist.programs.tap import LIMITS, Options

from . import NO_FOLDERS
from .pages import rows
from .processes import PUBLIC
from .test_documented_names import find
from .test_layering import PACKAGE, name_of

#: Numbers among the package's constants that bound nothing, and why they have no row in the table of limits.
NO_LIMITS = {
    "the marks of the protocol and of its version": "core.v1.messages.MAGIC core.v1.messages.VERSION",
    "what a record's head is made of": "core.v2.sealing.HEAD_SIZE core.v2.sealing.REKEY",
    "sizes of fields, which the page on the wire has": """
        core.keys.KEY_SIZE core.v1.messages.NONCE_SIZE core.v1.messages.STREAM_HEADER_SIZE
        core.v1.messages.STREAM_OVERHEAD core.v1.messages.SEAL_OVERHEAD core.v1.messages.HEADER_SIZE
        core.v1.messages.CLIENT_AUTH_SIZE core.v1.messages.SERVER_HELO_SIZE
        core.v1.messages.ENCRYPTED_HEADER_SIZE core.v1.messages.PDU_OVERHEAD
        transfer.acknowledgements.ACKNOWLEDGEMENT_SIZE
        core.v2.chacha.TAG_SIZE core.v2.agreement.ENCAPSULATION_KEY_SIZE core.v2.agreement.CIPHERTEXT_SIZE
        core.v2.pdus.HEADER_SIZE core.v2.pdus.CODE_SIZE
        core.v2.veil.SALT_SIZE core.v2.veil.SEALED_SIZE_SIZE core.v2.veil.OPENING_SIZE
    """,
    "kinds of PDUs, and what else their headers hold": """
        core.v2.pdus.WELCOME core.v2.pdus.REFUSED core.v2.pdus.DATA core.v2.pdus.PING core.v2.pdus.PONG
        core.v2.pdus.REQUEST core.v2.pdus.ANSWER core.v2.pdus.FAILURE core.v2.pdus.END core.v2.pdus.PADDING
        core.v2.pdus.DRAIN core.v2.pdus.ABORT core.v2.pdus.CANCEL core.v2.pdus.MORE core.v2.pdus.REQUEST_PART
        core.v2.pdus.ANSWER_PART core.v2.pdus.UNKNOWN core.v2.pdus.PASSED_OVER core.v2.states.GIVE_UP
        core.v2.pdus.HIGHEST
    """,
    "descriptors of a worker": "operation.orders.SHARED operation.orders.FIRST_SOCKET",
    "the size of a digest": "transfer.tree.messages.DIGEST_SIZE",
    "the numbers of suites": "core.v2.suites.AEGIS_256 core.v2.suites.CHACHA20_POLY1305",
    "reasons not to read, which are summed up": """
        protocol.reading.APPLICATION protocol.reading.WRITING protocol.reading.LOGIN protocol.reading.OVER
        protocol.reading.BEHIND protocol.reading.CLOSED protocol.reading.CHOKED
    """,
    "tags of secretstream's messages": """
        core.v1.secretstream.TAG_MESSAGE core.v1.secretstream.TAG_REKEY core.v1.secretstream.TAG_FINAL
    """,
    "no limit where one is asked for": "core.base.ALL",
    "sizes of hashes": "core.v1.handshake.FINGERPRINT_SIZE core.v2.handshake.FINGERPRINT_SIZE",
    "the port of servers": "contacts.addresses.DEFAULT_PORT",
    "the version that is spoken": "protocol.factories.VERSION",
    "a code of version 2": "core.errors.SHUTTING_DOWN",
    "how a file is opened": "transfer.tree.walking.OPEN_FLAGS",
    "the marks of a database": """
        admission.replay_database.APPLICATION_ID admission.replay_database.SCHEMA_VERSION
    """,
    "exit statuses, which the page on sodiumtwist has": """
        programs.exits.EXIT_USAGE programs.exits.EXIT_NOT_CONNECTED programs.exits.EXIT_REFUSED
        programs.exits.EXIT_BROKEN programs.exits.EXIT_NOT_STORED programs.exits.EXIT_INTERRUPTED
        programs.exits.EXIT_OUTPUT_LOST programs.exits.EXIT_OUTPUT_GONE programs.exits.EXIT_TOO_MANY_FAILURES
        programs.exits.EXIT_NO_ROOM programs.exits.EXIT_STOPPING programs.exits.EXIT_STORAGE
    """,
}


#: What takes limits of those that use the core alone.
OF_THE_CORE = (connection.Bounds, connection.RecentSalts, connection.Version2)


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class LimitTests(SynchronousTestCase):
    """The tables of limits."""

    # What is in KiB has that unit in the code, too; and what is in nanoseconds.
    UNITS = {"": 1, "bytes": 1, "s": 1, "ns": 1, "KiB": 1, "MiB": 1 << 20, "GiB": 1 << 30}

    def value(self, where: str) -> Any:
        named = re.fullmatch(r"``(.*): ([\w.]+)(?:\((\w+)\))?``", where)
        assert named is not None, where
        path, name, argument = named.groups()
        found = find(path, name)
        if argument is not None:
            return inspect.signature(found).parameters[argument].default
        return found.cache_parameters()["maxsize"] if hasattr(found, "cache_parameters") else found

    def table(self) -> list[list[str]]:
        return [row for row in rows("docs/reference/limits.rst") if row[0] != "Limit"]

    def changed_by(self) -> Iterator[tuple[str, str]]:
        """Where a limit stands, and a name of what changes it."""
        for _, _, where, how in self.table():
            self.assertRegex(how, r"\A(–|``[^`]+``(, ``[^`]+``)*)\Z", where)
            for name in re.findall(r"``([^`]+)``", how):
                yield where.strip("`"), name

    def test_numbers(self) -> None:
        """They have the numbers of the code."""
        self.assertGreater(len(self.table()), 60)
        for what, default, where, _ in self.table():
            number, _, unit = default.partition(" ")
            self.assertEqual(float(Fraction(number.replace(",", ""))) * self.UNITS[unit], self.value(where), what)

    def test_constants(self) -> None:
        """Each number among the package's constants has a row, or is known to be none."""
        listed = [where for _, _, where, _ in self.table()]
        known = {name for names in NO_LIMITS.values() for name in names.split()}
        found = set()
        for file in PACKAGE.rglob("*.py"):
            path, module = file.relative_to(PACKAGE).as_posix(), name_of(file)
            for name in re.findall(r"^([A-Z][A-Z_0-9]*)(?:: .*)? = ", file.read_text(encoding="utf-8"), re.M):
                if name == "TYPE_CHECKING":
                    continue  # which packages take back
                if is_number(find(path, name)):
                    found.add(f"{module}.{name}")
                    if f"{module}.{name}" not in known:
                        self.assertIn(f"``{path}: {name}``", listed)
        self.assertEqual(known - found, set())

    def test_fields_and_arguments(self) -> None:
        """So has each number that may be given in code, but for the version of the protocol."""
        listed = {where.strip("`") for _, _, where, _ in self.table()}
        named = {name for _, name in self.changed_by()}
        for given in (*(getattr(sodiumtwist, name) for name in sodiumtwist.__all__), *OF_THE_CORE):
            name = given.__name__
            try:
                parameters = inspect.signature(given).parameters.values()
            except ValueError:
                continue  # an exception or an interface
            if isinstance(given, EnumMeta):
                continue  # its parameters are Python's
            path = given.__module__.removeprefix("sodiumtwist.").replace(".", "/") + ".py"
            for parameter in parameters:
                if is_number(parameter.default) and parameter.name != "version":
                    where = {f"{path}: {name}.{parameter.name}", f"{path}: {name}({parameter.name})"}
                    self.assertTrue(where & listed or f"{name}({parameter.name}=)" in named, where)

    def test_limit_names(self) -> None:
        """Each name of ``--limit`` stands where its limit is, and no other does."""
        tunnels = {
            name.partition(": ")[2]: where for where, name in self.changed_by() if name.startswith("sodium-tunnel: ")
        }
        self.assertEqual(set(tunnels), set(tunneltap.LIMITS))
        for name, where in tunnels.items():
            kind, argument = tunneltap.LIMITS[name]
            path = kind.__module__.removeprefix("sodiumtwist.").replace(".", "/") + ".py"
            self.assertEqual(where, f"{path}: {kind.__name__}.{argument}")
        bare = {(where, name) for where, name in self.changed_by() if re.fullmatch(r"[a-z][a-z-]*", name)}
        self.assertEqual({name for _, name in bare}, set(LIMITS))
        for where, name in bare:
            kind, argument = LIMITS[name]
            self.assertRegex(
                where, rf": ({kind.__name__}\.{argument}|Replay\w+\({argument}\)|(\w+_)?{argument.upper()})$"
            )

    def test_options(self) -> None:
        """What is said to change a limit does."""
        self.patch(os, "environ", dict(NO_FOLDERS))  # keys and passphrases may come from there
        for where, name in self.changed_by():
            argument = where.rpartition(".")[2]
            if name.startswith("--"):
                options = Options()
                options.parseOptions(["--discard", name, "7"])
                settings = options.settings
                # Of times and of uploads.
                holder: object = settings.timeouts
                field = argument
                if not hasattr(holder, field):
                    holder, field = settings, name.strip("-").replace("-", "_")
                self.assertEqual(getattr(holder, field), 7, name)
            elif name.startswith("sodiumtwist --"):
                client = PingOptions()
                client.parseOptions([name.split()[1], "7", "--to", "5555", "--server-key", PUBLIC])
                self.assertEqual(getattr(client.settings, name.partition("--")[2]), 7, name)
            elif setting := re.fullmatch(r"argon2:FILE:(\w+)=", name):
                self.assertEqual(
                    inspect.signature(argon2.Argon2File).parameters[setting[1]].default, self.value(f"``{where}``")
                )
                self.assertRaisesRegex(
                    FileNotFoundError, "'/nowhere'", argon2.from_argument, f"/nowhere:{setting[1]}=7"
                )
            elif call := re.fullmatch(r"([\w.]+)\((\w+)=\)", name):
                kinds = {kind.__name__: kind for kind in OF_THE_CORE}
                parameters = inspect.signature(kinds.get(call[1]) or attrgetter(call[1])(sodiumtwist)).parameters
                self.assertEqual(parameters[call[2]].default, self.value(f"``{where}``"), name)
            elif not name.startswith("sodium-tunnel: "):
                self.assertIn(name, LIMITS)
