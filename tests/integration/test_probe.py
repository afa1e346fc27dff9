"""The whole program looks at what it serves."""

from __future__ import annotations

import json

from tests.integration.running import Running, wait_for


def test_status_metrics_and_show_tell_how_names_are_served(tmp_path):
    with Running(tmp_path, workers=1) as edge:
        edge.add_domain("a.test")
        assert edge.cli("certs", "issue", "a.test").returncode == 0
        shown = json.loads(edge.cli("certs", "show", "a.test", "--json").stdout)
        assert shown["served"]["grade"] == "good", shown["served"]
        assert shown["served"]["serial"] == shown["certificate"]["serial"]
        status = wait_for(lambda: _served(edge), "looked at")
        assert status == {"grades": {"good": 1}, "worst": []}
        _, text = edge.api("GET", "/metrics")
        assert 'edgeproxy_certificates_served{grade="good"} 1.0' in text
        assert "good 1" in edge.cli("status").stdout


def _served(edge):
    _, status = edge.api("GET", "/api/v1/admin/status")
    return status["served"] if status["served"]["grades"] else None
