"""The alert rules and the queries of alerts and dashboard, to be asked of a real Prometheus."""

import re

from prynt_relay.ops import files, panels
from tests.integration.prometheus_server import Prometheus


def alerts() -> dict[str, str]:
    """Each alert's block of text; the file's shape is fixed, so no YAML parser is needed."""
    blocks = re.split(r"^      - alert: ", files.text("alerts"), flags=re.MULTILINE)[1:]
    return {block.split("\n", 1)[0].strip(): block for block in blocks}


def expression(block: str) -> str:
    """The PromQL of an alert, folded onto one line."""
    found = re.search(
        r"^        expr: (?:\|\n)?(.*?)^        \w+:", block, re.DOTALL | re.MULTILINE
    )
    assert found, block
    return " ".join(found[1].split())


def as_prometheus_gets_it(expr: str) -> str:
    """The query with Grafana's variables filled in."""
    return expr.replace("$__rate_interval", "10s").replace("$instance", ".*")


def loosened(expr: str) -> str:
    """An alert's expression with thresholds that anything passes, to see that it finds series."""
    # Below zero too: a rate of change may be.
    return re.sub(r"(?:>=|==|>) ([\d.]+(?:e\d+)?)", ">= -1e12", expr)


def unanswered(prometheus: Prometheus) -> list[str]:
    """What the dashboard or an alert asks and Prometheus has no series for, or can't evaluate."""
    empty = [
        query.expr
        for query in panels.queries()
        if not prometheus.query(as_prometheus_gets_it(query.expr))
    ]
    for name, block in alerts().items():
        expr = expression(block)
        if not prometheus.query(expr) and not prometheus.query(loosened(expr)):
            empty.append(f"{name}: {expr}")
    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert [rule["name"] for rule in rules] == list(alerts())
    empty += [f"{rule['name']}: {rule['lastError']}" for rule in rules if rule["health"] == "err"]
    return empty
