"""Origins of every kind behind the whole program, and one that goes away and comes back."""

import pytest

from tests.integration.nginx import NAME, WORKSPACE, Nginx, content
from tests.integration.running import Running
from tests.integration.servers import require
from tests.integration.visitors import HTTP1, PROTOCOLS, curl, curl_all, url


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """An nginx that may be stopped."""
    require("nginx", "curl")
    with Nginx(tmp_path_factory.mktemp("nginx")) as nginx:
        yield nginx


@pytest.fixture(scope="module")
def edge(origin, tmp_path_factory):
    """The usual origin on a Unix socket, one by https for a name of its own; and a name for clients that send none."""
    tables = {
        "origin": {"url": f"unix:{origin.socket}", "ca_bundle": str(origin.root)},
        "tls": {"default_hostname": NAME},
    }
    with Running(tmp_path_factory.mktemp("edge"), tables) as edge:
        edge.add_domain(NAME, WORKSPACE)
        edge.add_domain("secure.test", "secure", origin=f"https://localhost:{origin.tls_port}")
        edge.add_domain("elsewhere.test", "elsewhere", origin=f"https://127.0.0.1:{origin.tls_port}")
        yield edge


@pytest.mark.parametrize(("name", "workspace"), [(NAME, WORKSPACE), ("secure.test", "secure")])
def test_origins_on_unix_sockets_and_by_https(edge, origin, protocol, name, workspace):
    reply = curl(edge, protocol, url(edge, name, "/seen"))
    assert (reply.status, reply.seen["workspace-id"], reply.seen["host"]) == (200, workspace, f"{name}:{edge.https_port}")
    assert curl(edge, protocol, url(edge, name, "/10000000.bin")).body == content(10_000_000)
    path = f"/put/{workspace}-{protocol.strip('-.')}"
    assert curl(edge, protocol, "-T", "-", url(edge, name, path), stdin=content(10_000_000)).status == 201
    assert origin.uploaded(path.removeprefix("/put/")) == content(10_000_000)


def test_an_origin_whose_certificate_is_for_another_name_is_not_spoken_to(edge, protocol):
    assert curl(edge, protocol, url(edge, "elsewhere.test", "/seen")).status == 502


def test_clients_that_send_no_name_get_the_default_one(edge):
    """curl sends none for an address; the certificate is then not for what it asked."""
    reply = curl(edge, "--insecure", "-H", f"Host: {NAME}", f"https://127.0.0.1:{edge.https_port}/seen")
    assert (reply.status, reply.seen["workspace-id"]) == (200, WORKSPACE)


def test_an_origin_that_was_restarted_is_used_again_though_kept_connections_to_it_are_dead(edge, origin):
    for protocol in PROTOCOLS * 2:
        several = [url(edge, NAME, "/seen"), url(edge, "secure.test", "/seen")] * 2
        assert [reply.status for reply in curl_all(edge, protocol, *several)] == [200] * 4
        origin.stop()
        assert [reply.status for reply in curl_all(edge, protocol, *several)] == [502] * 4
        origin.start()
        assert [reply.status for reply in curl_all(edge, protocol, *several)] == [200] * 4


def test_a_request_on_a_kept_connection_that_died_is_tried_again(edge, origin):
    """The edge may not have noticed yet that the origin closed: a GET is then sent once more, on a new connection."""
    for _ in range(5):
        assert curl(edge, HTTP1, url(edge, NAME, "/seen")).status == 200
        origin.stop()
        origin.start()
        assert curl(edge, HTTP1, url(edge, NAME, "/seen")).status == 200
