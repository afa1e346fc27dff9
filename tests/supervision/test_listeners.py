import errno
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeproxy.config.dns import Dns
from edgeproxy.config.machine import Admin
from edgeproxy.config.monitoring import Metrics
from edgeproxy.config.structs import Config
from edgeproxy.config.visitors import Listen
from edgeproxy.errors import StartError
from edgeproxy.supervision import listeners as module
from edgeproxy.supervision.identity import Identities, Identity
from edgeproxy.supervision.listeners import Listeners, Wanted, bind_tcp, bind_udp, bound_name, wanted
from tests.ports import free_port

NOBODY = Identities(None, None)


@pytest.fixture
def listeners() -> Iterator[Listeners]:
    listeners = Listeners()
    yield listeners
    listeners.close()


def free(host: str = "127.0.0.1") -> str:
    return f"{host}:{free_port(host.strip('[]'))}"


def connects(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=60).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_configuration_asks_for_sockets_by_role() -> None:
    config = Config(
        listen=Listen(https=("0.0.0.0:443", "[::]:443"), http=("0.0.0.0:80",)),
        metrics=Metrics(listen="127.0.0.1:9180"),
        admin=Admin(socket="/run/x/admin.sock"),
    )
    identities = Identities(Identity("c", 1, 2, (2,)), Identity("w", 3, 4, (2, 4)))
    by_role = {each.role: each for each in wanted(config, identities)}
    assert set(by_role) == {"https 0.0.0.0:443", "https [::]:443", "http 0.0.0.0:80", "metrics", "admin", "api"}
    assert (by_role["admin"].mode, by_role["admin"].owner) == (0o660, (1, 2))
    assert by_role["api"].address == "/run/x/api.sock"
    assert (by_role["api"].mode, by_role["api"].owner) == (0o600, (3, 4))
    assert [role for role, each in by_role.items() if each.for_workers] == [
        "https 0.0.0.0:443",
        "https [::]:443",
        "http 0.0.0.0:80",
    ]


def test_bound_sockets_are_handed_out_by_role(listeners: Listeners, tmp_path: Path) -> None:
    first, second, admin = free(), free(), str(tmp_path / "admin.sock")
    wants = [Wanted(f"https {first}", first), Wanted(f"http {second}", second), Wanted("admin", admin, 0o660)]
    assert listeners.prepare(wants) == [first, second, admin]
    listeners.commit(wants)
    assert listeners.roles == [f"https {first}", f"http {second}", f"admin {admin}"]
    assert {role: bound_name(sock) for role, sock in listeners.worker_sockets(wants).items()} == {
        f"https {first}": first,
        f"http {second}": second,
    }
    assert list(listeners.controller_sockets(wants)) == ["admin"]
    assert connects(first)
    assert connects(second)
    for sock in listeners.all():
        assert sock.get_inheritable()
        assert not sock.getblocking()


def test_more_connections_than_usual_may_wait(listeners: Listeners) -> None:
    address = free()
    listeners.prepare([Wanted(f"https {address}", address)])
    host, _, port = address.rpartition(":")
    clients = [socket.create_connection((host, int(port)), timeout=60) for _ in range(300)]
    for client in clients:
        client.close()


def test_both_families_of_one_port_can_be_listened_on(listeners: Listeners) -> None:
    four = free("0.0.0.0")
    six = "[::]:" + four.rpartition(":")[2]
    assert listeners.prepare([Wanted(f"https {four}", four), Wanted(f"https {six}", six)]) == [four, six]
    assert connects("127.0.0.1:" + four.rpartition(":")[2])
    assert connects("[::1]:" + four.rpartition(":")[2])


def test_a_port_in_use_is_told_with_the_process_that_has_it(listeners: Listeners) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = bound_name(other)
        with pytest.raises(StartError) as caught:
            listeners.prepare([Wanted(f"https {address}", address)], retry=0)
    port = address.rpartition(":")[2]
    assert caught.value.code == "address_in_use"
    assert f"Port {port} on 127.0.0.1 is in use by process {os.getpid()} (" in caught.value.detail
    assert "change listen.https" in caught.value.detail


def test_a_port_that_gets_free_within_the_retry_is_taken(listeners: Listeners) -> None:
    other = socket.create_server(("127.0.0.1", 0))
    address = bound_name(other)
    timer = threading.Timer(0.2, other.close)
    timer.start()
    assert listeners.prepare([Wanted(f"https {address}", address)], retry=30) == [address]
    timer.join()


