"""Which edge a command talks to, and for how long it waits."""

import socket

import pytest

from edgeproxy.cli import main
from edgeproxy.cli.client import SECONDS
from edgeproxy.cli.options import admin
from edgeproxy.errors import AdminUnavailable
from tests.cli.conftest import Edge

DOMAINS = "/api/v1/infrastructure/domains"


def test_a_socket_on_the_command_line_goes_before_the_environments(cli, edge, tmp_path):
    edge.answers["GET /api/v1/admin/status"] = (200, {"version": "right"})
    status, _, err = cli("status", "--socket", str(tmp_path / "other.sock"))
    assert status == main.UNANSWERED
    assert f"No edge answers at {tmp_path}/other.sock" in err
    assert edge.asked == []
    status, out, _ = cli("status")
    assert status == main.DONE
    assert "right" in out


def test_a_socket_may_be_named_from_where_one_is(cli, edge, tmp_path, monkeypatch):
    monkeypatch.delenv("EDGEPROXY_SOCKET")
    monkeypatch.chdir(tmp_path)
    edge.answers["GET /api/v1/admin/status"] = (200, {"version": "right"})
    assert cli("status", "--socket", "admin.sock")[0] == main.DONE


@pytest.mark.parametrize("limit", ["0", "-1", "many", "1.5"])
def test_a_limit_is_a_number_of_at_least_one(cli, edge, limit):
    status, _, err = cli("domains", "list", "--limit", limit)
    assert status == main.USAGE
    assert "--limit" in err
    assert edge.asked == []


def test_a_limit_is_the_edges_to_keep(cli, edge):
    edge.answers[f"GET {DOMAINS}?limit=1"] = (200, {"domains": [], "next_cursor": None})
    assert cli("domains", "list", "--limit", "1")[0] == main.DONE
    assert [asked[1] for asked in edge.asked] == [f"{DOMAINS}?limit=1"]


def test_a_command_waits_as_long_as_it_says_else_as_long_as_any(tmp_path):
    path = tmp_path / "silent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(AdminUnavailable, match="did not answer within 0 s"):
            admin(path, timeout=0.05).get("/")
    assert admin(path)._timeout == SECONDS


def test_without_a_socket_the_environment_says_where(tmp_path, monkeypatch):
    server = Edge(tmp_path / "here.sock")
    monkeypatch.setenv("EDGEPROXY_SOCKET", str(server.path))
    assert admin(None).path == server.path
    assert admin(tmp_path / "there.sock").path == tmp_path / "there.sock"
    server.server_close()


@pytest.mark.parametrize("wrong", ["", " ", ".", "..", "../../etc", "a/b"])
@pytest.mark.parametrize(
    "command", ["domains show", "doctor", "certs issue", "workspaces show", "tokens revoke", "webhooks test"]
)
def test_what_names_nothing_asks_nobody(cli, edge, command, wrong):
    status, out, err = cli(*command.split(), wrong)
    assert (status, out, edge.asked) == (main.USAGE, "", [])
    assert f"{wrong!r} names nothing." in err
