"""`edgeproxy doctor` against a running edge and a real DNS server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.integration.running import Running
from tests.integration.servers import ChallengeTestServer, require

TARGET = "domain.platform.test"


async def test_doctor_ends_with_0_where_all_is_well_and_with_1_where_something_is_to_change(tmp_path):
    require("pebble-challtestsrv")
    async with ChallengeTestServer(tmp_path) as dns:
        await dns.manage("set-default-ipv4", ip="127.0.0.9")
        await dns.manage("add-a", host=f"{TARGET}.", addresses=["127.0.0.1"])
        await dns.manage("set-cname", host="good.test.", target=f"{TARGET}.")
        await asyncio.to_thread(_ask, tmp_path, dns.dns_port)


def _ask(folder, dns_port):
    tables: dict[str, dict[str, Any]] = {
        "platform": {"cname_target": TARGET},
        "dns": {"resolvers": [f"127.0.0.1:{dns_port}"]},
    }
    with Running(folder / "edge", tables, workers=1) as edge:
        edge.add_domain("good.test")
        edge.add_domain("wrong.test")
        edge.get("good.test")
        good = edge.cli("doctor", "good.test")
        assert good.returncode == 0, good.stdout + good.stderr
        assert good.stdout.startswith("good.test: all is well.")
        wrong = edge.cli("doctor", "wrong.test")
        assert wrong.returncode == 1
        assert f"It is now: A 127.0.0.9\n   It must be: CNAME {TARGET}\n" in wrong.stdout
        told = json.loads(edge.cli("doctor", "wrong.test", "--json").stdout)
        assert [change["who"] for change in told["changes"]] == ["customer_dns"]
