"""
The dashboard and the alerts of ``docs/howto``: they name metrics and labels that there are, and Prometheus' own program
takes the alerts, and finds them true and false where they should be.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sodiumtwist.operation.lag import Lag
from sodiumtwist.operation.service_status import status_of
from sodiumtwist.operation.site import ShortConnections, StatusSite
from sodiumtwist.operation.status import Health
from sodiumtwist.operation.values import HISTOGRAM, METRICS, metric_of
from sodiumtwist.protocol.observing import ENDS, REFUSALS, REQUESTS, TUNNEL_ENDS, UPLOADS

from ..outside import find_program
from ..pair import Pair, make_client_factory, make_server_factory
from ..ports import port_number
from ..processes import PATIENCE

HOWTO = Path(__file__).parents[2] / "docs" / "howto"
ALERTS, DASHBOARD = HOWTO / "alerts.yml", HOWTO / "grafana-dashboard.json"

#: What a query may ask of each metric beside its own labels.
OF_PROMETHEUS = {"instance", "job", "le"}

#: What an outcome may be, of the metrics that have one.
OUTCOMES = {
    "sodiumtwist_logins_total": {"admitted", "refused", "left"},
    "sodiumtwist_sessions_ended_total": set(ENDS),
    "sodiumtwist_request_seconds": set(REQUESTS),
    "sodiumtwist_uploads_total": set(UPLOADS),
    "sodiumtwist_tunnel_connections_ended_total": set(TUNNEL_ENDS),
}


def queries() -> Iterator[tuple[str, str]]:
    """Each query of both files, with where it stands."""
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], re.sub(r"^label_values\((.*), \w+\)$", r"\1", variable["query"])
    # Those of the alerts go to the next key, a line each but one.
    yield from re.findall(r"alert: (\w+)\n +expr: (.*?)\n +(?:for|labels):", ALERTS.read_text(), re.S)


class NameTests(SynchronousTestCase):
    def test_metrics(self) -> None:
        """Each name is one that a scrape has, with those labels, and with values that they take."""
        seen = set()
        for where, query in queries():
            found = re.findall(r"\b((?:sodiumtwist|process)_\w+)(?:\{(.*?)\})?", query)
            self.assertTrue(found or query.startswith("up{"), (where, query))
            for name, matchers in found:
                family, metric = metric_of(name)
                self.assertEqual(name != family, metric.kind == HISTOGRAM, (where, name))
                seen.add(family)
                for label, values in re.findall(r'(\w+)=~?"(.*?)"', matchers):
                    self.assertIn(label, {*metric.labels, *OF_PROMETHEUS}, where)
                    if label == "outcome":
                        self.assertLessEqual(set(values.split("|")), OUTCOMES[family], where)
                    elif label == "reason":
                        self.assertLessEqual(set(values.split("|")), set(REFUSALS), where)
            for grouped in re.findall(r"by \((.*?)\)", query):
                labels = {label for name, _ in found for label in metric_of(name)[1].labels}
                self.assertLessEqual(set(grouped.split(", ")), labels | OF_PROMETHEUS, where)
            if "histogram_quantile" in query:
                self.assertIn("le", query)
        # Whatever is told is shown somewhere.
        self.assertEqual(sorted(set(METRICS) - seen), [])

    def test_counters_are_rates(self) -> None:
        """A counter that is shown as it is tells nothing."""
        for where, query in queries():
            for name in re.findall(r"\bsodiumtwist_\w+", query):
                if metric_of(name)[1].kind != "gauge":
                    self.assertRegex(query, rf"(rate|increase)\({name}", where)

    def test_dashboard(self) -> None:
        """Panels lie beside each other and not on each other, and each has a number of its own."""
        panels = json.loads(DASHBOARD.read_text())["panels"]
        self.assertEqual(len({panel["id"] for panel in panels}), len(panels))
        taken: set[tuple[int, int]] = set()
        for panel in panels:
            place = panel["gridPos"]
            for x in range(place["x"], place["x"] + place["w"]):
                for y in range(place["y"], place["y"] + place["h"]):
                    self.assertNotIn((x, y), taken, panel["title"])
                    self.assertLess(x, 24)
                    taken.add((x, y))

    def test_alerts(self) -> None:
        """Each says what is wrong where, and how bad it is."""
        alerts = re.split(r"(?=      - alert: )", ALERTS.read_text())[1:]
        self.assertGreater(len(alerts), 10)
        for alert in alerts:
            self.assertRegex(alert, r"severity: (critical|warning)")
            self.assertRegex(alert, r'summary: "\{\{ \$labels.instance \}\}')


class PromtoolTests(SynchronousTestCase):
    """What Prometheus itself says of them."""

    def run_promtool(self, *arguments: str, text: str | None = None) -> str:
        program = find_program("promtool", "prometheus")
        done = subprocess.run(
            [program, *arguments], input=text, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_rules(self) -> None:
        self.assertIn("rules found", self.run_promtool("check", "rules", str(ALERTS)))

    def test_alarms(self) -> None:
        """They ring when something is wrong, and not before."""
        series = {
            'up{job="sodiumtwist", instance="a"}': "0x10",
            'sodiumtwist_connections{instance="b"}': "900x10",
            'sodiumtwist_connections_limit{instance="b"}': "1000x10",
            'sodiumtwist_connections{instance="c"}': "100x10",
            'sodiumtwist_connections_limit{instance="c"}': "1000x10",
            'sodiumtwist_logins_total{instance="d", outcome="refused", reason="credentials"}': "0+600x10",
            'sodiumtwist_request_seconds_count{instance="e", outcome="failed"}': "0+10x10",
            'sodiumtwist_request_seconds_count{instance="e", outcome="answered"}': "0+50x10",
            'sodiumtwist_request_seconds_count{instance="f", outcome="failed"}': "0+1x10",
            'sodiumtwist_request_seconds_count{instance="f", outcome="answered"}': "0+50x10",
            'sodiumtwist_logins_total{instance="g", outcome="refused", reason="not_checked"}': "0 0 0 0 0 0 0 0 1 1 1",
            'sodiumtwist_workers_lost_total{instance="h"}': "0 0 0 0 0 0 0 0 1 1 1",
            'sodiumtwist_workers_lost_total{instance="i"}': "3x10",
        }
        rings = {
            "SodiumtwistDown": ("a", "critical"),
            "SodiumtwistConnectionsNearLimit": ("b", "warning"),
            "SodiumtwistLoginsFail": ("d", "warning"),
            "SodiumtwistRequestsFail": ("e", "critical"),
            "SodiumtwistLoginsNotChecked": ("g", "critical"),
            "SodiumtwistWorkersLost": ("h", "warning"),
        }
        text = "evaluation_interval: 1m\n" + f"rule_files: [{json.dumps(str(ALERTS))}]\n" + "tests:\n  - interval: 1m\n"
        text += "    input_series:\n"
        for name, values in series.items():
            text += f"      - {{series: {json.dumps(name)}, values: {json.dumps(values)}}}\n"
        text += "    promql_expr_test:\n"
        for name, (instance, severity) in rings.items():
            labels = f'{{__name__="ALERTS", alertname="{name}", alertstate="firing", instance="{instance}"'
            labels += f', severity="{severity}"' + (', job="sodiumtwist"' if name == "SodiumtwistDown" else "") + "}"
            text += f"      - expr: 'ALERTS{{alertname=\"{name}\"}}'\n        eval_time: 10m\n"
            text += f"        exp_samples: [{{labels: {json.dumps(labels)}, value: 1}}]\n"
        path = Path(self.mktemp())
        path.write_text(text)
        self.assertIn("SUCCESS", self.run_promtool("test", "rules", str(path)))


class PrometheusTests(TestCase):
    """A real Prometheus, that scrapes a server."""

    def test_scraped(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._test_scraped())

    async def _test_scraped(self) -> None:
        program = find_program("prometheus", "prometheus")
        factory = make_server_factory(Clock())
        status = status_of(factory, Lag(Clock()), lambda: Health(draining=True))
        pair: Pair[Any, Any] = Pair(factory, make_client_factory(Clock()))
        pair.flush()
        site = ShortConnections(StatusSite(status, reactor, "sodium"), reactor, 64)
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(site)
        self.addCleanup(port.stopListening)
        self.addCleanup(site.drop)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            there = f"127.0.0.1:{free.getsockname()[1]}"
        folder = Path(self.mktemp())
        folder.mkdir()
        config = folder / "prometheus.yml"
        # JSON is YAML.
        config.write_text(
            json.dumps(
                {
                    "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "200ms"},
                    "scrape_configs": [
                        {
                            "job_name": "sodiumtwist",
                            "static_configs": [{"targets": [f"127.0.0.1:{port_number(port)}"]}],
                        }
                    ],
                    "rule_files": [str(ALERTS)],
                }
            )
        )
        command = [program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
        process = subprocess.Popen(
            [*command, f"--web.listen-address={there}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)

        def ask(path: str, until: Callable[[Any], bool]) -> Any:
            limit = time.monotonic() + PATIENCE
            while time.monotonic() < limit:
                with contextlib.suppress(OSError), urlopen(f"http://{there}/api/v1/{path}") as answer:
                    data = json.load(answer)["data"]
                    if until(data):
                        return data
                time.sleep(0.05)
            raise AssertionError(f"{path} gives nothing")

        def query(text: str) -> float:
            found = ask(f"query?query={quote(text)}", lambda data: bool(data["result"]))
            return float(found["result"][0]["value"][1])

        def one_rings(data: Any) -> bool:
            rules = data["groups"][0]["rules"]
            names = [rule["name"] for rule in rules if rule["state"] != "inactive"]
            return names == ["SodiumtwistDrainsForLong"] and all(rule["health"] != "unknown" for rule in rules)

        def look() -> tuple[list[float], list[Any]]:
            # On a busy machine one scrape or other may come too late.
            ask("query?query=up", lambda data: any(each["value"][1] == "1" for each in data["result"]))
            numbers = [
                query('sodiumtwist_sessions{version="2", state="open"}'),
                query("sodiumtwist_received_bytes_total"),
                query('sodiumtwist_handshake_seconds_count{version="2"}'),
            ]
            return numbers, ask("rules", one_rings)["groups"][0]["rules"]

        numbers, rules = await deferToThread(look)
        self.assertEqual(numbers, [1, pair.server.traffic.bytes_received, 1])
        self.assertEqual({rule["health"] for rule in rules}, {"ok"})
