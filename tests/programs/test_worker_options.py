"""
``--workers``: what it takes, what it does not go with, and what workers are told.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from typing import Any
from unittest.mock import Mock

from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.testing import StringTransport
from twisted.logger import formatEvent
from twisted.python import usage

from sodiumtwist.admission.limits import Limits
from sodiumtwist.admission.replay_database import ReplayDatabase
from sodiumtwist.admission.shared_counts import SharedSalts
from sodiumtwist.operation import orders as orders_module
from sodiumtwist.operation.adopting import AdoptingReactor
from sodiumtwist.operation.companions import Companion
from sodiumtwist.operation.orders import Orders
from sodiumtwist.operation.share import Share
from sodiumtwist.programs import tap, tunneltap
from sodiumtwist.programs.worker import Control, make_service
from sodiumtwist.tunnel import TunnelLimits

from ..admission.test_shared_counts import several
from ..logs import logged
from ..operation.standins import ProcessReactor
from ..processes import PUBLIC, SECRET
from .test_tap import TapTestCase


class WorkersReactor(ProcessReactor):
    """
    Starts no processes, and gives ports of memory a descriptor.

    :ivar adopted: the descriptors of sockets that were taken over, with the factories.
    """

    def __init__(self) -> None:
        super().__init__()
        self.adopted: list[tuple[int, Any]] = []

    def callWhenRunning(self, callable: Any, *args: Any, **kw: Any) -> None:
        # Not what takes over the signals of this process.
        if callable.__name__ == "start":
            callable(*args, **kw)

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        self.adopted.append((fileDescriptor, factory))
        port = super().listenTCP(0, factory)
        port.doRead, port.sessionno = lambda: None, 0
        return port


class OptionTests(TapTestCase):
    def refused(self, *words: str, **twistd: object) -> str:
        options = tap.Options()
        if twistd:
            options.parent = usage.Options()
            options.parent.update(twistd)
        return str(self.assertRaises(SystemExit, options.parseOptions, ["--discard", *words]))

    def test_numbers(self) -> None:
        for given in ("0", "-1", "257", "some", "1.5", ""):
            self.assertIn(
                f"--workers takes a number from 1 to 256, or auto, not {given!r}", self.refused("--workers", given)
            )
        self.assertEqual(self.parse("--workers", "3").workers(), 3)
        self.assertIsNone(self.parse().workers())

    def test_auto(self) -> None:
        """As many as there are cores that the process may use."""
        self.patch(os, "sched_getaffinity", lambda process: {2, 5, 7})
        self.assertEqual(self.parse("--workers", "auto").workers(), 3)
        self.patch(os, "cpu_count", lambda: 1000)
        delattr(os, "sched_getaffinity")
        self.assertEqual(self.parse("--workers", "auto").workers(), 256)

    def test_excluded(self) -> None:
        options = tap.Options()
        error = self.assertRaises(SystemExit, options.parseOptions, ["--file", "-", "--workers", "2"])
        self.assertIn("--workers have no standard output to share", str(error))
        self.assertIn("--workers starts programs", self.refused("--workers", "2", chroot="/somewhere"))

    def test_interpreter(self) -> None:
        """Who may not run it is told at the start."""
        self.write("python", "")
        self.patch(sys, "executable", os.path.abspath("python"))
        error = self.assertRaises(SystemExit, tap.makeService, self.parse("--workers", "1"), WorkersReactor())
        self.assertIn("python, which this process may not use; install sodiumtwist elsewhere", str(error))

    def test_words(self) -> None:
        """Workers do not read the file of ``--config``, which may be for root alone: they get what it says."""
        self.write("config", 'message = "hello"\nworkers = 2\n')
        words = self.parse("--config", "config", "--user", "ann").words_for_workers()
        self.assertEqual(words, ("--message=hello", "--workers=2", "--discard", "--user=ann"))
        words = self.parse("--config", "config", "--message", "--config", "-U", "ann").words_for_workers()
        self.assertEqual(words, ("--workers=2", "--discard", "--message=--config", "--user=ann"))


class WorkerTestCase(TapTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.reactor = WorkersReactor()
        self.counts, self.supervisor = several(2)
        self.patch(orders_module, "FIRST_SOCKET", 7)

    def orders(self, program: str, *words: str, **read: object) -> Orders:
        return Orders(
            program,
            words,
            1,
            2,
            os.getcwd(),
            ("tcp:0",),
            (socket.AF_INET,),
            read or {"key": SECRET, "passphrase": "geheim"},
            os.path.abspath("replays"),
        )

    def make(self, orders: Orders) -> Any:
        """Make a worker's service as its process does."""
        share = Share(orders, self.counts[0])
        self.patch(sys.modules["sodiumtwist.programs.worker"], "Share", lambda orders: share)
        service = make_service(orders, self.reactor)
        self.addCleanup(service.stopService)
        return service


