import os
import socket
from pathlib import Path

import pytest

from edgeproxy.supervision.systemd import Notifier, activated_sockets


def test_without_systemd_nothing_is_said() -> None:
    notifier = Notifier({})
    notifier.ready("fine")
    notifier.alive()
    assert notifier.watchdog is None
    notifier.close()


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_each_step_and_children_do_not_inherit_the_address(tmp_path: Path, abstract: bool) -> None:
    name = f"@edgeproxy-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name[1:] if abstract else name)
        environ = {"NOTIFY_SOCKET": name, "OTHER": "stays"}
        notifier = Notifier(environ)
        assert environ == {"OTHER": "stays"}
        notifier.ready("Serving with 2 workers")
        notifier.reloading()
        notifier.status("hm")
        notifier.alive()
        notifier.stopping()
        said = [systemd.recv(1000).decode() for _ in range(5)]
        notifier.close()
    assert said[0].splitlines() == ["READY=1", "STATUS=Serving with 2 workers", f"MAINPID={os.getpid()}"]
    assert said[1].startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert int(said[1].rpartition("=")[2]) > 0
    assert said[2:4] == ["STATUS=hm", "WATCHDOG=1"]
    assert said[4].startswith("STOPPING=1")


def test_a_systemd_that_does_not_listen_or_is_gone_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    systemd.bind(str(path))
    notifier = Notifier({"NOTIFY_SOCKET": str(path)})
    for _ in range(1000):
        notifier.alive()
    systemd.close()
    notifier.alive()
    path.unlink()
    notifier.alive()
    notifier.close()


@pytest.mark.parametrize(
    ("microseconds", "pid", "expected"),
    [
        ("10000000", "", 5.0),
        pytest.param("10000000", str(os.getpid()), 5.0, id="10000000-ours-5.0"),
        ("10000000", "1", None),
        ("0", "", None),
        ("soon", "", None),
        ("", "", None),
    ],
)
def test_the_watchdog_is_fed_twice_in_its_time(microseconds: str, pid: str, expected: float | None) -> None:
    assert Notifier({"WATCHDOG_USEC": microseconds, "WATCHDOG_PID": pid}).watchdog == expected


def test_sockets_meant_for_another_process_are_not_taken() -> None:
    assert activated_sockets({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) == []
    assert activated_sockets({}) == []
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many", "LISTEN_FDNAMES": "x"}
    assert activated_sockets(environ) == []
    assert environ == {}
