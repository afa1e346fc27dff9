"""Rate limits of the whole program: two workers hold one limit, and what happens to one of them forgets nothing."""

import os
import re
import signal
import subprocess
import time

import pytest

from tests.integration.nginx import NAME, WORKSPACE
from tests.integration.running import PATIENCE, Running, wait_for
from tests.integration.servers import require
from tests.integration.visitors import url

LIMIT = 500


@pytest.fixture
def edge(nginx, tmp_path):
    require("h2load")
    tables = {"origin": {"url": nginx.url}, "rates": {"per_hostname": f"{LIMIT}/h"}, "log": {"access": "off"}}
    with Running(tmp_path, tables) as edge:
        edge.add_domain(NAME, WORKSPACE)
        yield edge


def refused(edge):
    found = re.search(r'^edgeproxy_rate_limited_total\{by="hostname"\} (\S+)', edge.api("GET", "/metrics")[1], re.MULTILINE)
    return float(found[1]) if found else 0.0


def workers(edge):
    return {pid for pid, name in edge.children().items() if " w " in name}


def admitted(edge, *options):
    """How many of h2load's requests were answered with 200; all others with 429."""
    command = ["h2load", "--connect-to", f"{edge.host}:{edge.https_port}", *options, url(edge, NAME, "/seen")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE, check=True)
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", done.stdout.partition("requests: ")[2])}
    assert counts["2xx"] + counts["4xx"] == counts["total"], done.stdout
    return counts["2xx"]


def test_two_workers_together_admit_the_limit_and_one_that_dies_takes_nothing_along(edge):
    began = time.monotonic()

    def more():
        """How many are admitted by now beside LIMIT, as time goes by."""
        return 1 + (time.monotonic() - began) * LIMIT / 3600

    first = admitted(edge, "-n", "1500", "-c", "20", "-m", "5")
    assert LIMIT <= first <= LIMIT * 1.25 + more(), "of what two count at the same moment one may be lost"
    wait_for(lambda: refused(edge) == 1500 - first, "refusals counted")
    before = workers(edge)
    os.kill(min(before), signal.SIGKILL)
    wait_for(lambda: len(workers(edge) - {min(before)}) == 2, "another worker")
    assert admitted(edge, "-n", "100", "-c", "10") <= more()
    edge.cli("reload", check=True)
    assert admitted(edge, "-n", "100", "-c", "10") <= more()