def test_what_was_bound_before_a_failure_is_closed_again(listeners: Listeners) -> None:
    good = free()
    with socket.create_server(("127.0.0.1", 0)) as other:
        bad = bound_name(other)
        with pytest.raises(StartError):
            listeners.prepare([Wanted(f"https {good}", good), Wanted(f"http {bad}", bad)], retry=0)
    assert not connects(good)
    assert listeners.all() == []


def test_a_new_list_keeps_what_stays_and_closes_what_goes(listeners: Listeners) -> None:
    stays, goes, comes = free(), free(), free()
    before = [Wanted(f"https {stays}", stays), Wanted(f"http {goes}", goes)]
    listeners.prepare(before)
    listeners.commit(before)
    kept = listeners.worker_sockets(before)[f"https {stays}"]
    after = [Wanted(f"https {stays}", stays), Wanted(f"https {comes}", comes)]
    assert listeners.prepare(after) == [comes]
    assert connects(goes)
    assert listeners.commit(after) == [goes]
    assert not connects(goes)
    assert listeners.worker_sockets(after)[f"https {stays}"] is kept


def test_an_address_that_overlaps_an_own_one_is_told(listeners: Listeners) -> None:
    everywhere = free("0.0.0.0")
    listeners.prepare([Wanted(f"https {everywhere}", everywhere)])
    one = "127.0.0.1:" + everywhere.rpartition(":")[2]
    with pytest.raises(StartError, match=f"overlaps {everywhere}"):
        listeners.prepare([Wanted(f"https {one}", one)], retry=0)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EACCES, "CAP_NET_BIND_SERVICE"),
        (errno.EADDRNOTAVAIL, "This machine has no address 127.0.0.1"),
        (errno.ENOBUFS, "cannot be listened on"),
    ],
)
def test_each_refusal_of_the_kernel_says_what_to_do(
    listeners: Listeners, monkeypatch: pytest.MonkeyPatch, number: int, expected: str
) -> None:
    def fail(_address: str) -> socket.socket:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module, "bind_tcp", fail)
    with pytest.raises(StartError, match=expected):
        listeners.prepare([Wanted("https 127.0.0.1:443", "127.0.0.1:443")], retry=0)


def test_the_ipv6_wildcard_is_left_out_where_there_is_no_ipv6(listeners: Listeners, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_address: str) -> socket.socket:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))

    monkeypatch.setattr(module, "bind_tcp", fail)
    assert listeners.prepare([Wanted("https [::]:443", "[::]:443")], retry=0) == []
    assert "no IPv6" in listeners.skipped[0]
    with pytest.raises(StartError):
        listeners.prepare([Wanted("https [2001:db8::1]:443", "[2001:db8::1]:443")], retry=0)


def test_the_admin_socket_has_its_mode_whatever_the_umask(listeners: Listeners, tmp_path: Path) -> None:
    path = tmp_path / "run" / "admin.sock"
    before = os.umask(0)
    try:
        listeners.prepare([Wanted("admin", str(path), 0o660)])
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o660
    assert path.parent.stat().st_mode & 0o777 == 0o750


