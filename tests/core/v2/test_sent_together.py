"""
How much of what waits is sealed at once, by a connection of version 2.
"""

from __future__ import annotations

from hypothesis import example, given, strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.core.events import Authenticated, DataReceived, Event, HandshakeComplete, RequestReceived

from ..peers import NOW
from .ends import new_client, new_server, open_pair


class LimitTests(SynchronousTestCase):
    """Who takes what waits says how many bytes it has room for."""

    @given(
        st.lists(st.tuples(st.booleans(), st.sampled_from([0, 1, 100, 5000, 65536, 65537, 131072])), max_size=6),
        st.lists(st.sampled_from([3000, 70_000, 140_000, 264_000, 400_000]), min_size=1, max_size=3),
    )
    @example([(False, 1000), (False, 131_072)], [70_000])
    @example([(False, 100)], [70_000])
    @example([(False, 100), (True, 100_000)], [70_000])
    @example([(False, 131_072)] * 5, [264_000])
    @example([(False, 1000), (False, 131_072), (True, 100_000)], [70_000, 400_000])
    def test_no_more_than_fit(self, sent: list[tuple[bool, int]], limits: list[int]) -> None:
        """But one PDU at least; all leaves in the end, and each kind in its order."""
        client, server = open_pair(suites=(2,))
        client.send_data(b"")  # with the padding of the first record
        list(server.receive_data(client.data_to_send(), NOW))
        for asks, size in sent:
            (client.send_request if asks else client.send_data)(bytes(size))
        events: list[Event] = []
        turn = 0
        while client.queued:
            limit = limits[turn % len(limits)]
            turn += 1
            wire = client.data_to_send(limit)
            self.assertTrue(wire)
            heard = list(server.receive_data(wire, NOW))
            if len(wire) > limit:
                (event,) = heard
                assert isinstance(event, (DataReceived, RequestReceived))
                self.assertEqual(len(wire), 36 + 12 + len(event.payload))
            events += heard
        data = [len(event.payload) for event in events if isinstance(event, DataReceived)]
        asked = [len(event.payload) for event in events if isinstance(event, RequestReceived)]
        self.assertEqual(data, [size for asks, size in sent if not asks])
        self.assertEqual(sorted(asked), sorted(size for asks, size in sent if asks))

    def test_first_record(self) -> None:
        """“Senders put a PADDING into their first record”: it fits with the rest."""
        for padding in (0, 255):
            client, server = new_client(padding=lambda padding=padding: padding), new_server()
            list(server.receive_data(client.data_to_send(), NOW))
            list(client.receive_data(server.data_to_send(), NOW))
            handshake = len(client.unsent.packet)
            for _ in range(100):
                client.send_data(bytes(100))
            self.assertLessEqual(len(client.data_to_send(5000)) - handshake, 5000)

    def test_first_record_that_is_full(self) -> None:
        """The padding is as large as it can be then: what is sent needs no place that is not there."""
        for size in (131_072, 134_900, 135_144, 135_145, 135_156):
            client, server = new_client(padding=lambda: 255), new_server()
            list(server.receive_data(client.data_to_send(), NOW))
            events = list(client.receive_data(server.data_to_send(), NOW))
            client.send_data(bytes(size))
            list(server.receive_data(client.data_to_send(), NOW))
            server.accept(NOW, "Hello.")
            events += client.receive_data(server.data_to_send(), NOW)
            self.assertEqual(events, [HandshakeComplete(), Authenticated("Hello.")])
            self.assertEqual(list(server.events(NOW)), [DataReceived(bytes(size))])
