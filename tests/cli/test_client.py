"""The admin client: what can happen on the socket, each as one sentence."""

import socket
import threading

import pytest

from edgeproxy.cli import client
from edgeproxy.cli.client import AdminClient, Refused, default_socket, refusal_of
from edgeproxy.errors import AdminUnavailable, Fault


def test_a_socket_that_is_not_there_is_told(tmp_path):
    with pytest.raises(AdminUnavailable, match="there is no such socket"):
        AdminClient(tmp_path / "no.sock").get("/")


def test_a_socket_that_nobody_listens_on_is_told(tmp_path):
    path = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with pytest.raises(AdminUnavailable, match="nobody listens there any more"):
        AdminClient(path).get("/")


def test_a_path_that_is_no_socket_is_told(tmp_path):
    file = tmp_path / "edgeproxy.toml"
    file.touch()
    for path in (tmp_path, file):
        with pytest.raises(AdminUnavailable, match=r"is no socket\. Name that of the edge with --socket"):
            AdminClient(path).get("/")


def test_a_path_too_long_for_a_socket_is_told(tmp_path):
    with pytest.raises(AdminUnavailable, match="path too long"):
        AdminClient(tmp_path / ("x" * 200)).get("/")


def test_an_edge_that_is_silent_is_told(tmp_path):
    path = tmp_path / "silent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(AdminUnavailable, match="did not answer within 0 s"):
            AdminClient(path, timeout=0.05).get("/")


def test_who_waits_is_told_for_what_unless_that_is_no_surprise(tmp_path, edge, monkeypatch, capsys):
    monkeypatch.setattr(client, "PATIENCE", 0.02)
    path = tmp_path / "slow.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        for hint, told in ((True, f"Waiting for the edge at {path} to answer …\n"), (False, "")):
            with pytest.raises(AdminUnavailable) as raised:
                AdminClient(path, timeout=0.05, hint=hint).get("/")
            assert raised.value.code == client.SILENT
            assert capsys.readouterr().err == told
    monkeypatch.setattr(client, "PATIENCE", 20.0)
    edge.answers["GET /"] = (200, {})
    AdminClient(edge.path).get("/")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (None, "is ending, or its start was just refused"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", "broke off its answer"),
    ],
)
def test_an_edge_that_breaks_off_is_told(tmp_path, said, told):
    path = tmp_path / "broken.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def hang_up():
            peer, _ = listener.accept()
            if said is not None:
                peer.recv(4096)
                peer.sendall(said)
            peer.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(AdminUnavailable, match=told):
            AdminClient(path).get("/")
        thread.join()


def test_an_edge_that_ends_with_requests_in_its_queue_is_told(tmp_path):
    path = tmp_path / "ending.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        # Nobody accepts, as in a start that is refused; then its socket is closed.
        timer = threading.Timer(0.2, listener.close)
        timer.start()
        with pytest.raises(AdminUnavailable, match=r"is ending, or its start was just refused.*its log says why"):
            AdminClient(path).get("/")
        timer.join()


def test_what_is_no_edge_is_told(edge):
    edge.answers["GET /"] = (200, b"<html>")
    with pytest.raises(AdminUnavailable, match="does not speak as an edge does"):
        AdminClient(edge.path).get("/")


def test_a_problem_document_becomes_an_error(edge):
    problem = {"status": 409, "detail": "It is there.", "code": "conflict", "fault": "client", "retryable": False}
    edge.answers["POST /x"] = (409, problem)
    with pytest.raises(Refused) as caught:
        AdminClient(edge.path).post("/x", {"a": 1})
    assert (caught.value.status, caught.value.detail, caught.value.code) == (409, "It is there.", "conflict")
    assert caught.value.fault is Fault.CLIENT
    assert edge.asked == [("POST", "/x", {"a": 1}, "application/json")]


def test_an_error_that_is_no_problem_document_still_has_a_sentence(edge):
    edge.answers["GET /x"] = (500, b"oops")
    with pytest.raises(Refused, match="answered 500 without saying why"):
        AdminClient(edge.path).get("/x")


def test_a_problem_with_wrong_members_is_an_error_all_the_same():
    error = refusal_of({"status": "many", "detail": None, "fault": ["x"], "retryable": "yes"}, 500)
    assert (error.status, error.fault, error.retryable) == (500, Fault.EDGE, False)


def test_pages_are_followed_up_to_the_limit(edge):
    edge.answers["GET /d?limit=1000"] = (200, {"d": [{"n": 1}, {"n": 2}], "next_cursor": "b/="})
    edge.answers["GET /d?limit=1000&cursor=b%2F%3D"] = (200, {"d": [{"n": 3}], "next_cursor": None})
    assert [member["n"] for member in AdminClient(edge.path).pages("/d", "d", None)] == [1, 2, 3]
    edge.answers["GET /d?limit=2"] = (200, {"d": [{"n": 1}, {"n": 2}], "next_cursor": "b"})
    assert [member["n"] for member in AdminClient(edge.path).pages("/d", "d", 2)] == [1, 2]


def test_steps_come_as_lines(edge):
    edge.answers["POST /ssl"] = (200, b'{"event": "progress"}\n\n{"event": "done"}\n')
    assert [step["event"] for step in AdminClient(edge.path).steps("/ssl", {})] == ["progress", "done"]


def test_the_socket_is_found_by_environment_then_configuration_then_default(tmp_path):
    config = tmp_path / "edge.toml"
    assert str(default_socket({}, config)) == "/run/edgeproxy/admin.sock"
    config.write_text("[admin\n")
    assert str(default_socket({}, config)) == "/run/edgeproxy/admin.sock"
    config.write_text('[admin]\nsocket = "/srv/a.sock"\n')
    assert str(default_socket({}, config)) == "/srv/a.sock"
    assert str(default_socket({"EDGEPROXY_ADMIN__SOCKET": "/b.sock"}, config)) == "/b.sock"
    assert str(default_socket({"EDGEPROXY_SOCKET": "/c.sock", "EDGEPROXY_ADMIN__SOCKET": "/b.sock"}, config)) == "/c.sock"


@pytest.mark.parametrize(
    ("detail", "told"),
    [
        ("body.max_domains: input should be less.", "max_domains: input should be less."),
        ("query.limit: too many. body.a: no.", "limit: too many. a: no."),
        ("body.events.0: 'x' is no event.", "events.0: 'x' is no event."),
        ("The body.x of this is somebody.else: so.", "The body.x of this is somebody.else: so."),
    ],
)
def test_a_field_is_told_without_its_place_in_a_request_that_nobody_wrote(detail, told):
    assert refusal_of({"detail": detail}).detail == told