class WorkerTests(WorkerTestCase):
    def test_server(self) -> None:
        """It has the socket, the key and the passphrase, its part of limits, and what is shared."""
        service = self.make(self.orders("sodium", "--discard", "--endpoint", "5555", "--limit", "client-lines=10"))
        service.startService()
        ((descriptor, factory),) = self.reactor.adopted
        self.assertEqual(descriptor, orders_module.FIRST_SOCKET)
        self.assertIs(factory.admission.shared, self.counts[0])
        self.assertEqual(factory.admission.limits.client_lines, 5)
        self.assertEqual(factory.admission.limits.unread, Limits.unread // 2)
        self.assertEqual(factory.admission.limits.per_address, Limits.per_address)
        self.assertIsInstance(factory.replays, ReplayDatabase)
        settings = service.options.settings
        self.assertEqual(settings.pair.secret.hex(), SECRET)
        self.assertFalse(settings.fresh_pair)
        self.assertIsInstance(factory._version_2.salts, SharedSalts)
        # What is for all of them its supervisor does.
        self.assertEqual((service.workers, service.is_worker, service.companions), (None, True, []))

    def test_read_again(self) -> None:
        """It takes what its supervisor has read by now."""
        service = self.make(self.orders("sodium", "--discard", "--message", "one"))
        service.startService()
        control = Control(service)
        read = {"key": "33" * 32, "passphrase": "other"}
        control.do_reload(words=["--discard", "--message", "two"], read=read)
        factory = self.reactor.adopted[0][1]
        self.assertIn("two", factory.message)
        self.assertEqual(service.options.settings.pair.secret.hex(), "33" * 32)

    def test_default_passphrase(self) -> None:
        """Who can reach the server its supervisor has looked at: a worker is told of no socket where it listens."""
        service = self.make(self.orders("sodium", "--discard", key=SECRET, passphrase="passphrase"))
        service.startService()
        control = Control(service)
        control.do_reload(words=["--discard", "--message", "two"], read={"key": SECRET, "passphrase": "other"})
        control.do_reload(words=["--discard", "--message", "two"], read={"key": SECRET, "passphrase": "passphrase"})
        self.assertTrue(service.options.settings.default_passphrase)

    def test_tunnel(self) -> None:
        """Which server it is, and who we are there, comes from the supervisor."""
        words = ["--listen", "7000", "--server-key", PUBLIC, "--to", "127.0.0.1:1", "--passphrase", "geheim"]
        options = tunneltap.Options()
        options.parseOptions([*words, "--limit", "connections=7", "--workers", "2"])
        supervising = tunneltap.makeService(options, self.reactor)
        assert supervising.workers is not None
        read = supervising.workers.read
        service = self.make(self.orders("sodium-tunnel", *options.words_for_workers(), **read))
        self.assertEqual(vars(service.options.settings.credentials), vars(options.settings.credentials))
        self.assertEqual(service.options.settings.server_key.hex(), PUBLIC)
        service.startService()
        self.assertEqual(service._factory.limit, 4)
        # Its connections count where newcomers are shared.
        service._factory.entries.update(range(20))
        self.addCleanup(service._factory.entries.clear)
        self.supervisor.serves(1)
        self.assertEqual(service.options.share.ahead(), 20)
        service.options.share.accepted(3)
        self.assertGreater(service.options.share.ahead(), 20)

    def test_limits(self) -> None:
        """Parts are not less than one."""
        share = Share(self.orders("sodium"), self.counts[0])
        self.assertEqual(share.of(TunnelLimits(1, 1)).connections, 1)
        self.assertEqual(share.of(Limits(client_lines=3)).client_lines, 2)

    def test_other_reactors(self) -> None:
        """An endpoint of TLS puts that around its factory, and one of a UNIX socket takes its own."""
        adopting = AdoptingReactor(self.reactor, 9, socket.AF_INET, Share(self.orders("sodium"), self.counts[0]))
        adopting.listenSSL(0, Factory.forProtocol(Protocol), CertificateOptions())
        self.assertEqual(type(self.reactor.adopted[0][1]).__name__, "TLSMemoryBIOFactory")
        adopting.listenUNIX("somewhere", Factory.forProtocol(Protocol))
        self.assertEqual(self.reactor.adopted[1][0], 9)
        self.assertIs(adopting.callLater.__self__, self.reactor)


class ControlTests(WorkerTestCase):
    """What a worker does as it is told."""

    def setUp(self) -> None:
        super().setUp()
        self.sent: list[int] = []
        self.patch(os, "kill", lambda process, number: self.sent.append(number))
        self.service = self.make(self.orders("sodium", "--discard"))
        self.control = Control(self.service)

    def test_stop(self) -> None:
        """Once, as systemd and the supervisor may both say so; also when the supervisor is gone."""
        self.service.startService()
        self.control.lineReceived(b'{"do": "stop"}')
        self.assertEqual(self.sent, [signal.SIGTERM])
        self.service.running = 0
        self.control.lineReceived(b'{"do": "stop"}')
        self.control.connectionLost()
        self.assertEqual((self.sent, self.control.is_alone), ([signal.SIGTERM], False))
        self.service.running = 1
        self.control.connectionLost()
        self.assertEqual((self.sent, self.control.is_alone), ([signal.SIGTERM] * 2, True))

    def test_hurry(self) -> None:
        hurried: list[None] = []
        self.patch(self.service, "hurry", lambda: hurried.append(None))
        self.control.lineReceived(b'{"do": "hurry"}')
        self.assertEqual(len(hurried), 1)

    def test_tell(self) -> None:
        """Nothing is told where nobody counts."""
        transport = StringTransport()
        self.control.makeConnection(transport)
        self.control.lineReceived(b'{"do": "tell", "what": "metrics", "number": 1}')
        self.assertEqual(transport.value(), b"")


class SupervisorTests(TapTestCase):
    def test_ports(self) -> None:
        """It listens, reads nothing, and starts as many as it shall."""
        reactor = WorkersReactor()
        service = tap.makeService(self.parse("--workers", "2", "--endpoint", "127.0.0.1:0"), reactor)
        taken: list[str] = []
        assert service.workers is not None
        self.patch(service.workers, "take", lambda description, port: taken.append(description))
        service.privilegedStartService()
        service.startService()
        self.assertEqual(taken, ["tcp:0:interface=127.0.0.1"])
        self.assertEqual(len(reactor.processes), 2)
        self.assertFalse(service.is_listening)
        for process in reactor.processes:
            process.answer(serves=True)
        self.assertTrue(service.is_listening)
        self.assertEqual(service.all_sessions(), 0)
        stopping = service.stopService()
        self.assertNoResult(stopping)
        for process in reactor.processes:
            process.end()
        reactor.advance(1)
        self.successResultOf(stopping)

    def test_stopped_early(self) -> None:
        """What runs beside it is told that it has started when all serve; not of one that stops before that."""
        for stops, told in ((False, 1), (True, 0)):
            reactor = WorkersReactor()
            service = tap.makeService(self.parse("--workers", "1", "--endpoint", "127.0.0.1:0"), reactor)
            assert service.workers is not None
            self.patch(service.workers, "take", lambda description, port: None)
            companion = Mock(Companion)
            service.companions.append(companion)
            service.privilegedStartService()
            service.startService()
            stopping = service.stopService() if stops else None
            reactor.processes[0].answer(serves=True)
            self.assertEqual(companion.started.call_count, told)
            stopping = stopping or service.stopService()
            reactor.processes[0].end()
            reactor.advance(1)
            self.successResultOf(stopping)

    def test_no_room(self) -> None:
        """A server whose workers can't share anything is none, and does not stay."""
        reactor = WorkersReactor()
        service = tap.makeService(self.parse("--workers", "2", "--endpoint", "127.0.0.1:0"), reactor)
        assert service.workers is not None
        self.patch(service.workers, "take", lambda description, port: None)
        service.privilegedStartService()
        no_room = Mock(side_effect=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        self.patch(sys.modules["sodiumtwist.operation.workers"], "Folder", no_room)
        events = logged(self)
        error = self.assertRaises(SystemExit, service.startService)
        self.assertEqual(error.code, 1)
        self.assertEqual(
            [formatEvent(event) for event in events if event.get("event") == "cannot_listen"],
            ["sodium: cannot start workers: No space left on device"],
        )
        self.assertEqual(reactor.processes, [])
