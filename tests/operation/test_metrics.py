"""
What is counted of a server and of a tunnel, beside what really happens.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist import Limits, Peer, RequestClient, RequestError, SingleLogin, SodiumClientFactory
from sodiumtwist.admission.replays import ReplayMemory
from sodiumtwist.admission.shared_store import FailuresTogether
from sodiumtwist.core.connection import Bounds, Code
from sodiumtwist.endpoints.streams import StreamServerFactory
from sodiumtwist.operation import metrics as operation_metrics
from sodiumtwist.operation.lag import Lag
from sodiumtwist.operation.metrics import ASKING_TIME, ServerMetrics, TunnelMetrics
from sodiumtwist.operation.service_status import status_of
from sodiumtwist.operation.status import SHOWN_CLIENTS, Health
from sodiumtwist.operation.values import METRICS, PROCESS_METRICS, Value, metric_of
from sodiumtwist.protocol.factories import SodiumServerFactory
from sodiumtwist.transfer.receiver import UploadFactory
from sodiumtwist.transfer.tree.place import Files
from sodiumtwist.tunnel import TunnelEntry, TunnelFactory, TunnelLimits, TurnedAway

from ..desk import Desk
from ..pair import (
    LOGIN,
    PASSPHRASE,
    SERVER_PAIR,
    MemoryTransport,
    Pair,
    RecordingClient,
    build,
    make_client_factory,
    make_server_factory,
)
from ..shared_stores import StoreInMemory
from ..test_tunnel import Backend
from ..transfer.tree.ends import FilesPair, make_tree, walk
from ..uploads import PAIR, MemoryStore
from ..versions import each_version, only, spoken


class MetricsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def count(self, factory: SodiumServerFactory) -> ServerMetrics:
        self.metrics = ServerMetrics(factory)
        return self.metrics

    def numbers(self) -> dict[str, float]:
        """All of them, as Prometheus shows them: ``name{label="…"}``."""
        values = self.successResultOf(self.metrics.values())
        shown: dict[str, float] = {}
        for name, labels, number in values:
            family, metric = metric_of(name)
            self.assertEqual(tuple(label for label, _ in labels if label != "le"), metric.labels, family)
            inside = ",".join(f'{label}="{text}"' for label, text in labels)
            key = f"{name}{{{inside}}}" if inside else name
            self.assertNotIn(key, shown)
            shown[key.removeprefix("sodiumtwist_")] = number
        return shown


@each_version
class ServerTests(MetricsTestCase):
    def connect(self, factory: SodiumServerFactory, **arguments: Any) -> Pair[Any, Any]:
        pair: Pair[Any, Any] = Pair(factory, make_client_factory(self.clock, **arguments))
        return pair

    def test_session(self) -> None:
        """One client, from its coming to its end."""
        factory = make_server_factory(self.clock)
        self.count(factory)
        pair = self.connect(factory)
        self.clock.advance(0.02)
        pair.flush()
        pair.client.send_data(bytes(1000))
        pair.flush()
        numbers = self.numbers()
        version, traffic = spoken(), pair.server.traffic
        self.assertEqual(numbers["connections_accepted_total"], 1)
        self.assertEqual(numbers[f'sessions{{version="{version}",state="open"}}'], 1)
        self.assertEqual(numbers['logins_total{outcome="admitted",reason=""}'], 1)
        self.assertEqual(numbers['logins_total{outcome="refused",reason="credentials"}'], 0)
        self.assertEqual(numbers[f'handshake_seconds_bucket{{version="{version}",le="0.01"}}'], 0)
        self.assertEqual(numbers[f'handshake_seconds_bucket{{version="{version}",le="0.025"}}'], 1)
        self.assertEqual(numbers["received_bytes_total"], traffic.bytes_received)
        self.assertEqual(numbers["sent_bytes_total"], traffic.bytes_sent)
        self.assertEqual(numbers["received_pdus_total"], traffic.pdus_received)
        self.assertEqual(numbers["sent_pdus_total"], traffic.pdus_sent)
        self.assertEqual((numbers["connections"], numbers["connections_limit"]), (1, 10_000))
        self.assertEqual((numbers["unauthenticated"], numbers["unauthenticated_limit"]), (0, 1_000))
        self.assertEqual((numbers["address_connections"], numbers["address_connections_limit"]), (1, 1_000))
        self.assertEqual(numbers["unread_bytes_limit"], 512 * 1024 * 1024)
        self.assertEqual((numbers["replays"], numbers["replays_limit"]), (2 - version, 100_000))
        pair.client.close()
        pair.flush()
        numbers = self.numbers()
        self.assertEqual(numbers['sessions_ended_total{outcome="closed"}'], 1)
        self.assertEqual(numbers["connections"], 0)
        # With nobody there it is 0: a panel without a number looks as if the service were down.
        self.assertEqual(
            {key: number for key, number in numbers.items() if key.startswith("sessions{")},
            {'sessions{version="1",state="open"}': 0, 'sessions{version="2",state="open"}': 0},
        )
        # What has come stays counted, and what has come since is there, too.
        self.assertEqual(numbers["received_bytes_total"], pair.server.traffic.bytes_received)
        self.assertEqual(numbers["sent_bytes_total"], pair.server.traffic.bytes_sent)

    def test_strangers(self) -> None:
        """Who is not let in counts with a reason, and so does what was sent."""
        factory = make_server_factory(self.clock, limits=Limits(failures_per_address=1))
        self.count(factory)
        stranger = self.connect(factory)
        self.assertEqual(self.numbers()["unauthenticated"], 1)
        stranger.server_transport.lose(ConnectionDone())
        wrong = self.connect(factory, passphrase="wrong")
        wrong.flush()
        self.clock.pump([1] * 3)
        wrong.server_transport.lose(ConnectionDone())
        numbers = self.numbers()
        self.assertEqual(numbers['logins_total{outcome="left",reason="left"}'], 1)
        self.assertEqual(numbers['logins_total{outcome="refused",reason="credentials"}'], 1)
        self.assertEqual(numbers["blocked_addresses"], 1)
        self.assertEqual(numbers["received_bytes_total"], wrong.server.traffic.bytes_received)

    def test_clients(self) -> None:
        """The page gets those that are let in, the first ones first, with what the wall clock says."""
        factory = make_server_factory(self.clock)
        metrics = self.count(factory)
        self.clock.advance(100)
        first = self.connect(factory)
        self.clock.advance(5)
        second = self.connect(factory)
        self.connect(factory)
        for pair in (second, first):
            pair.flush()
        self.clock.advance(1)
        clients = metrics.clients(now=1_000_106.0)
        self.assertEqual(clients.count, 2)
        self.assertEqual([client.since for client in clients.shown], [1_000_100, 1_000_105])
        one = clients.shown[0]
        self.assertEqual((one.login, one.address, one.version), (LOGIN, "192.0.2.1:4711", spoken()))
        self.assertEqual((one.bytes_received, one.bytes_sent), first.server.traffic[:2])

    @only(1)
    def test_database(self) -> None:
        """A database of handshakes is asked in its thread; where it does not answer in time, nothing is said."""
        factory = make_server_factory(self.clock)

        class Kept:
            limit = 7

            def __init__(self) -> None:
                self.asked: list[Deferred[int]] = []

            def counted(self) -> Deferred[int]:
                self.asked.append(Deferred())
                return self.asked[-1]

        factory.replays = kept = Kept()  # type: ignore[assignment]
        metrics = self.count(factory)
        told = metrics.values()
        self.assertNoResult(told)
        kept.asked[0].callback(5)
        self.assertIn(Value("sodiumtwist_replays", (), 5), self.successResultOf(told))
        for answer in (lambda: self.clock.advance(ASKING_TIME), lambda: kept.asked[-1].errback(OSError("locked"))):
            told = metrics.values()
            answer()
            names = [value.name for value in self.successResultOf(told)]
            self.assertNotIn("sodiumtwist_replays", names)
            self.assertIn("sodiumtwist_replays_limit", names)


@only(2)
class RequestTests(MetricsTestCase):
    def test_outcomes(self) -> None:
        """Requests count by what came of them, with the time that the application took."""
        waiting: list[Deferred[bytes]] = []

        def respond(peer: Peer, payload: bytes) -> Any:
            if payload == b"refuse":
                raise RequestError(Code.TOO_LARGE, "no")
            if payload == b"fail":
                raise ValueError("boom")
            if payload == b"late":
                waiting.append(Deferred())
                return waiting[-1]
            if payload == b"none":
                return Deferred.fromCoroutine(answer())
            return payload

        async def answer() -> object:
            return None

        factory = make_server_factory(self.clock, None, respond=respond)
        self.count(factory)
        pair: Pair[Any, Any] = Pair(factory, make_client_factory(self.clock, RequestClient))
        pair.flush()
        asked = [
            pair.client.request(payload) for payload in (b"x", b"y", b"refuse", b"fail", b"late", b"late", b"none")
        ]
        for one in asked:
            one.addErrback(lambda _: None)
        pair.flush()
        self.clock.advance(2)
        waiting[0].callback(b"done")
        pair.flush()
        asked[5].cancel()
        pair.flush()
        self.assertEqual(len(self.flushLoggedErrors(ValueError, TypeError)), 2)
        numbers = self.numbers()
        counts = {
            outcome: numbers[f'request_seconds_count{{outcome="{outcome}"}}']
            for outcome in ("answered", "refused", "failed", "cancelled")
        }
        self.assertEqual(counts, {"answered": 3, "refused": 1, "failed": 2, "cancelled": 1})
        self.assertEqual(numbers['request_seconds_bucket{outcome="answered",le="0.0001"}'], 2)
        self.assertEqual(numbers['request_seconds_sum{outcome="answered"}'], 2)


@only(2)
class WaitingRequestTests(MetricsTestCase):
    def test_not_begun(self) -> None:
        """Requests that the application never saw count as well: there was no room, or nobody waits any more."""
        factory = make_server_factory(
            self.clock, None, respond=Desk(), concurrency=1, bounds=Bounds(message=100, connection=100)
        )
        self.count(factory)
        pair: Pair[Any, Any] = Pair(factory, make_client_factory(self.clock, RequestClient))
        pair.flush()
        asked = [pair.client.request(bytes(size)) for size in (10, 20, 90)]
        for one in asked:
            one.addErrback(lambda _: None)
        pair.flush()
        asked[1].cancel()
        pair.flush()
        numbers = self.numbers()
        counts = {
            outcome: numbers[f'request_seconds_count{{outcome="{outcome}"}}']
            for outcome in ("answered", "cancelled", "no_room")
        }
        self.assertEqual(counts, {"answered": 0, "cancelled": 1, "no_room": 1})


class ReplayCountTests(SynchronousTestCase):
    def test_memory(self) -> None:
        memory = ReplayMemory(2)
        for number in range(3):
            memory.remember(bytes([number]) * 16)
        self.assertEqual((memory.counted(), memory.limit), (2, 2))


class TableTests(MetricsTestCase):
    def test_all_there(self) -> None:
        """
        Each metric of the table is told by a server that hands streams on and has a store, or by the process; but for
        the limit of a tunnel, which is that of its connections here.
        """
        tunnels = TunnelFactory(None, "nowhere", clock=self.clock)  # type: ignore[arg-type]  # nothing connects
        streams = StreamServerFactory(tunnels, SERVER_PAIR, SingleLogin(LOGIN, PASSPHRASE), clock=self.clock)
        streams.admission.others = FailuresTogether(store := StoreInMemory(), False)
        store.down = True
        status = status_of(streams, Lag(self.clock), lambda: Health(True, True))
        Pair(streams, make_client_factory(self.clock))
        told = self.successResultOf(status.metrics())
        names = {metric_of(value.name)[0] for value in told}
        # Those of the processes are the supervisor's, if there is one.
        of_one = {name for name in METRICS if not name.startswith("sodiumtwist_workers")}
        of_one.discard("sodiumtwist_tunnel_connections_limit")
        self.assertEqual(names, {*of_one, *PROCESS_METRICS})
        self.assertIn(Value("sodiumtwist_draining", (), True), told)
        self.assertIn(Value("sodiumtwist_shared_store_down", (), 1), told)
        self.assertEqual(self.successResultOf(status.clients()).count, 0)
        self.assertIs(self.successResultOf(status.health()).draining, True)


class FileTests(MetricsTestCase):
    """Files that come and go, counted one by one."""

    def test_files(self) -> None:
        here, there = Path(self.mktemp()), Path(self.mktemp())
        make_tree(here / "sent", {"one": b"1" * 10, "two": b"2" * 20})
        there.mkdir()
        os.chmod(there, 0o700)
        pair = FilesPair(Files(str(there), share=str(here / "sent")))
        self.count(pair.factory)
        pair.settle()
        for _ in range(2):
            pair.result_of(pair.client.store(walk(here / "sent")))
        pair.result_of(pair.client.fetch([b"one"], self.mktemp()))
        numbers = self.numbers()
        self.assertEqual(numbers['uploads_total{outcome="stored"}'], 2)
        self.assertEqual(numbers['uploads_total{outcome="there"}'], 2)
        self.assertEqual(numbers["upload_bytes_total"], 30)
        self.assertEqual(numbers['downloads_total{outcome="sent"}'], 1)
        self.assertEqual(numbers["download_bytes_total"], 10)
        self.assertEqual(numbers["transfers"], 0)
        self.assertGreaterEqual(numbers['request_seconds_count{outcome="answered"}'], 4)

    def test_streams(self) -> None:
        """An upload as one stream: whole, and broken off."""
        factory = UploadFactory(MemoryStore(), PAIR, SingleLogin("l", "p"), clock=self.clock)
        self.count(factory)
        for whole in (True, False):
            client = SodiumClientFactory(PAIR.public, "l", "p", RecordingClient, clock=self.clock)
            pair: Pair[Any, Any] = Pair(factory, client)
            pair.flush()
            pair.client.send_data(bytes(100))
            pair.flush()
            self.assertEqual(self.numbers()["transfers"], 1)
            if whole:
                pair.client.close()
                pair.flush()
            else:
                pair.server_transport.lose(ConnectionLost())
        numbers = self.numbers()
        self.assertEqual(numbers['uploads_total{outcome="stored"}'], 1)
        self.assertEqual(numbers['uploads_total{outcome="broken_off"}'], 1)
        self.assertEqual(numbers["upload_bytes_total"], 100)


class TunnelTests(SynchronousTestCase):
    """Connections that a tunnel carries."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.backend = Backend()
        self.factory = TunnelFactory(self.backend, "tcp:backend:1", TunnelLimits(connections=2), self.clock)
        self.metrics = TunnelMetrics(self.factory)

    def arrive(self) -> tuple[TunnelEntry, MemoryTransport]:
        entry = build(self.factory, TunnelEntry)
        transport = MemoryTransport(entry)
        entry.makeConnection(transport)
        return entry, transport

    def numbers(self) -> dict[str, float]:
        shown = {}
        for name, labels, number in self.metrics.values():
            metric_of(name)
            shown[f"{name} {labels[0][1]}" if labels else name] = number
        return {key.removeprefix("sodiumtwist_tunnel_"): number for key, number in shown.items()}

    def test_carried(self) -> None:
        """One that is carried, with bytes both ways, to its end in order."""
        entry, inside = self.arrive()
        outside = self.backend.succeed()
        entry.dataReceived(b"question")
        outside.protocol.dataReceived(b"the answer")
        self.assertEqual((self.numbers()["connections"], self.numbers()["connections_limit"]), (1, 2))
        (client,) = self.metrics.clients(now=50.0).shown
        self.assertEqual((client.login, client.version, client.since), (None, None, 50.0))
        self.assertEqual((client.bytes_received, client.bytes_sent), (8, 10))
        inside.lose(ConnectionDone())
        numbers = self.numbers()
        self.assertEqual((numbers["connections"], numbers["connections_ended_total closed"]), (0, 1))
        self.assertEqual((numbers["received_bytes_total"], numbers["sent_bytes_total"]), (8, 10))

    def test_ends(self) -> None:
        """Others: broken, left too early, nobody there, and no room."""
        _, inside = self.arrive()
        outside = self.backend.succeed()
        inside.lose(ConnectionLost())
        outside.lose(ConnectionLost())
        _, inside = self.arrive()
        inside.lose(ConnectionDone())
        _, inside = self.arrive()
        self.backend.connecting.errback(ConnectionRefusedError("nobody"))
        self.clock.advance(0)
        inside.lose(ConnectionDone())
        for _ in range(2):
            self.arrive()
        build(self.factory, TurnedAway)
        numbers = self.numbers()
        for outcome in ("broken", "left", "unreachable", "no_room"):
            self.assertEqual(numbers[f"connections_ended_total {outcome}"], 1, outcome)
        self.assertEqual(numbers["connections_ended_total closed"], 0)


