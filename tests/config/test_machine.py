"""[process], [state], [store], [workers] and [admin]."""

from pathlib import Path

import pytest

from edgeproxy.config.machine import Admin, Process, State, Workers


@pytest.mark.parametrize("socket", ["/run/edgeproxy/admin.sock", "/srv/other.sock", "relative/admin.sock"])
def test_the_socket_of_the_api_is_beside_that_of_the_operator(socket: str) -> None:
    assert Admin(socket=socket).api_socket == str(Path(socket).absolute().parent / "api.sock")


def test_the_root_of_all_keys_is_not_in_a_repr() -> None:
    shown = repr(State(directory="/srv/edge", key="ab" * 32))
    assert "/srv/edge" in shown
    assert "abab" not in shown


def test_unless_told_otherwise_nobody_else_is_become_and_there_is_a_worker_per_core() -> None:
    assert (Process().user, Process().worker_user, Process().group, Workers().count) == ("", "", "", 0)
