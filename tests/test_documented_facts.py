"""
Numbers and words that the documentation tells in passing: they are those of the code.
"""

from __future__ import annotations

import inspect
import signal
import struct

from twisted.trial.unittest import SynchronousTestCase

import sodiumtwist
from sodiumtwist.admission import argon2
from sodiumtwist.core.credentials import LOGIN_SIZE, PASSPHRASE_SIZE, TEXT_SIZE
from sodiumtwist.core.server import PENDING_LIMIT_2
from sodiumtwist.core.v1 import messages
from sodiumtwist.core.v2 import incoming, outgoing, pdus, sealing, veil
from sodiumtwist.core.v2.agreement import CIPHERTEXT_SIZE, ENCAPSULATION_KEY_SIZE
from sodiumtwist.core.v2.handshake import TIME_TOLERANCE
from sodiumtwist.core.v2.messages import CREDENTIALS_STEP, PADDING_LIMIT
from sodiumtwist.core.v2.noise import XK_HFS
from sodiumtwist.endpoints.strings import CLIENT_KEYWORDS, SERVER_KEYWORDS
from sodiumtwist.programs import exits
from sodiumtwist.protocol import requests
from sodiumtwist.transfer.acknowledgements import ACKNOWLEDGEMENT_SIZE, acknowledgement
from sodiumtwist.transfer.tree import messages as files, names, pieces, reading, receiving

from .pages import read_page, rows


