"""
The inputs in ``fuzz/corpus``, played through their targets, without atheris.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import ModuleType

from twisted.trial.unittest import SynchronousTestCase

from fuzz import (
    client_handshake,
    files,
    frames,
    payloads,
    pdus,
    records as fuzzed_records,
    run,
    server_handshake,
    streams,
)
from fuzz.run import TARGETS
from sodiumtwist.core import base
from sodiumtwist.core.v1 import messages, records
from sodiumtwist.core.v2 import asker, inner_bindings, messages as payload_messages, pdus as v2_pdus, sealing, veil
from sodiumtwist.transfer.tree import messages as file_messages, pieces as file_pieces

ROOT = Path(__file__).parent.parent
CORPUS = ROOT / "fuzz" / "corpus"


def play(target: ModuleType) -> int:
    """
    Play the corpus of one target.

    :return: how many inputs that were.
    """
    paths = sorted((CORPUS / target.__name__.split(".")[-1]).iterdir())
    for path in paths:
        try:
            target.one_input(path.read_bytes())
        except Exception as error:
            raise AssertionError(f"{path}: {error!r}") from error
    return len(paths)


class CorpusTests(SynchronousTestCase):
    """
    Nothing is found.
    """

    def test_server_handshake(self) -> None:
        self.assertGreater(play(server_handshake), 20)

    def test_client_handshake(self) -> None:
        self.assertGreater(play(client_handshake), 10)

    def test_streams(self) -> None:
        self.assertGreater(play(streams), 50)

    def test_frames(self) -> None:
        self.assertGreater(play(frames), 60)

    def test_payloads(self) -> None:
        self.assertGreater(play(payloads), 60)

    def test_records(self) -> None:
        self.assertGreater(play(fuzzed_records), 60)

    def test_pdus(self) -> None:
        self.assertGreater(play(pdus), 90)

    def test_files(self) -> None:
        self.assertGreater(play(files), 50)

    def test_all_targets(self) -> None:
        """Each target is run, has a corpus and is played here."""
        targets = {path.stem for path in (ROOT / "fuzz").glob("*.py") if "\ndef one_input(" in path.read_text()}
        self.assertEqual(targets, set(TARGETS))
        self.assertEqual({path.name for path in CORPUS.iterdir()}, targets)
        self.assertEqual(targets, {name.removeprefix("test_") for name in vars(CorpusTests)} & targets)

    def test_no_atheris(self) -> None:
        """Only programs need it."""
        program = f"import sys; from fuzz import {', '.join(TARGETS)}; sys.exit('atheris' in sys.modules)"
        self.assertEqual(subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=os.environ).returncode, 0)

    def test_skipped(self) -> None:
        """Without atheris it is said that nothing was run."""
        self.patch(run, "find_spec", lambda name: None)
        self.patch(sys, "argv", ["run.py"])
        with redirect_stdout(StringIO()) as said:
            self.assertEqual(run.main(), 0)
        self.assertRegex(said.getvalue(), "^skipped: atheris.* is not installed\n$")


class FindingTests(SynchronousTestCase):
    """
    Something would be found.
    """

    def broken(self, *arguments: object) -> None:
        raise struct.error("a bug")

    def assert_found(self, target: ModuleType) -> None:
        self.assertRaises(AssertionError, play, target)

    def test_other_exceptions(self) -> None:
        self.patch(messages, "_text_bytes", self.broken)
        self.assert_found(server_handshake)
        self.assert_found(client_handshake)
        self.patch(records, "unpack_timestamp", self.broken)
        self.assert_found(streams)
        self.patch(inner_bindings.InnerOpener, "_next_key", self.broken)
        self.assert_found(fuzzed_records)
        self.patch(payload_messages, "encode_text", self.broken)
        self.assert_found(payloads)
        self.patch(payload_messages._Fields, "skip_extensions", self.broken)
        self.assert_found(frames)
        self.patch(asker, "read_reason", self.broken)
        self.assert_found(pdus)
        self.patch(file_messages, "MsgspecError", KeyError)
        self.assert_found(files)

    def test_other_judgements(self) -> None:
        """An error where there should be none, and none where there should be one."""
        self.patch(messages, "VERSION", messages.VERSION + 1)
        self.assert_found(server_handshake)
        self.patch(messages, "TIMESTAMP_SIZES", range(17))
        self.assert_found(streams)
        self.patch(payload_messages, "PASSPHRASE_SIZE", 4097)
        self.assert_found(payloads)
        self.patch(veil, "MESSAGE_LIMIT", veil.MESSAGE_LIMIT + 1)
        self.assert_found(frames)
        self.patch(sealing, "MAX_BODY", sealing.MAX_BODY + 1)
        self.assert_found(fuzzed_records)
        self.patch(v2_pdus, "_RULES", dict.fromkeys(v2_pdus._RULES, v2_pdus.Rule(numbered=True)))
        self.assert_found(pdus)
        self.patch(file_pieces, "_ZERO", bytes([0, 0, 1]))
        self.assert_found(files)

    def test_late_events(self) -> None:
        """After an error."""
        self.patch(base.Connection, "close", lambda self: None)
        self.assert_found(client_handshake)
        self.assert_found(streams)
