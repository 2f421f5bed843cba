"""
Invitations are added to the file of keys, and used, in this process; whatever happens to the file meanwhile.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.cred.credentials import UsernamePassword
from twisted.cred.portal import Portal
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import AuthenticationFailed, AuthorizedKeysFile, KeyPair, LocalProtocolError, SingleLogin, SodiumError
from sodiumtwist.admission import joining, replacing, updating
from sodiumtwist.admission.authorized import parse_authorized_keys
from sodiumtwist.admission.checkers import ClientLogin
from sodiumtwist.admission.decision import Decision, Verdict
from sodiumtwist.admission.invitations import AGAIN, KEPT, Invitation, hash_secret, passphrase_of
from sodiumtwist.admission.joining import (
    OTHER_LOGIN,
    UNKNOWN,
    Claim,
    Finding,
    InvitationRefused,
    add_invitation,
    look_if_writable,
    use_invitations,
)
from sodiumtwist.core.connection import Code
from sodiumtwist.core.events import AuthenticationRequested
from sodiumtwist.describe.fingerprints import fingerprint

from ..checkers import AnyChecker
from ..logs import logged, refusals
from ..pair import LOGIN, Pair, make_client_factory, make_server_factory
from .test_decision import Realm, Rules
from .test_invitations import ALICE, BOB, DIGEST, SECRET, THEN
from .test_reading_apart import Threads

NOW = THEN - 3600
CLAIM = Claim(DIGEST, "ann", ALICE)
OPEN = Invitation(DIGEST, "ann", THEN)
OTHER = hash_secret(bytes(16))
USED_LINE = f"invitation={DIGEST.hex()} used=2026-11-29T07:00:00Z {ALICE.hex()} ann\n"
KEY_LINE = f"protocol=2 {ALICE.hex()} ann  # joined 2026-11-29\n"


class FileTestCase(SynchronousTestCase):
    """Has a file of keys, in a folder of its own."""

    def setUp(self) -> None:
        self.folder = os.path.realpath(self.mktemp())
        os.mkdir(self.folder)
        self.path = os.path.join(self.folder, "keys")

    def write(self, text: str, mode: int = 0o600) -> None:
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(self.path, mode)

    def text(self) -> str:
        with open(self.path, encoding="utf-8", newline="") as file:
            return file.read()

    def assert_only_the_file(self) -> None:
        """Nothing else was left in its folder."""
        self.assertEqual(os.listdir(self.folder), ["keys"])


class AddTests(FileTestCase):
    """What ``sodiumtwist invite`` does with the file."""

    def test_first(self) -> None:
        """The file is made, for its owner alone."""
        add_invitation(self.path, OPEN, NOW)
        self.assertEqual(self.text(), f"{OPEN.line}  # invited 2026-11-29\n")
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        self.assert_only_the_file()

    def test_kept(self) -> None:
        """All else stays: keys, comments, invitations, the mode. What is over goes."""
        old = replace(OPEN, digest=OTHER, time=NOW - KEPT)
        recent = [replace(OPEN, digest=OTHER, time=NOW - KEPT + 1), replace(OPEN, digest=bytes(32), key=BOB)]
        kept = f"# the office\n\n{BOB.hex()} bob\r\n" + "".join(f"{each.line} # x\n" for each in recent)
        for text in (f"{kept}", f"{kept}{replace(old, digest=ALICE).line}\n", f"\t{old.line.replace('00', '00')}\n"):
            self.write(text, 0o644)
            add_invitation(self.path, OPEN, NOW)
            expected = kept if text.startswith("#") else ""
            self.assertEqual(self.text(), f"{expected}{OPEN.line}  # invited 2026-11-29\n")
            self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o644)

    def test_no_list(self) -> None:
        """A file that is none is left alone."""
        for text in ("ann:secret\n", f"{BOB.hex()} bob"):
            self.write(text)
            error = self.assertRaises(SodiumError, add_invitation, self.path, OPEN, NOW)
            self.assertTrue(str(error).startswith(f"{self.path}: line 1: "), error)
            self.assertEqual(self.text(), text)


class UseTests(FileTestCase):
    """What a server does with the file."""

    def setUp(self) -> None:
        super().setUp()
        self.write(f"# the office\n{OPEN.line} # her laptop\n{BOB.hex()} bob\n", 0o640)

    def use(self, *claims: Claim, now: float = NOW) -> list[Finding | str]:
        outcomes = use_invitations(self.path, claims, now)
        return [str(each) if isinstance(each, InvitationRefused) else each for each in outcomes]

    def test_used(self) -> None:
        """The key is listed and the invitation used up, in one file; all else stays, its mode as well."""
        self.assertEqual(self.use(CLAIM), [Finding.OPEN])
        self.assertEqual(self.text(), f"# the office\n{USED_LINE[:-1]} # her laptop\n{KEY_LINE}{BOB.hex()} bob\n")
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o640)
        self.assert_only_the_file()
        keys = parse_authorized_keys(self.text())
        self.assertTrue(keys.allows(ALICE, "ann", 2))
        self.assertFalse(keys.allows(ALICE, "ann", 1))
        self.assertFalse(keys.allows(ALICE, "bob", 2))

    def test_again(self) -> None:
        """The same key comes in again, while it is listed; nothing is written. No other key does."""
        self.use(CLAIM)
        before = os.stat(self.path)
        used = "the invitation was used on 2026-11-29 07:00 UTC; ask for a new one"
        self.assertEqual(self.use(CLAIM, replace(CLAIM, public_key=BOB)), [Finding.AGAIN, used])
        # For an hour whoever else is asked in vain; where the clock was set back, too.
        for now in (NOW - 60, NOW + AGAIN - 1):
            self.assertEqual(self.use(CLAIM, now=now), [Finding.AGAIN])
        self.assertEqual(self.use(CLAIM, now=NOW + AGAIN), [Finding.LISTED])
        self.assertEqual(os.stat(self.path), before)
        # Whoever takes out a key means it.
        self.write(self.text().replace(KEY_LINE, ""))
        self.assertEqual(self.use(CLAIM), [used])

    def test_refused(self) -> None:
        """One line each, and the file stays as it is."""
        before = self.text()
        expired = "the invitation expired on 2026-11-29 08:00 UTC; ask for a new one"
        self.assertEqual(self.use(replace(CLAIM, digest=OTHER), replace(CLAIM, login="bob")), [UNKNOWN, OTHER_LOGIN])
        self.assertEqual(self.use(CLAIM, now=THEN), [expired])
        self.assertEqual(self.text(), before)

    def test_together(self) -> None:
        """Several that came at the same time: one change, and of one secret the first client alone."""
        with open(self.path, "a") as file:
            file.write(replace(OPEN, digest=OTHER, login="cid").line + "\n")
        second = Claim(OTHER, "cid", BOB)
        synced: list[int] = []
        self.patch(os, "fsync", synced.append)
        outcomes = self.use(CLAIM, replace(CLAIM, public_key=BOB), CLAIM, second)
        used = "the invitation was used on 2026-11-29 07:00 UTC; ask for a new one"
        self.assertEqual(outcomes, [Finding.OPEN, used, Finding.AGAIN, Finding.OPEN])
        # The file and its folder.
        self.assertEqual(len(synced), 2)
        keys = parse_authorized_keys(self.text())
        self.assertTrue(keys.allows(ALICE, "ann", 2) and keys.allows(BOB, "cid", 2))
        self.assertFalse(keys.allows(BOB, "ann", 2))

    def test_listed_before(self) -> None:
        """A key that gets in anyhow keeps what it may, version 1 included."""
        self.write(f"{OPEN.line}\n{ALICE.hex()}\n")
        self.assertEqual(self.use(CLAIM), [Finding.OPEN])
        self.assertEqual(self.text(), f"{USED_LINE}{ALICE.hex()}\n")

    def test_login_in_quotes(self) -> None:
        """Its key is for that login alone."""
        for login in ('ann "at" night # 2', "protocol=2", "e\u0301"):
            self.write(f"{replace(OPEN, login=login).line}\n")
            sent = "\u00e9" if len(login) == 2 else login
            self.assertEqual(self.use(replace(CLAIM, login=sent)), [Finding.OPEN])
            keys = parse_authorized_keys(self.text())
            self.assertEqual([entry[1] for entry in keys._entries], [login])
            self.assertTrue(keys.allows(ALICE, sent, 2))

    def test_order(self) -> None:
        """A loss of power at any moment leaves the old file or the new one; and the folder is synced last."""
        done: list[str] = []

        def noting(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
            def called(*arguments: Any) -> Any:
                is_folder = name == "sync" and stat.S_ISDIR(os.fstat(arguments[0]).st_mode)
                done.append("sync folder" if is_folder else name)
                return call(*arguments)

            return called

        self.patch(os, "fsync", noting("sync", os.fsync))
        self.patch(os, "replace", noting("rename", os.replace))
        self.use(CLAIM)
        self.assertEqual(done, ["sync", "rename", "sync folder"])

    def test_full_disk(self) -> None:
        """Nothing is used up, and nothing left behind."""
        before = self.text()

        def full(fd: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        filling = self.patch(os, "fsync", full)
        error = self.assertRaises(OSError, self.use, CLAIM)
        filling.restore()
        self.assertEqual((error.errno, error.filename), (errno.ENOSPC, self.path))
        self.assertEqual(self.text(), before)
        self.assert_only_the_file()
        self.assertEqual(self.use(CLAIM), [Finding.OPEN])

    def test_folder_not_synced(self) -> None:
        """The change is there, for all servers; whoever runs this one is told."""

        def broken(path: str) -> None:
            raise OSError(errno.EIO, "Input/output error")

        self.patch(updating, "sync_directory", broken)
        told: list[str] = []
        self.assertEqual(use_invitations(self.path, [CLAIM], NOW, told.append), [Finding.OPEN])
        (line,) = told
        self.assertIn("a loss of power may undo that: Input/output error", line)
        self.assertIn(KEY_LINE, self.text())

    def test_missing(self) -> None:
        """It is not made anew: an editor may just be putting a new one in its place."""
        os.unlink(self.path)
        self.assertRaises(FileNotFoundError, self.use, CLAIM)
        self.assertEqual(os.listdir(self.folder), [])

    def test_changed_at_the_last_moment(self) -> None:
        """By what knows nothing of the lock: its change stays, too."""
        added = f"{BOB.hex()} cid\n"
        times: list[int] = []

        def append(*arguments: Any) -> str | None:
            if not times:
                with open(self.path, "a") as file:
                    file.write(added)
            times.append(1)
            return take_over(*arguments)

        take_over = replacing.take_over
        self.patch(replacing, "take_over", append)
        self.assertEqual(self.use(CLAIM), [Finding.OPEN])
        self.assertEqual(
            self.text(), f"# the office\n{USED_LINE[:-1]} # her laptop\n{KEY_LINE}{BOB.hex()} bob\n{added}"
        )
        self.assertEqual(len(times), 2)
        self.assert_only_the_file()

    def test_changed_again_and_again(self) -> None:
        """That has an end."""
        self.patch(updating, "_identity", lambda status: object())
        error = self.assertRaises(LocalProtocolError, self.use, CLAIM)
        self.assertIn("something else changes it again and again", str(error))
        self.assert_only_the_file()

    def test_two_servers(self) -> None:
        """Of two that are given one secret at the same moment, one lets its client in."""
        outcomes: list[list[Finding | str]] = []
        ready = threading.Barrier(2)

        def server(key: bytes) -> None:
            ready.wait(60)
            outcomes.append(self.use(replace(CLAIM, public_key=key)))

        for number in range(5):
            self.write(f"{OPEN.line}\n")
            outcomes.clear()
            threads = [threading.Thread(target=server, args=(bytes([number + 7 * each]) * 32,)) for each in (1, 2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(sorted(map(str, outcomes))[1], str([Finding.OPEN]))
            self.assertEqual(len(parse_authorized_keys(self.text())._entries), 1)


class JoinTestCase(FileTestCase):
    """A login with an invitation, from the claim to the verdict, with threads that work when the test says so."""

    def setUp(self) -> None:
        super().setUp()
        self.write(f"{OPEN.line}\n")
        self.events = logged(self)
        self.threads = Threads()
        self.now = NOW
        self.rules = Rules()
        self.rules.checker = None
        self.file = AuthorizedKeysFile(self.path, reactor=self.threads, wall_clock=lambda: self.now)
        self.rules.authorized_keys = self.file
        self.verdicts: list[Verdict] = []

    def start(self, key: bytes = ALICE, *, login: str = "ann", secret: bytes = SECRET, version: int = 2) -> Decision:
        claim = AuthenticationRequested(login, passphrase_of(secret), key, version=version)
        decision = Decision(self.rules, claim, IPv4Address("TCP", "192.0.2.1", 4711))
        decision.decide(claim, True).addCallback(self.verdicts.append)
        return decision

    def work(self) -> None:
        while self.threads.jobs:
            self.threads.work()

    def verdict(self) -> Verdict:
        (verdict,) = self.verdicts
        return verdict

    def lines(self) -> list[str]:
        return [line for line in map(formatEvent, self.events) if line is not None]

    def assert_in(self, verdict: Verdict, key: bytes = ALICE) -> None:
        assert verdict.peer is not None, verdict
        self.assertEqual((verdict.peer.login, verdict.peer.public_key, verdict.peer.version), ("ann", key, 2))

    def assert_out(self, verdict: Verdict, told: str) -> None:
        """Refused with a line for whoever has the secret. It counts for the address, not for the login."""
        self.assertIsNone(verdict.peer)
        self.assertEqual((verdict.text, str(verdict.error), verdict.code), (told, told, Code.REFUSED))
        self.assertEqual((verdict.failed, verdict.login_tried, verdict.undecided), (True, False, False))


class DecisionTests(JoinTestCase):
    def test_joins(self) -> None:
        """It is let in when its key is listed, and the log says who that is."""
        decision = self.start()
        self.assertEqual(self.verdicts, [])
        self.assertTrue(decision.is_open)
        self.work()
        self.assert_in(self.verdict())
        self.assertEqual(self.text(), f"{USED_LINE}{KEY_LINE}")
        self.assertIn(
            f"'ann' has joined by an invitation, from 192.0.2.1:4711: key {ALICE.hex()}, "
            f"fingerprint {fingerprint(ALICE)}",
            self.lines(),
        )
        self.assertNotIn(SECRET.hex(), "".join(self.lines()))

    def test_checker_not_asked(self) -> None:
        """That once, whatever it says. Later it is, as ever."""
        asked: list[ClientLogin] = []

        def note(credentials: UsernamePassword) -> bytes:
            assert isinstance(credentials, ClientLogin)
            asked.append(credentials)
            return b""

        self.rules.checker = AnyChecker(note)
        self.start()
        self.work()
        self.assert_in(self.verdict())
        self.assertEqual(asked, [])
        for key, bound in ((ALICE, True), (BOB, False)):
            asked.clear()
            self.write(f"{BOB.hex()}\n{KEY_LINE}")
            claim = AuthenticationRequested("ann", "pass", key, version=2)
            Decision(self.rules, claim, IPv4Address("TCP", "192.0.2.1", 4711)).decide(claim, True)
            self.assertEqual([each.bound_key for each in asked], [bound])

    def test_long_ago(self) -> None:
        """Who has used it long ago comes in as all do: by the key alone, or when a checker says so."""
        self.start()
        self.work()
        self.verdicts.clear()
        self.now += AGAIN
        self.start()
        self.assert_in(self.verdict())
        for checker, comes_in in ((AnyChecker(lambda credentials: b""), True), (SingleLogin("ann", "pass"), False)):
            self.verdicts.clear()
            self.rules.checker = checker
            self.start()
            verdict = self.verdict()
            self.assertEqual((verdict.peer is not None, verdict.failed), (comes_in, not comes_in))
        self.assertEqual(self.threads.jobs, [])

    def test_refused(self) -> None:
        """Unknown, another login, expired: no thread is asked."""
        self.start(secret=bytes(16))
        self.start(login="bob")
        self.now = THEN
        self.start()
        for verdict, told in zip(
            self.verdicts,
            (UNKNOWN, OTHER_LOGIN, "the invitation expired on 2026-11-29 08:00 UTC; ask for a new one"),
            strict=True,
        ):
            self.assert_out(verdict, told)
        self.assertEqual(self.threads.jobs, [])

    def test_version_1(self) -> None:
        """Never, also where the key is listed."""
        self.write(f"{OPEN.line}\n{ALICE.hex()} ann\n")
        self.start(version=1)
        verdict = self.verdict()
        self.assertEqual(str(verdict.error), "an invitation is for version 2 of the protocol alone")
        self.assertEqual((verdict.failed, verdict.login_tried), (True, False))
        self.assertEqual(self.threads.jobs, [])

    def test_portal(self) -> None:
        """It alone gives what an application takes its users for, so nobody comes in past it."""
        self.rules.checker = Portal(Realm(), [SingleLogin("ann", "pass")])
        self.start()
        self.assert_out(self.verdict(), "the server takes no invitations, for its application has logins of its own")
        self.assertEqual(self.threads.jobs, [])

    def test_two_at_once(self) -> None:
        """The second waits for the first, and hears what came of that."""
        self.start()
        self.start(BOB)
        self.start()
        self.assertEqual(len(self.threads.jobs), 1)
        self.work()
        first, second, third = self.verdicts
        self.assert_in(first)
        self.assert_out(second, "the invitation was used on 2026-11-29 07:00 UTC; ask for a new one")
        self.assert_in(third)
        self.assertNotIn(BOB.hex(), self.text())

    def test_many_at_once(self) -> None:
        """They are two jobs at most: the first, and all others together."""
        for number in range(300):
            self.start(number.to_bytes(32, "big"))
        self.threads.work()
        self.assertEqual((len(self.verdicts), len(self.threads.jobs)), (1, 1))
        self.work()
        self.assertEqual(len(self.verdicts), 300)
        self.assertEqual(sum(verdict.peer is not None for verdict in self.verdicts), 1)

    def test_leaves(self) -> None:
        """Who leaves meanwhile is listed all the same, and the log says so; it comes in when it tries again."""
        decision = self.start()
        decision.cancel()
        self.verdicts.clear()
        self.work()
        self.assertIn(KEY_LINE, self.text())
        self.assertIn("has joined by an invitation", "".join(self.lines()))
        self.start()
        self.assert_in(self.verdict())

    def test_stopped_meanwhile(self) -> None:
        """
        When too many logins fail meanwhile, as others may do, nobody knows what came of it: a client that heard that it
        was not looked at would delete the key that is listed now, and the invitation is used up.
        """
        self.start().cancel()
        verdict = self.verdict()
        self.assertEqual((verdict.code, verdict.failed, verdict.undecided), (Code.NO_ROOM, False, True))
        self.work()
        self.assertIn(KEY_LINE, self.text())

    def test_leaves_before_its_turn(self) -> None:
        """Nothing is done for it, and nothing is kept of it."""
        self.start(BOB, secret=SECRET)
        self.start().cancel()
        self.verdicts.clear()
        self.threads.work()
        self.assertEqual((len(self.verdicts), self.threads.jobs, self.file.joining._waiting), (1, [], []))

    def test_not_stored(self) -> None:
        """The client is told that it is our fault, the log why, and nothing counts; the next try goes well."""
        for error, cure in (
            (OSError(errno.ENOSPC, "No space left on device"), "No space left on device$"),
            (
                OSError(errno.EROFS, "Read-only file system"),
                r"Read-only file system; a key is listed by a new file in its place, and user \S+, as whom the server "
                r"runs, can make none in .*; give the list a folder "
                r"of its own, which belongs to \S+$",
            ),
            (OSError(errno.EBUSY, "Device or resource busy"), "resource busy; .* mounted: mount its folder$"),
        ):

            def fail(fd: int, error: OSError = error) -> None:
                raise error

            failing = self.patch(os, "fsync", fail)
            self.verdicts.clear()
            self.start()
            self.start(BOB)
            self.work()
            failing.restore()
            for verdict in self.verdicts:
                self.assertEqual(verdict.text, "the server could not store your key; its log says why")
                self.assertEqual((verdict.code, verdict.failed, verdict.undecided), (Code.STORAGE, False, True))
                self.assertRegex(str(verdict.error), rf"^the key could not be listed: {self.path}: .*{cure}")
        self.assertEqual(self.text(), f"{OPEN.line}\n")
        self.verdicts.clear()
        self.start()
        self.work()
        self.assert_in(self.verdict())

    def test_broken_meanwhile(self) -> None:
        """A file that is edited and not good now: the old list still knows the invitation, and nothing is used up."""
        self.start()
        self.write("nonsense\n")
        self.work()
        verdict = self.verdict()
        self.assertEqual(verdict.code, Code.STORAGE)
        self.assertIn("line 1: ", str(verdict.error))
        self.assertEqual(self.text(), "nonsense\n")

    def test_withdrawn_meanwhile(self) -> None:
        """What the file says when it is changed counts."""
        self.start()
        self.write("# nobody\n")
        self.work()
        self.assert_out(self.verdict(), UNKNOWN)

    def test_bug(self) -> None:
        """A failure of ours ends nobody else's joining."""

        def broken(*arguments: object) -> None:
            raise ZeroDivisionError("ours")

        breaking = self.patch(joining, "use_invitations", broken)
        self.start()
        self.work()
        verdict = self.verdict()
        assert verdict.failure is not None
        self.assertIs(verdict.failure.type, ZeroDivisionError)
        breaking.restore()
        self.verdicts.clear()
        self.start()
        self.work()
        self.assert_in(self.verdict())


