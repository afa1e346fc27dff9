import os
import socket
import sys
from pathlib import Path

import pytest

from edgeproxy.supervision import holder

TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0
   1: 00000000:01BB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1 0000000000000000 100 0 0 10 0
   2: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 4713 1 0000000000000000 100 0 0 10 0
"""
TCP6 = """  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4714 1 0000000000000000 100 0 0 10 0
"""  # noqa: E501


@pytest.mark.skipif(sys.byteorder != "little", reason="the sample is of a little-endian machine")
def test_only_listeners_of_the_port_are_found() -> None:
    assert holder.listening_inodes(TCP, 8080) == [("127.0.0.1", 4711)]
    assert holder.listening_inodes(TCP, 443) == [("0.0.0.0", 4712)]
    assert holder.listening_inodes(TCP6, 8080) == [("::1", 4714)]
    assert holder.listening_inodes(TCP, 80) == []
    assert holder.listening_inodes("", 80) == []


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("0.0.0.0", "127.0.0.1", True),
        ("::", "0.0.0.0", True),
        ("::1", "127.0.0.1", False),
        ("::1", "::", True),
        ("0.0.0.0", "::1", False),
    ],
)
def test_addresses_overlap_when_one_stands_for_the_other(one: str, other: str, expected: bool) -> None:
    assert holder.overlaps(one, other) is expected
    assert holder.overlaps(other, one) is expected


def test_this_process_is_found_as_the_holder_of_its_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        found = holder.holder("127.0.0.1", port)
    comm = Path("/proc/self/comm").read_text().strip()
    assert found == f"process {os.getpid()} ({comm})"


def test_nobody_is_named_where_nobody_listens(tmp_path: Path) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        assert holder.holder("127.0.0.1", sock.getsockname()[1]) == ""
    assert holder.holder("127.0.0.1", 80, tmp_path) == ""


def test_the_holder_of_a_udp_port_is_found_apart_from_tcp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        assert holder.holder("127.0.0.1", port, udp=True).startswith(f"process {os.getpid()} (")
        with socket.create_server(("127.0.0.1", 0)) as stream:
            assert holder.holder("127.0.0.1", stream.getsockname()[1], udp=True) == ""