def test_a_stale_socket_file_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    first, second = Listeners(), Listeners()
    want = [Wanted("admin", str(path), 0o660)]
    first.prepare(want, retry=0)
    with pytest.raises(StartError, match="in use by another program"):
        second.prepare(want, retry=0)
    assert path.exists()
    first.close()
    assert not path.exists()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_something_else_at_the_sockets_place_is_never_removed(listeners: Listeners, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "admin.sock"
    path.write_text("precious") if kind == "file" else path.mkdir()
    with pytest.raises(StartError, match=r"something else than a socket is there\. Move that away"):
        listeners.prepare([Wanted("admin", str(path), 0o660)], retry=0)
    assert path.exists()


def test_a_socket_path_that_is_too_long_is_said(listeners: Listeners, tmp_path: Path) -> None:
    with pytest.raises(StartError, match="longer than 107 bytes"):
        listeners.prepare([Wanted("admin", str(tmp_path / ("x" * 120)), 0o660)], retry=0)


def test_a_socket_of_systemd_is_taken_where_its_address_is_asked_for() -> None:
    given = bind_tcp(free())
    unused = bind_tcp(free())
    address, other = bound_name(given), bound_name(unused)
    listeners = Listeners([given, unused])
    want = [Wanted(f"https {address}", address)]
    assert listeners.prepare(want, retry=0) == [address]
    listeners.commit(want)
    assert listeners.worker_sockets(want)[f"https {address}"] is given
    assert listeners.unused == [other]
    listeners.close()
    assert unused.fileno() == -1


def test_systemds_socket_for_both_families_covers_ipv4() -> None:
    four = free("0.0.0.0")
    six = "[::]:" + four.rpartition(":")[2]
    given = socket.create_server(("::", int(four.rpartition(":")[2])), family=socket.AF_INET6, dualstack_ipv6=True)
    listeners = Listeners([given])
    assert listeners.prepare([Wanted(f"https {four}", four), Wanted(f"https {six}", six)], retry=0) == [six]
    assert "systemd" in listeners.skipped[0]
    listeners.close()


def test_closing_the_public_sockets_leaves_the_admins(listeners: Listeners, tmp_path: Path) -> None:
    address, admin = free(), str(tmp_path / "admin.sock")
    wants = [Wanted(f"https {address}", address), Wanted("admin", admin, 0o660)]
    listeners.prepare(wants)
    listeners.commit(wants)
    listeners.close_public()
    assert not connects(address)
    assert listeners.roles == [f"admin {admin}"]
    assert Path(admin).exists()


def dns_wants(address: str) -> list[Wanted]:
    return [each for each in wanted(Config(dns=Dns(listen=(address,))), NOBODY) if each.role.startswith("dns ")]


def test_a_dns_server_has_one_port_for_datagrams_and_for_streams(listeners: Listeners) -> None:
    address = f"127.0.0.1:{free_port()}"
    wants = dns_wants(address)
    assert listeners.prepare(wants) == [f"{address}/udp", address]
    listeners.commit(wants)
    assert listeners.roles == [f"dns udp {address}", f"dns tcp {address}"]
    sockets = listeners.controller_sockets(wants)
    assert {role: sock.type for role, sock in sockets.items()} == {
        f"dns udp {address}": socket.SOCK_DGRAM,
        f"dns tcp {address}": socket.SOCK_STREAM,
    }
    assert [bound_name(sock) for sock in sockets.values()] == [f"{address}/udp", address]
    assert listeners.worker_sockets(wants) == {}
    for sock in listeners.all():
        assert sock.get_inheritable()
        assert not sock.getblocking()
    assert listeners.commit([]) == [f"{address}/udp", address]
    assert listeners.all() == []


def test_datagrams_of_both_families_can_be_had_on_one_port(listeners: Listeners) -> None:
    port = free_port()
    wants = [*dns_wants(f"0.0.0.0:{port}"), *dns_wants(f"[::]:{port}")]
    assert len(listeners.prepare(wants)) == 4
    assert bound_name(listeners.all()[2]) == f"[::]:{port}/udp"


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_the_kernel_tells_to_which_address_a_datagram_came(listeners: Listeners, host: str) -> None:
    wants = dns_wants(f"{host}:{free_port(host.strip('[]'))}")
    listeners.prepare(wants)
    sock = next(iter(listeners.controller_sockets(wants).values()))
    with socket.socket(sock.family, socket.SOCK_DGRAM) as client:
        client.sendto(b"x", sock.getsockname())
    sock.settimeout(30)
    _, control, _, _ = sock.recvmsg(10, 64)
    assert len(control) == 1


def test_a_udp_port_in_use_is_told_with_the_process_that_has_it(listeners: Listeners) -> None:
    port = free_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", port))
        with pytest.raises(StartError) as caught:
            listeners.prepare(dns_wants(f"127.0.0.1:{port}"), retry=0)
    assert caught.value.code == "address_in_use"
    assert f"UDP port {port} on 127.0.0.1 is in use by process {os.getpid()} (" in caught.value.detail
    assert "change dns.listen" in caught.value.detail
    assert listeners.all() == []


def test_no_other_program_can_take_datagrams_too(listeners: Listeners) -> None:
    address = f"127.0.0.1:{free_port()}"
    listeners.prepare(dns_wants(address))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", int(address.rpartition(":")[2])))


def test_datagrams_on_all_addresses_exclude_those_on_one(listeners: Listeners) -> None:
    port = free_port()
    listeners.prepare(dns_wants(f"0.0.0.0:{port}"))
    with pytest.raises(StartError, match=f"overlaps 0.0.0.0:{port}/udp, which this program listens on. Change dns.listen"):
        listeners.prepare(dns_wants(f"127.0.0.1:{port}"), retry=0)


def test_a_socket_for_datagrams_that_systemd_opened_is_taken() -> None:
    sock = bind_udp(f"127.0.0.1:{free_port()}")
    name = bound_name(sock)
    listeners = Listeners([sock])
    try:
        assert listeners.unused == [name]
        wants = dns_wants(name.removesuffix("/udp"))
        listeners.prepare(wants)
        assert next(iter(listeners.controller_sockets(wants).values())) is sock
        assert listeners.unused == []
    finally:
        listeners.close()
