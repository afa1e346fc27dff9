"""The access log of the whole program: what is in it, and that requests never wait for it."""

import contextlib
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.nginx import NAME, WORKSPACE, content
from tests.integration.running import PATIENCE, Running, wait_for
from tests.integration.visitors import HTTP1, curl, curl_begun, h2load, logged, url

SECRETS = {"authorization": "Bearer geheim-4711", "cookie": "session=geheim-4712"}


@pytest.fixture
def edge(front_door):
    return front_door


def test_each_request_is_a_line_of_json_with_what_an_operator_asks_for(edge, protocol):
    path = f"/put/{protocol.strip('-.')}-line?q=1"
    reply = curl(edge, protocol, "-X", "PUT", "--data-binary", "0123456789", url(edge, NAME, path))
    line = logged(edge, "path", path)
    assert (line["host"], line["workspace"], line["method"]) == (NAME, WORKSPACE, "PUT")
    assert (line["status"], line["bytes_in"], line["bytes_out"]) == (201, 10, len(reply.body))
    assert re.fullmatch(r"[0-9a-f]{12}-[0-9a-f]+", line["request_id"])
    assert (line["protocol"], line["tls"], line["client"]) == ("h1" if protocol == HTTP1 else "h2", "TLSv1.3", "127.0.0.1")
    assert 0 < line["origin_ms"] <= line["duration_ms"] < PATIENCE * 1000
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])


def test_a_visitor_who_goes_away_is_told_as_such(edge, protocol, tmp_path):
    path, came = f"/10000000.bin?{protocol}", tmp_path / "came"
    going = curl_begun(edge, protocol, "--limit-rate", "200k", "--output", str(came), url(edge, NAME, path))
    try:
        wait_for(lambda: came.exists() and came.stat().st_size, "the beginning of the answer")
    finally:
        going.kill()
        going.wait()
    line = logged(edge, "path", path)
    assert (line["status"], line["error"]) == (200, "the client went away")
    assert 0 < line["bytes_out"] < 10_000_000


def test_no_secret_is_in_a_log(edge, protocol):
    options = [option for name, value in SECRETS.items() for option in ("-H", f"{name}: {value}")]
    reply = curl(edge, protocol, *options, url(edge, NAME, "/seen"))
    assert (reply.seen["authorization"], reply.seen["cookie"]) == tuple(SECRETS.values())
    logged(edge, "request_id", reply.seen["x-request-id"])
    logs = edge.output.read_text() + edge.log.read_text()
    assert "geheim" not in logs
    assert "PRIVATE KEY" not in logs
    assert (edge.state / "state.key").read_text().strip() not in logs


def _dropped(edge):
    found = re.search(r"^edgeproxy_access_log_dropped_total (\S+)", edge.api("GET", "/metrics")[1], re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_a_log_that_nobody_reads_blocks_neither_requests_nor_the_end(nginx, tmp_path):
    """Standard output is a pipe; once it is full, lines are dropped and counted, and come again when somebody reads."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    command = ["sh", "-c", f'exec "{sys.executable}" -m edgeproxy serve --config "$0" > "{fifo}"']
    tables = {"origin": {"url": nginx.url}, "limits": {"access_log_queue": 500}, "timeouts": {"drain": "1s"}}
    try:
        with Running(tmp_path / "edge", tables, command=command) as edge:
            edge.add_domain(NAME, WORKSPACE)
            for options in (["-c", "10", "-m", "10"], ["-c", "10", "--h1"]):
                assert h2load(edge, NAME, "-n", "3000", *options) == 3000
            wait_for(lambda: _dropped(edge) > 1000, "lines counted as dropped")
            assert curl(edge, url(edge, NAME, "/1000000.bin")).body == content(1_000_000)
            read = b""

            def there(text):
                nonlocal read
                with contextlib.suppress(BlockingIOError):
                    read += os.read(reader, 1 << 20)
                return text in read

            def last_word():
                curl(edge, url(edge, NAME, "/seen?the-last-word"))
                return there(b"the-last-word")

            wait_for(last_word, "lines again once they are read")
            lines = read.splitlines()
            assert all(json.loads(line)["status"] == 200 for line in lines[:-1])
            # Full again, and still so when the program ends: what it could not write does not hold it up.
            assert h2load(edge, NAME, "-n", "2000", "-c", "10", "-m", "10") == 2000
            with contextlib.closing(
                edge.visitor(NAME)
            ) as visitor:  # whose request never ends: the worker drains as long as it may
                visitor.sock.sendall(f"POST / HTTP/1.1\r\nhost: {NAME}\r\ncontent-length: 9\r\n\r\n".encode())
                assert edge.stop() == 0
            assert edge.logged("did not end in time") is None
    finally:
        os.close(reader)


@contextlib.contextmanager
def _small_disk(folder):
    """A file system of 64 KiB, where this may be mounted; else None."""
    folder.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "edgeproxy-test", str(folder)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_with_standard_output_closed_the_log_never_goes_where_something_else_is(tmp_path):
    command = ["sh", "-c", 'exec "$0" -m edgeproxy serve --config "$1" <&- >&-', sys.executable]
    with Running(tmp_path / "edge", command=command) as edge:
        for pid in edge.children():
            assert [str(Path(f"/proc/{pid}/fd/{number}").readlink()) for number in (0, 1)] == ["/dev/null"] * 2


def test_a_log_that_can_not_be_opened_is_told_at_the_start(tmp_path):
    with Running(tmp_path / "edge", {"log": {"access": str(tmp_path / "none" / "access.log")}}) as edge:
        assert edge.wait_logged("The access log can not be opened, lines are lost")


def test_a_full_disk_under_the_log_never_blocks_requests(nginx, tmp_path):
    with _small_disk(tmp_path / "disk") as disk:
        log = (disk or tmp_path) / "access.log"
        with Running(tmp_path / "edge", {"origin": {"url": nginx.url}, "log": {"access": str(log)}}) as edge:
            if disk is None:  # the workers may write no more than this into any one file
                for pid, name in edge.children().items():
                    if " w" in name:
                        resource.prlimit(pid, resource.RLIMIT_FSIZE, (65536, 65536))
            edge.add_domain(NAME, WORKSPACE)
            for options in (["-c", "10", "-m", "10"], ["-c", "10", "--h1"]):
                assert h2load(edge, NAME, "-n", "2000", *options) == 2000
            wait_for(lambda: _dropped(edge) > 1000, "lines counted as dropped")
            assert edge.wait_logged("The access log can not be written")
            lines = log.read_bytes().splitlines()
            assert len(lines) > 50
            if disk is None:
                return
            log.write_bytes(b"")  # as `truncate` would: there is room again

            def last_word():
                curl(edge, url(edge, NAME, "/seen?the-last-word"))
                return b"the-last-word" in log.read_bytes()

            wait_for(last_word, "lines again once there is room")
            assert all(json.loads(line)["host"] == NAME for line in log.read_bytes().splitlines() if line)
