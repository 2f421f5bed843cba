"""
What systemd is told of a service.
"""

from __future__ import annotations

import os
import socket
import tempfile
from itertools import count

from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.operation import notify
from sodiumtwist.operation.notify import Notifier, notifier

from ..logs import logged


class NotifierTestCase(SynchronousTestCase):
    """Has a socket as systemd's is, and a service of which only the sessions are there."""

    def setUp(self) -> None:
        # A short path, as those of sockets must be.
        folder = tempfile.TemporaryDirectory(prefix="sodiumtwist-test-")
        self.addCleanup(folder.cleanup)
        self.address = os.path.join(folder.name, "notify")
        self.systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.addCleanup(self.systemd.close)
        self.systemd.bind(self.address)
        self.reactor = MemoryReactorClock()
        self.reactor.running = False
        self.count = 0

    def make(self, watchdog: float | None = None, watched: int | None = None, address: str = "") -> Notifier:
        return Notifier(
            address or self.address,
            lambda: self.count,
            self.reactor,
            watchdog,
            watched,
            monotonic=lambda: 5_000_001_999,
        )

    def start(self, telling: Notifier) -> None:
        telling.prepare()
        telling.started()
        self.addCleanup(telling.stopped)
        self.reactor.run()

    def heard(self) -> list[str]:
        """What has come since, a message each."""
        messages = []
        while True:
            try:
                messages.append(self.systemd.recv(4096).decode())
            except BlockingIOError:
                return messages


class NotifierTests(NotifierTestCase):
    def test_ready(self) -> None:
        """When all is listened on, and the reactor runs, so that signals do what they are for."""
        telling = self.make()
        telling.prepare()
        telling.started()
        self.addCleanup(telling.stopped)
        self.assertEqual(self.heard(), [])
        self.reactor.run()
        self.assertEqual(self.heard(), ["READY=1\nSTATUS=0 sessions"])

    def test_sessions(self) -> None:
        """Their number is told now and then, and only when it is another."""
        self.start(self.make())
        self.heard()
        self.count = 1
        self.reactor.advance(notify.STATUS_INTERVAL / 2)
        self.assertEqual(self.heard(), [])
        self.reactor.advance(notify.STATUS_INTERVAL / 2)
        self.assertEqual(self.heard(), ["STATUS=1 session"])
        self.reactor.advance(notify.STATUS_INTERVAL)
        self.assertEqual(self.heard(), [])

    def test_watchdog(self) -> None:
        """The service says that it is alive twice in the time in which it must, as long as the reactor runs."""
        self.start(self.make(watchdog=4.0, watched=os.getpid()))
        self.heard()
        self.reactor.pump([1.0] * 4)
        self.assertEqual(self.heard(), ["WATCHDOG=1"] * 2)

    def test_slow_watchdog(self) -> None:
        """One that is patient is told of the sessions all the same."""
        self.start(self.make(watchdog=60.0))
        self.heard()
        self.count = 2
        self.reactor.advance(notify.STATUS_INTERVAL)
        self.assertEqual(self.heard(), ["WATCHDOG=1\nSTATUS=2 sessions"])

    def test_another_is_watched(self) -> None:
        """A process that has forked since is not the one."""
        self.start(self.make(watchdog=4.0, watched=os.getpid() + 1))
        self.heard()
        self.reactor.advance(notify.STATUS_INTERVAL)
        self.assertEqual(self.heard(), [])

    def test_reload(self) -> None:
        """It begins at a time of systemd's own clock, in microseconds, and ends."""
        telling = self.make()
        self.start(telling)
        self.heard()
        telling.reloading()
        self.count = 3
        telling.reloaded()
        self.assertEqual(self.heard(), ["RELOADING=1\nMONOTONIC_USEC=5000001", "READY=1\nSTATUS=3 sessions"])

    def test_stop(self) -> None:
        """It is told at once, and the time that connections need is asked for piece by piece, until the end."""
        telling = self.make()
        self.start(telling)
        self.heard()
        self.count = 2
        telling.stopping()
        needs = "EXTEND_TIMEOUT_USEC=20000000"
        self.assertEqual(self.heard(), [f"STOPPING=1\n{needs}\nSTATUS=stopping, 2 sessions"])
        self.count = 1
        self.reactor.advance(notify.STATUS_INTERVAL)
        self.assertEqual(self.heard(), [f"{needs}\nSTATUS=stopping, 1 session"])
        telling.stopped()
        self.reactor.advance(notify.STATUS_INTERVAL)
        self.assertEqual((self.heard(), self.reactor.getDelayedCalls()), ([], []))

    def test_stopped_before_it_ran(self) -> None:
        """Then it is never ready."""
        telling = self.make()
        telling.prepare()
        telling.started()
        telling.stopping()
        self.reactor.run()
        self.assertEqual([message.partition("\n")[0] for message in self.heard()], ["STOPPING=1"])
        telling.stopped()

    def test_another_root(self) -> None:
        """A path that can't be reached any more is as good as before."""
        telling = self.make()
        telling.prepare()
        os.rename(self.address, f"{self.address}.moved")
        telling.started()
        self.addCleanup(telling.stopped)
        self.reactor.run()
        self.assertEqual(self.heard(), ["READY=1\nSTATUS=0 sessions"])

    def test_abstract(self) -> None:
        """A name behind @ is in no folder."""
        name = f"sodiumtwist-test-{os.getpid()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as self.systemd:
            self.systemd.bind(f"\0{name}")
            self.start(self.make(address=f"@{name}"))
            self.assertEqual(self.heard(), ["READY=1\nSTATUS=0 sessions"])