class CrowdTests(MetricsTestCase):
    """Thousands of connections."""

    def test_shown(self) -> None:
        """The page has the first of them, and how many there are."""
        factory = make_server_factory(self.clock)
        metrics = self.count(factory)
        pair: Pair[Any, Any] = Pair(factory, make_client_factory(self.clock))
        pair.flush()
        ends = [pair.server] * (SHOWN_CLIENTS + 5)
        self.patch(type(factory.admission), "ends", ends)
        self.patch(factory.admission, "counted", lambda: (len(ends) + 3, 3, 1))
        clients = metrics.clients(0.0)
        self.assertEqual((clients.count, len(clients.shown)), (SHOWN_CLIENTS + 5, SHOWN_CLIENTS))

    def test_turns(self) -> None:
        """They are looked at in turns, and what ends meanwhile is counted once."""
        self.patch(operation_metrics, "LOOKED_AT", 2)
        factory = make_server_factory(self.clock)
        metrics = self.count(factory)
        pairs: list[Pair[Any, Any]] = [Pair(factory, make_client_factory(self.clock)) for _ in range(5)]
        for pair in pairs:
            pair.flush()
        received = sum(pair.server.traffic.bytes_received for pair in pairs)
        told = metrics.values()
        self.assertNoResult(told)
        for pair in pairs:
            pair.server_transport.lose(ConnectionLost())
        self.clock.advance(0)
        values = {value.name: value.number for value in self.successResultOf(told)}
        self.assertEqual(values["sodiumtwist_received_bytes_total"], received)
        self.assertEqual(self.numbers()["received_bytes_total"], received)
