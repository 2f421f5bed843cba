"""
The dashboard and the alerts of ``docs/howto``: they name metrics and labels that there are, and Prometheus' own program
takes the alerts, and finds them true and false where they should be.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from sodiumtwist.operation.values import HISTOGRAM, METRICS, metric_of
from sodiumtwist.protocol.observing import ENDS, REFUSALS, REQUESTS, TUNNEL_ENDS, UPLOADS

from ..outside import find_program
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
        self.assertGreaterEqual(len([name for name in seen if name in METRICS]), 30)

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
        }
        rings = {
            "SodiumtwistDown": ("a", "critical"),
            "SodiumtwistConnectionsNearLimit": ("b", "warning"),
            "SodiumtwistLoginsFail": ("d", "warning"),
            "SodiumtwistRequestsFail": ("e", "critical"),
            "SodiumtwistLoginsNotChecked": ("g", "critical"),
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
