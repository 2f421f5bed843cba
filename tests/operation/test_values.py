"""
Numbers as plain values: how those of several processes become one, and that each is of a metric that is known.
"""

from __future__ import annotations

import json

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.operation.histograms import Histogram
from sodiumtwist.operation.lag import LAG_INTERVAL, Lag
from sodiumtwist.operation.values import METRICS, PROCESS_METRICS, Value, by_metric, metric_of, sum_up


class ValueTests(SynchronousTestCase):
    def test_json(self) -> None:
        """A value is the same behind JSON, by which a process sends it."""
        value = Value("sodiumtwist_sessions", (("version", "2"), ("state", "open")), 3)
        self.assertEqual(Value.read(json.loads(json.dumps(value))), value)

    def test_sum_up(self) -> None:
        """What each process has of its own is added; of what all share the largest counts."""
        one = [
            Value("sodiumtwist_connections_accepted_total", (), 3),
            Value("sodiumtwist_connections_limit", (), 100),
            Value("sodiumtwist_uploads_total", (("outcome", "stored"),), 1),
            Value("process_open_fds", (), 10),
        ]
        other = [
            Value("sodiumtwist_connections_accepted_total", (), 4),
            Value("sodiumtwist_connections_limit", (), 100),
            Value("sodiumtwist_uploads_total", (("outcome", "failed"),), 2),
            Value("process_open_fds", (), 7),
        ]
        self.assertEqual(
            sum_up([one, other]),
            [
                Value("sodiumtwist_connections_accepted_total", (), 7),
                Value("sodiumtwist_connections_limit", (), 100),
                Value("sodiumtwist_uploads_total", (("outcome", "stored"),), 1),
                Value("process_open_fds", (), 17),
                Value("sodiumtwist_uploads_total", (("outcome", "failed"),), 2),
            ],
        )
        self.assertEqual(sum_up([]), [])

    def test_parts_are_added(self) -> None:
        """Of what each worker has its part, the sum stands beside the sum of what there is."""
        for number, limit in (
            ("sodiumtwist_tunnel_connections", "sodiumtwist_tunnel_connections_limit"),
            ("sodiumtwist_unread_bytes", "sodiumtwist_unread_bytes_limit"),
            ("process_open_fds", "process_max_fds"),
        ):
            part = [Value(number, (), 300), Value(limit, (), 500)]
            self.assertEqual(sum_up([part, part]), [Value(number, (), 600), Value(limit, (), 1000)])

    def test_histograms_are_added(self) -> None:
        """Place by place."""
        parts = []
        for number in (0.5, 2.0):
            histogram = Histogram((1.0,))
            histogram.note(number)
            parts.append(list(histogram.values("sodiumtwist_handshake_seconds")))
        numbers = {(value.name, value.labels): value.number for value in sum_up(parts)}
        self.assertEqual(numbers["sodiumtwist_handshake_seconds_bucket", (("le", "1.0"),)], 1)
        self.assertEqual(numbers["sodiumtwist_handshake_seconds_bucket", (("le", "+Inf"),)], 2)
        self.assertEqual(numbers["sodiumtwist_handshake_seconds_sum", ()], 2.5)
        self.assertEqual(numbers["sodiumtwist_handshake_seconds_count", ()], 2)

    def test_unknown(self) -> None:
        """There is no number of which nobody says what it is."""
        for name in ("sodiumtwist_sausages", "sodiumtwist_sausages_count", "_bucket"):
            self.assertRaises(KeyError, metric_of, name)

    def test_by_metric(self) -> None:
        """They come in the order of the tables, each metric once."""
        values = [
            Value("process_open_fds", (), 1),
            Value("sodiumtwist_uploads_total", (("outcome", "stored"),), 1),
            Value("sodiumtwist_connections_accepted_total", (), 3),
            Value("sodiumtwist_uploads_total", (("outcome", "failed"),), 2),
        ]
        found = list(by_metric(values))
        names = [name for name, _, _ in found]
        self.assertEqual(
            names, ["sodiumtwist_connections_accepted_total", "sodiumtwist_uploads_total", "process_open_fds"]
        )
        self.assertEqual(found[1][2], [values[1], values[3]])

    def test_names(self) -> None:
        """As Prometheus wants them: counters end by _total, and units are the base ones."""
        for name, metric in {**METRICS, **PROCESS_METRICS}.items():
            self.assertEqual(name.endswith("_total"), metric.kind == "counter", name)
            self.assertNotRegex(name, "milli|micro|kilo|mega|_ms|_kb")
            self.assertTrue(metric.help.endswith("."), name)
        # In OpenMetrics a counter's name is without that, and no other metric may have it.
        names = [name.removesuffix("_total") for name in METRICS]
        self.assertEqual(len(set(names)), len(names))


class HistogramTests(SynchronousTestCase):
    def test_places(self) -> None:
        """A number counts where it is not above the bound, and in all places behind that."""
        histogram = Histogram((1.0, 10.0))
        for number in (0.5, 1.0, 1.5, 11):
            histogram.note(number)
        labels = (("outcome", "answered"),)
        self.assertEqual(
            list(histogram.values("x", labels)),
            [
                Value("x_bucket", (*labels, ("le", "1.0")), 2),
                Value("x_bucket", (*labels, ("le", "10.0")), 3),
                Value("x_bucket", (*labels, ("le", "+Inf")), 4),
                Value("x_sum", labels, 14.0),
                Value("x_count", labels, 4),
            ],
        )


class Slow(Clock):
    """A clock whose timers are late when the process stands still."""

    def stand_still(self, seconds: float) -> None:
        self.rightNow += seconds
        self.advance(0)


class LagTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Slow()
        self.lag = Lag(self.clock)
        self.lag.start()

    def seen(self) -> dict[str, float]:
        return {value.labels[0][1]: value.number for value in self.lag.values() if value.labels}

    def test_in_time(self) -> None:
        """Nothing is late where nothing keeps the reactor busy."""
        self.clock.pump([LAG_INTERVAL] * 10)
        self.assertEqual(self.lag.latest, 0)
        self.assertEqual((self.seen()["0.001"], self.seen()["+Inf"]), (10, 10))

    def test_late(self) -> None:
        """When the process stands still, that is seen once, and for a minute."""
        self.clock.stand_still(LAG_INTERVAL + 2)
        self.clock.pump([LAG_INTERVAL] * 3)
        self.assertEqual(self.lag.latest, 2)
        self.assertEqual((self.seen()["1.0"], self.seen()["2.5"], self.seen()["+Inf"]), (3, 4, 4))
        self.clock.pump([LAG_INTERVAL] * 121)
        self.assertEqual(self.lag.latest, 0)

    def test_stopped(self) -> None:
        """It leaves no timer, begun or not, and begins once."""
        self.lag.start()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.lag.stop()
        self.lag.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