class WritableTests(JoinTestCase):
    """The log warns before anybody joins in vain."""

    def test_warned(self) -> None:
        allowed = False
        self.patch(joining, "may", lambda path, what: allowed)
        look_if_writable(self.file)
        look_if_writable(self.file)
        (line,) = self.lines()
        self.assertRegex(line, rf"^{self.path} has open invitations, but none can be used: .*a folder of its own")
        allowed = True
        look_if_writable(self.file)
        allowed = False
        look_if_writable(self.file)
        self.assertEqual(len(self.lines()), 2)

    def test_nobody_invited(self) -> None:
        """Then the file need not be writable."""
        self.patch(joining, "may", lambda path, what: False)
        self.now = THEN
        look_if_writable(self.file)
        self.assertEqual(self.lines(), [])


class EndTests(JoinTestCase):
    """Both ends of a connection."""

    def join(self, pair: KeyPair, secret: bytes = SECRET, version: int = 2, checker: Any = None) -> Pair:
        clock = Clock()
        server = make_server_factory(clock, checker=checker, authorized_keys=self.file, versions=(1, 2))
        client = make_client_factory(clock, pair=pair, login="ann", passphrase=passphrase_of(secret), version=version)
        connected = Pair(server, client)
        connected.flush()
        self.work()
        connected.flush()
        return connected

    def test_lines(self) -> None:
        """What the client is told, and the log; the secret is in neither."""
        first, second = KeyPair.generate(), KeyPair.generate()
        self.assertTrue(self.join(first).client.is_authenticated)
        self.assertTrue(self.join(first).client.is_authenticated)
        refused = self.join(second)
        self.assertIs(refused.client.why, AuthenticationFailed)
        line = "the invitation was used on 2026-11-29 07:00 UTC; ask for a new one"
        assert refused.client.reason is not None
        self.assertEqual(refused.client.reason.getErrorMessage(), f"the server refuses: {line}")
        (said,) = refusals(self.events)
        self.assertRegex(said, rf"^refused .* as 'ann': {line}$")
        self.assertIs(self.join(second, version=1).client.why, AuthenticationFailed)
        self.assertNotIn(SECRET.hex(), "".join(self.lines()) + repr(self.events))

    def test_counted(self) -> None:
        """Whoever guesses has as many tries from an address as with logins; nobody's login is blocked by it."""
        clock = Clock()
        server = make_server_factory(clock, authorized_keys=self.file)
        for number in range(40):
            client = make_client_factory(
                clock, pair=KeyPair.generate(), login=LOGIN, passphrase=passphrase_of(bytes([number]) * 16), version=2
            )
            Pair(server, client).flush()
        self.assertTrue(server.admission.blocked_addresses)
        self.assertFalse(server.admission.blocked_logins)
