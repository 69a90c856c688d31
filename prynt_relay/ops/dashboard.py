"""The Grafana dashboard, generated, so that every panel looks and is laid out the same way.

The shape is Grafana's dashboard JSON model, schema version 39 (Grafana 11; older ones from 9 on
read it too).
"""

from typing import Any, Final

import msgspec

from prynt_relay.ops.panels import ROWS, Panel

WIDTH: Final = 24
"""Grafana's grid has 24 columns."""

_DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


def render() -> str:
    """Return the dashboard as JSON text that Grafana imports."""
    panels: list[dict[str, Any]] = []
    top = 0
    for row in ROWS:
        panels.append(
            {
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": top},
                "panels": [],
            }
        )
        top += 1
        left = 0
        for panel in row.panels:
            place = {"h": row.height, "w": panel.width, "x": left, "y": top}
            panels.append(_panel(panel, place))
            left += panel.width
        top += row.height
    for number, rendered in enumerate(panels, start=1):
        rendered["id"] = number
    text = msgspec.json.format(msgspec.json.encode(_frame(panels)), indent=2)
    return text.decode() + "\n"


def _frame(panels: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "uid": "prynt-relay",
        "title": "prynt-relay",
        "description": "Webhooks: what comes in, what is delivered, what waits, and what fails.",
        "tags": ["prynt-relay", "webhooks"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "",
        "templating": {
            "list": [
                {
                    "name": "datasource",
                    "label": "Data source",
                    "type": "datasource",
                    "query": "prometheus",
                },
                {
                    "name": "instance",
                    "label": "Instance",
                    "type": "query",
                    "datasource": _DATASOURCE,
                    "query": {
                        "query": "label_values(prynt_relay_build_info, instance)",
                        "refId": "instance",
                    },
                    "includeAll": True,
                    "allValue": ".*",
                    "multi": True,
                    "current": {"selected": True, "text": "All", "value": "$__all"},
                    "refresh": 2,
                    "sort": 1,
                },
            ]
        },
        "panels": panels,
    }


def _panel(panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    stat = panel.kind != "timeseries"
    steps = [{"value": value, "color": colour} for value, colour in panel.thresholds]
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    options: dict[str, Any]
    if stat:
        options = {
            "reduceOptions": {"calcs": ["lastNotNull"], "values": False},
            "colorMode": "value",
            "graphMode": "none" if panel.kind == "stat-name" else "area",
            "textMode": "name" if panel.kind == "stat-name" else "auto",
        }
    else:
        defaults["min"] = 0
        defaults["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 25 if panel.stacked else 5,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        }
        options = {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    return {
        "type": "stat" if stat else "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": _DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": _DATASOURCE,
                "expr": query.expr,
                "legendFormat": query.legend or "__auto",
                "range": True,
            }
            for number, query in enumerate(panel.queries)
        ],
    }
