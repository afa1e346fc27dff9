"""The state key is changed between two runs of the program, and visitors notice nothing."""

import subprocess
import sys

from tests.integration.running import Running
from tests.integration.test_lifecycle import SHOP, leaf_of


def state(edge, *arguments):
    command = [sys.executable, "-m", "edgeproxy", "state", *arguments, "--config", str(edge.config)]
    return subprocess.run(command, env=edge.environ, cwd=edge.folder, capture_output=True, text=True, timeout=120, check=False)


def test_the_same_certificates_are_served_after_it(tmp_path):
    edge = Running(tmp_path)
    with edge:
        edge.add_domain(SHOP, "shop")
        before = leaf_of(edge)
        checked = state(edge, "check")
        assert checked.returncode == 0, checked.stderr
        refused = state(edge, "rotate-key")
        assert refused.returncode == 1
        assert f"while no edge runs, and process {edge.pid} does" in refused.stderr
    key = (edge.state / "state.key").read_text()
    rotated = state(edge, "rotate-key")
    assert rotated.returncode == 0, rotated.stderr
    assert (edge.state / "state.key").read_text() != key
    with edge:
        assert leaf_of(edge) == before
        assert state(edge, "check").returncode == 0
