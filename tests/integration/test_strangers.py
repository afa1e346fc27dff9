"""Strangers who invent names that a pattern or the gate admits: the whole program, and clients of several networks."""

import contextlib
import re
import socket
import ssl
from typing import Any

import pytest

from tests.hellos import from_python
from tests.integration.running import PATIENCE, Running, wait_for

NEW, UNKNOWN = 3, 2
LIMITED = 'handshakes_total{result="limited"}'
HERE, ELSEWHERE = "127.0.0.1", "127.0.9.1"


@pytest.fixture(scope="module")
def edge(tmp_path_factory):
    tables: dict[str, dict[str, Any]] = {
        "issuance.allow": {"patterns": ["*.customers.test"]},
        "limits": {"new_names": NEW, "unknown_names": UNKNOWN},
    }
    with Running(tmp_path_factory.mktemp("strangers"), tables, workers=1) as edge:
        wait_for((edge.state / "internal-ca.pem").exists, "the CA's root")
        yield edge


def counted(edge, series):
    """A counter of /metrics; 0 where it has not begun."""
    lines = edge.api("GET", "/metrics")[1].splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.rpartition(" ")[0] == f"edgeproxy_{series}")


def handshake(edge, name, source):
    """What becomes of a handshake by a client at this address: "served", or the alert."""
    context = ssl.create_default_context(cafile=edge.root)
    with socket.create_connection((edge.host, edge.https_port), PATIENCE, (source, 0)) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=name):
                return "served"
        except ssl.SSLError as error:
            found = re.search(r"unrecognized.name|internal.error", str(error).lower())
            return found[0].replace("_", " ") if found else str(error)


def test_a_network_gets_certificates_for_so_many_invented_names_and_others_get_theirs(edge):
    names = [f"n{number}.customers.test" for number in range(NEW + 2)]
    assert [handshake(edge, name, HERE) for name in names] == ["served"] * NEW + ["internal error"] * 2
    assert handshake(edge, names[0], HERE) == "served"  # what has its certificate is nobody's new name
    assert handshake(edge, names[NEW], ELSEWHERE) == "served"
    assert handshake(edge, names[NEW], "127.0.0.77") == "served"
    edge.add_domain("registered.test", "registered")
    assert handshake(edge, "registered.test", HERE) == "served"
    told = edge.wait_logged("new_names.limited")
    assert (told["network"], told["hostname"], told["limit"]) == ("127.0.0.0/24", names[NEW], NEW)
    assert counted(edge, "new_names_limited_total") == 2
    wait_for(lambda: counted(edge, LIMITED) == 2, "the worker's count")


def test_a_flood_of_invented_names_is_not_even_asked_about_and_takes_nobody_with_it(edge):
    before, ended = counted(edge, "new_names_limited_total"), counted(edge, LIMITED)
    with contextlib.ExitStack() as stack:
        context = ssl.create_default_context(cafile=edge.root)
        for number in range(100):
            plain = stack.enter_context(socket.create_connection((edge.host, edge.https_port), PATIENCE, ("127.0.3.1", 0)))
            plain.sendall(from_python(context, f"flood{number}.customers.test"))
        assert handshake(edge, "other.customers.test", "127.0.4.1") == "served"
    # Of a hundred the worker asked about some twenty, and the controller began three.
    asked = NEW + counted(edge, "new_names_limited_total") - before
    assert NEW < asked < 60
    wait_for(lambda: counted(edge, LIMITED) - ended >= 100 - NEW, "all of the others ended")