class FactTests(SynchronousTestCase):
    """Exit statuses, keywords, defaults, and the wire."""

    def test_exit_statuses(self) -> None:
        listed = [int(row[0]) for row in rows("docs/reference/sodiumtwist.rst") if row[0].isdecimal()]
        known = [getattr(exits, name) for name in dir(exits) if name.startswith("EXIT_")]
        ended = [128 + number for number in (signal.SIGHUP, signal.SIGTERM)]
        self.assertEqual(listed, sorted([0, *known, *ended]))

    def test_layouts(self) -> None:
        """The fields of the wire follow each other, and have the sizes of the structures."""
        tables: list[list[tuple[int, int]]] = []
        for row in rows("docs/explanation/wire.rst"):
            if row[0] == "Offset":
                tables.append([])
            else:
                tables[-1].append((int(row[0]), int(row[1])))
        for table in tables:
            self.assertEqual([offset for offset, _ in table], [sum(s for _, s in table[:n]) for n in range(len(table))])
        sizes = [sum(size for _, size in table) for table in tables]
        self.assertEqual(sizes, [messages.CLIENT_AUTH_SIZE, messages.SERVER_HELO_SIZE, messages.TIMESTAMP_SIZES[0]])

    def test_records(self) -> None:
        """The suites of version 2 and what records have."""
        ciphers = ("AEGIS-256", "ChaCha20-Poly1305")
        suites = {row[0]: row[2] for row in rows("docs/explanation/wire-2.rst") if row[1] in ciphers}
        self.assertEqual(suites, {str(suite): str(size) for suite, size in sealing.TAG_SIZES.items()})
        page = read_page("docs/explanation/wire-2.rst")
        for fact in (f"at most {sealing.MAX_BODY:,}", f'"{sealing.REKEY_PERSON.decode()}"', "1 GiB has left"):
            self.assertIn(fact, page)

    def test_handshake(self) -> None:
        """The handshake of version 2: sizes, and what is hashed with the keys."""
        page = " ".join(read_page("docs/explanation/wire-2.rst").split())
        for fact in (
            XK_HFS.name.decode(),
            f"1 to {veil.MESSAGE_LIMIT} bytes",
            f"random size, 0 to {PADDING_LIMIT - 1}",
            f"to a multiple of {CREDENTIALS_STEP}",
            f"{ENCAPSULATION_KEY_SIZE} bytes, sealed",
            f"{CIPHERTEXT_SIZE} bytes, sealed",
            f"A login has up to {LOGIN_SIZE} bytes and a passphrase up to {PASSPHRASE_SIZE}",
            f"reads {veil.OPENING_SIZE} bytes",
            '"sodiumtwist2veil"',
            '"sodiumtwist-data"',
            "1326 to 2350 bytes",
        ):
            self.assertIn(fact, page)

    def test_pdus(self) -> None:
        """The PDUs of version 2, and what a peer may make us keep."""
        bounds, timeouts = incoming.Bounds(), sodiumtwist.Timeouts()
        page = " ".join(read_page("docs/explanation/wire-2.rst").split())
        for fact in (
            f"Each has a header of {pdus.HEADER_SIZE} bytes",
            f"at most {pdus.LINE_SIZE} bytes, for people",
            f"A code has {pdus.CODE_SIZE} bytes",
            f"Types from {pdus.PASSED_OVER} on, which nobody knows yet, are passed over",
            f"a type below {pdus.PASSED_OVER} that is not known",
            f"We send what has more than {outgoing.PART_SIZE >> 10} KiB in parts",
            f"FAILURE with code {pdus.Code.CANCELLED:d}",
            f"A message has at most {bounds.message >> 20} MiB",
            f"A request beyond that fails with code {pdus.Code.TOO_LARGE:d}",
            f"put together has at most {bounds.connection >> 20} MiB",
            f"What does not fit fails with code {pdus.Code.NO_ROOM:d}",
            f"At most {bounds.requests} requests are unanswered",
            f"There may be {bounds.refused:,} of these",
            f"by an ABORT with code {pdus.Code.NO_ROOM:d}",
            f"While {bounds.pongs} PONGs have not left",
            f"{PENDING_LIMIT_2 >> 10} KiB of it at most",
            f"before it has decided sends REFUSED with code {pdus.Code.SHUTTING_DOWN:d}",
            f"can't decide in time REFUSED with code {pdus.Code.NO_ROOM:d}",
            f"it sends ABORT with code {pdus.Code.SHUTTING_DOWN:d}",
            f"gets ABORT with code {pdus.Code.PROTOCOL_BROKEN:d}",
            f"{timeouts.authentication:g} seconds until the client is let in",
            f"a PING after {timeouts.ping_interval:g} seconds, then every {timeouts.ping_interval:g} to 119 seconds",
            f"{timeouts.inactivity:g} seconds without a valid record",
        ):
            self.assertIn(fact, page)

    def test_files(self) -> None:
        """The page on files: layouts, numbers, and what the requests are answered with."""
        page = " ".join(read_page("docs/explanation/files.rst").split())
        self.assertEqual(pieces.HEADER.format, ">IB3sQI")
        self.assertEqual((pieces.HEADER.size, struct.calcsize(">IB3s"), struct.calcsize(">IB3sQ")), (20, 8, 16))
        for fact in (
            f"number (from 0); flags (from 4); zero (from 5); offset (from 8); size (from 16); "
            f"data (from {pieces.HEADER.size})",
            f"Flags: {pieces.LAST} is LAST, nothing of this file follows. {pieces.VOID} is VOID",
            f"flags that are not 0, {pieces.LAST} or {pieces.LAST | pieces.VOID}",
            f"BLAKE2b with {files.DIGEST_SIZE} bytes",
            *(f"{getattr(files, name)}, {name} -" for name in ("SEND", "RESUME", "HAVE", "REFUSED")),
            f"An announcement has at most {files.ENTRIES:,} entries. Our senders end one at "
            f"{files.ANNOUNCEMENT_SIZE:,} bytes of paths",
            f"At most {files.UNSETTLED:,} entries may be announced and not settled, with at most "
            f"{files.UNSETTLED_SIZE >> 20} MiB of paths. An ``announce`` beyond that fails "
            f"with code {pdus.Code.NO_ROOM:d}",
            f"``finish`` tells {files.ENTRIES:,}, and counts",
            f"A receiver keeps {receiving.WAITING_LIMIT >> 20} MiB for a disk that is slow",
            # While one job is being sent, the next one is read.
            f"Our senders read {2 * reading.JOB_SIZE >> 20} MiB ahead",
            f"a part of more than {names.PART_LIMIT} bytes, more than {names.DEPTH_LIMIT} parts",
            f"A message of more than {outgoing.PART_SIZE >> 10} KiB leaves in parts",
            f"ends the connection by ABORT with code {pdus.Code.PROTOCOL_BROKEN:d}",
            f"with a code and a line of :doc:`wire-2`: {pdus.Code.NOT_SUPPORTED:d} where a server does not do that",
        ):
            self.assertIn(fact, page)

    def test_defaults(self) -> None:
        """Pages that tell a default in passing tell what it is."""
        limits, timeouts, rekey = sodiumtwist.Limits(), sodiumtwist.Timeouts(), sodiumtwist.RekeyAfter()
        memory, database = (
            inspect.signature(kind).parameters["limit"].default
            for kind in (sodiumtwist.ReplayMemory, sodiumtwist.ReplayDatabase)
        )
        self.assertEqual((limits.failures_per_address, limits.failure_seconds), (limits.failures_per_login, 60))
        self.assertEqual((argon2.CONCURRENCY, rekey.size, rekey.seconds), (2, 1 << 30, 3600))
        for page, *facts in (
            (
                "SECURITY.rst",
                f"{limits.failures_per_login} failures in a minute from one address or for one login",
                f"two at a time, {argon2.QUEUE} more wait",
                f"takes nothing and sends nothing for {timeouts.inactivity:g} s ends",
                f"{messages.SEALED_CLIENT_AUTH_SIZE} bytes, {timeouts.authentication:g} seconds and one X25519 each",
                "after 1 GiB or an hour",
                f"packets have {messages.SEALED_CLIENT_AUTH_SIZE} and {messages.SEALED_SERVER_HELO_SIZE} bytes",
                f"reads {veil.OPENING_SIZE} bytes and tries to open them",
                f"a login has up to {LOGIN_SIZE} bytes and a passphrase up to {PASSPHRASE_SIZE}, so",
                f"in version 1 both have up to {TEXT_SIZE}",
                f"more than a day ({TIME_TOLERANCE:,.0f} seconds) off",
                f"says after {timeouts.authentication:g} seconds that this may be why",
            ),
            (
                "docs/explanation/versions.rst",
                f"closes after {timeouts.authentication:g} seconds at the latest",
                f"answers may have {incoming.Bounds().message >> 20} MiB",
            ),
            (
                "docs/howto/logins.rst",
                f"Two logins are verified at once, in threads, for some 80 ms and 64 MiB each, and {argon2.QUEUE} more",
                f"the last {memory:,} of them, until it ends",
                f"it remembers {database:,}, also after a restart",
            ),
            (
                "docs/howto/embed.rst",
                f"at most {requests.REQUEST_LIMIT} unanswered",
                f"at most {requests.CONCURRENCY} of one connection at once",
                f"at most {messages.WINDOW} bytes",
            ),
            ("docs/howto/systemd.rst", f"so that {limits.connections:,} connections find room"),
            (
                "docs/howto/testing.rst",
                f"a PING comes after {timeouts.ping_interval:g} seconds",
                f"keep silent for {timeouts.inactivity:g} is gone",
            ),
        ):
            text = " ".join(read_page(page).split())
            for fact in facts:
                self.assertIn(fact, text, page)

    def test_wire(self) -> None:
        """The page on the wire has the numbers of the code."""
        page = " ".join(read_page("docs/explanation/wire.rst").split())
        types = ", ".join(f"{pdu_type.value} {pdu_type.name}" for pdu_type in messages.PDUType)
        for fact in (
            f"Types: {types}.",
            f"magic (from 0, {messages.MAGIC:X}); type (from 4, {min(messages.PDUType)} to {max(messages.PDUType)}); "
            f"size (from 8); body (from {messages.HEADER_SIZE}, 0 to {messages.WINDOW} bytes).",
            f"version, ``{messages.VERSION:X}``",
            f"header, encrypted ({messages.ENCRYPTED_HEADER_SIZE}); "
            f"body, encrypted (size + {messages.STREAM_OVERHEAD})",
            f"An empty body has its {messages.STREAM_OVERHEAD} bytes",
            f"CLIENT_AUTH, sealed to the server's key: {messages.SEALED_CLIENT_AUTH_SIZE} bytes",
            f"SERVER_HELO, sealed to the client's key: {messages.SEALED_SERVER_HELO_SIZE} bytes",
            f"{messages.CLIENT_AUTH_SIZE} bytes before the seal, which adds {messages.SEAL_OVERHEAD}:",
            f"{messages.SERVER_HELO_SIZE} bytes before the seal, which adds {messages.SEAL_OVERHEAD}:",
            f"header: type {messages.PDUType.CLIENT_AUTH:d}, size {messages.CLIENT_AUTH_SIZE - messages.HEADER_SIZE}",
            f"header: type {messages.PDUType.SERVER_HELO:d}, size {messages.SERVER_HELO_SIZE - messages.HEADER_SIZE}",
            f"a DATA of {ACKNOWLEDGEMENT_SIZE} bytes, ``{acknowledgement(messages.WINDOW).decode().rstrip(chr(0))}``",
        ):
            self.assertIn(fact, page)

    def test_keywords(self) -> None:
        """The page on endpoint strings has all keywords."""
        names = [row[0].strip("`") for row in rows("docs/reference/endpoints.rst")]
        listed = [name for name in names[names.index("Keyword") :] if name != "Keyword"]
        self.assertEqual(listed, [*SERVER_KEYWORDS, *CLIENT_KEYWORDS])