class UnheardTests(NotifierTestCase):
    """A service runs whether systemd hears it or not."""

    def fill(self) -> int:
        """Send as much as another may, and return how many messages there was room for."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as other:
            other.connect(self.address)
            for sent in count():
                try:
                    other.send(b"X=1")
                except BlockingIOError:
                    return sent
        raise AssertionError("count() has no end")

    def test_nobody_there(self) -> None:
        """One line says so."""
        os.unlink(self.address)
        events = logged(self)
        telling = self.make(watchdog=4.0)
        self.start(telling)
        telling.stopping()
        (line,) = map(formatEvent, events)
        self.assertEqual(line, f"cannot tell systemd about this service at {self.address!r}: No such file or directory")

    def test_busy(self) -> None:
        """What is said again may be lost. What must arrive waits a moment, and has a line when it did not."""
        self.patch(notify, "SEND_TIMEOUT", 0.01)
        telling = self.make(watchdog=4.0)
        self.start(telling)
        self.heard()
        events = logged(self)
        while self.fill():
            pass
        self.reactor.advance(2.0)
        self.assertEqual(events, [])
        telling.stopping()
        self.assertEqual([event["event"] for event in events], ["notify_failed"])
        self.heard()
        self.reactor.advance(2.0)
        self.assertEqual([message.partition("\n")[0] for message in self.heard()], ["WATCHDOG=1"])


class EnvironmentTests(SynchronousTestCase):
    """What systemd says in the environment."""

    def make(self, **variables: str) -> Notifier | None:
        self.environment = {"PATH": "/bin", **variables}
        return notifier(self.environment, lambda: 0, Clock())

    def test_none(self) -> None:
        """Who starts it from a shell wants to know nothing."""
        self.assertIsNone(self.make())
        self.assertIsNone(self.make(NOTIFY_SOCKET=""))

    def test_taken_out(self) -> None:
        """No program that the service starts could pass for it."""
        telling = self.make(NOTIFY_SOCKET="/run/systemd/notify", WATCHDOG_USEC="30000000", WATCHDOG_PID="12")
        assert telling is not None
        self.assertEqual(self.environment, {"PATH": "/bin"})
        self.assertEqual((telling._address, telling._watchdog, telling._watched), ("/run/systemd/notify", 30.0, 12))

    def test_no_watchdog(self) -> None:
        """It is no number, or 0: nobody watches."""
        for variables in {}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon", "WATCHDOG_PID": "me"}:
            telling = self.make(NOTIFY_SOCKET="@n", **variables)
            assert telling is not None
            self.assertEqual((telling._watchdog, telling._watched), (None, None))
