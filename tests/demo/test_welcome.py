"""The demo's welcome: it waits for the edge, adds the domains, and says what can be typed as it stands."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeproxy.demo import welcome
from edgeproxy.demo.run import DOMAINS
from tests.cli.conftest import Edge
from tests.integration.running import PATIENCE, ROOT, wait_for

READY, ADD = "GET /readyz", "POST /api/v1/infrastructure/domains"
TOKENS = "POST /api/v1/tokens"
TOKEN = "edgeproxy_0123456789abcdef_secret"
EVENTS = "/api/v1/infrastructure/events?domain={}&last=1"
ISSUE = f"POST /api/v1/infrastructure/ssl/{next(iter(DOMAINS))}"


class StandIn(Edge):
    """An edge that serves, takes every domain and issues."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "admin.sock")
        self.answers.update({READY: (200, {}), ADD: (201, {}), ISSUE: (200, {}), TOKENS: (201, {"token": TOKEN})})
        for label in ("shop", "shop2", "shop3"):
            for domain in ("customer.localhost", "pending.localhost"):
                self.happened(f"{label}.{domain}", there=False)

    def happened(self, domain: str, *, there: bool = True) -> None:
        """Something with a name, in an earlier run of the demo; or nothing."""
        self.answers["GET " + EVENTS.format(domain)] = (200, {"events": [{"type": "domain.registered"}] if there else []})

    def done(self) -> list[str]:
        """What it was asked to do, readiness and what was only looked at aside."""
        return [f"{method} {path}" for method, path, _, _ in self.asked if method != "GET"]


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[StandIn]:
    server = StandIn(tmp_path)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class Welcome:
    """The welcome as the demo starts it: a process that lives as long as its standard input."""

    def __init__(self, home: Path, port: int = 8443, **environ: str) -> None:
        command = [sys.executable, "-m", "edgeproxy.demo.welcome", str(home), str(home / "admin.sock"), str(port)]
        self.process = subprocess.Popen(
            command,
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        )

    def ended(self, *, close: bool = False) -> tuple[int, str, str]:
        """Exit status, what it said, and what it complained of; `close`: once its input has ended."""
        assert self.process.stdin is not None
        try:
            if close:
                self.process.stdin.close()
                self.process.stdin = None
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            out, err = self.process.communicate()
        return self.process.returncode, out, err


def test_it_adds_the_domains_and_says_how_to_try_them(edge: StandIn, tmp_path: Path) -> None:
    (tmp_path / "internal-ca.pem").touch()
    status, out, err = Welcome(tmp_path, 9443).ended()
    assert (status, err) == (0, "")
    added = [body for _, path, body, _ in edge.asked if path.endswith("/domains")]
    assert added == [{"domain": domain, "workspace_id": workspace} for domain, workspace in DOMAINS.items()]
    assert edge.done() == [*[ADD] * len(DOMAINS), TOKENS]
    [(_, _, asked, _)] = [each for each in edge.asked if each[1] == "/api/v1/tokens"]
    assert asked == {"scope": "platform", "label": "demo", "expires_in": 86_400}
    assert f"  TOKEN={TOKEN}\n" in out
    assert "  curl --cacert internal-ca.pem https://gallery.localhost:9443/\n" in out  # as short as it is from here
    assert " status --socket admin.sock\n" in out


def test_it_waits_until_the_edge_serves_and_does_nothing_before(edge: StandIn, tmp_path: Path) -> None:
    edge.answers[READY] = (503, {"detail": "No worker serves yet."})
    waiting = Welcome(tmp_path)
    wait_for(lambda: len(edge.asked) >= 3, "asked whether it is ready")
    assert edge.done() == []
    edge.answers[READY] = (200, {})
    assert waiting.ended()[0] == 0
    assert edge.done()[: len(DOMAINS)] == [ADD] * len(DOMAINS)


def test_an_edge_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    waiting = Welcome(tmp_path)
    time.sleep(0.3)  # noqa: TID251 - it is started, finds no socket, and goes on
    assert waiting.process.poll() is None
    server = StandIn(tmp_path)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        assert waiting.ended()[0] == 0
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert server.done()


def test_a_root_that_is_not_there_yet_is_made_by_issuing(edge: StandIn, tmp_path: Path) -> None:
    assert Welcome(tmp_path).ended()[0] == 0
    assert edge.done()[-1] == ISSUE


def test_domains_that_are_there_from_the_time_before_are_fine(edge: StandIn, tmp_path: Path) -> None:
    edge.answers[ADD] = (409, {"code": "conflict", "detail": "gallery.localhost is registered already.", "fault": "client"})
    status, out, _ = Welcome(tmp_path).ended()
    assert status == 0
    assert "Try it:" in out
    assert edge.done() == [*[ADD] * len(DOMAINS), TOKENS, ISSUE]


def test_names_that_an_earlier_run_had_are_left_alone(edge: StandIn, tmp_path: Path) -> None:
    edge.happened("shop.customer.localhost")
    edge.happened("shop2.pending.localhost")
    _, out, _ = Welcome(tmp_path).ended()
    assert "/verify/shop3.customer.localhost " in out
    assert "/verify/shop3.pending.localhost " in out
    assert "shop.customer.localhost" not in out


def test_without_a_token_nothing_is_said_but_why(edge: StandIn, tmp_path: Path) -> None:
    edge.answers[TOKENS] = (503, {"code": "state_unusable", "detail": "The disk is full. Make room.", "fault": "operator"})
    assert Welcome(tmp_path).ended() == (1, "", "The demo could not be prepared: The disk is full. Make room.\n")


def test_a_refusal_is_told_in_one_sentence(edge: StandIn, tmp_path: Path) -> None:
    edge.answers[ADD] = (503, {"code": "state_unusable", "detail": "The disk is full. Make room.", "fault": "operator"})
    assert Welcome(tmp_path).ended() == (1, "", "The demo could not be prepared: The disk is full. Make room.\n")
    assert edge.done() == [ADD]


def test_an_edge_that_goes_away_in_between_is_told(edge: StandIn, tmp_path: Path) -> None:
    edge.answers[ADD] = (201, b"this is no edge")
    status, out, err = Welcome(tmp_path).ended()
    assert (status, out) == (1, "")
    assert err.startswith("The demo could not be prepared: ")
    assert "Traceback" not in err


def test_it_ends_without_a_word_when_the_demo_does(edge: StandIn, tmp_path: Path) -> None:
    edge.answers[READY] = (503, {})
    waiting = Welcome(tmp_path)
    wait_for(lambda: edge.asked, "asked whether it is ready")
    assert waiting.ended(close=True) == (1, "", "")
    assert edge.done() == []


def test_an_edge_that_never_serves_is_given_up_with_where_to_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(welcome, "SECONDS", 0.2)
    read, write = os.pipe()
    with os.fdopen(read) as stdin, os.fdopen(write, "w"):
        monkeypatch.setattr(sys, "stdin", stdin)
        assert welcome.main(tmp_path, tmp_path / "admin.sock", 8443) == 1
    assert "does not serve after 0 s; its log above says why" in capsys.readouterr().err


CUSTOMER = welcome.Customer(TOKEN, "shop", "spandantest")


def commands(told: str) -> list[list[str]]:
    """The lines that are to be typed, as a shell reads them."""
    starts = ("curl ", "certutil ", "sudo ", "edgeproxy ")
    whole = told.replace("\\\n", " ").splitlines()
    lines = [line.strip() if "curl" in line else line.strip().partition("   ")[2].strip() or line.strip() for line in whole]
    return [shlex.split(line) for line in lines if line.startswith(starts)]


def test_the_welcome_says_what_to_try() -> None:
    told = welcome.text(
        Path("/srv/demo/internal-ca.pem"), Path("/srv/demo/admin.sock"), 8443, CUSTOMER, command=".venv/bin/edgeproxy"
    )
    assert "  curl --cacert /srv/demo/internal-ca.pem https://gallery.localhost:8443/\n" in told
    assert "https://shop.localhost:8443/ " in told
    assert "workspace acme-store" in told
    assert "https://any-workspace.platform.localhost:8443/  workspace any-workspace" in told
    assert "  .venv/bin/edgeproxy status --socket /srv/demo/admin.sock\n" in told
    assert "https://gallery.localhost/\n" in welcome.text(Path("/a"), Path("/b"), 443, CUSTOMER, command="edgeproxy")


def test_what_is_to_be_typed_survives_a_shell_whatever_the_folder_is_called() -> None:
    home = Path("/srv/my demo's; reboot")
    typed = commands(welcome.text(home / "internal-ca.pem", home / "admin.sock", 8443, CUSTOMER, command="edgeproxy"))
    root, sock = str(home / "internal-ca.pem"), str(home / "admin.sock")
    assert ["curl", "--cacert", root, "https://gallery.localhost:8443/"] in typed
    assert ["edgeproxy", "status", "--socket", sock] in typed
    assert ["edgeproxy", "events", "tail", "--no-follow", "--socket", sock] in typed
    assert [words[3] for words in typed if words[:2] == ["curl", "-sS"]] == [root] * 4
    assert [words[-1] for words in typed if words[0] == "certutil"] == [root]
    assert [words[2] for words in typed if words[0] == "sudo"] == [root]


@pytest.mark.parametrize("found", ["on the path", "beside", "nowhere"])
def test_the_edges_own_view_is_asked_for_by_a_command_that_works_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: str
) -> None:
    places = tmp_path / "a venv" / "bin"
    places.mkdir(parents=True)
    if found != "nowhere":
        (places / "edgeproxy").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(places) if found == "on the path" else "/nowhere")
    monkeypatch.setattr(sys, "executable", str(places / "python"))
    monkeypatch.chdir(tmp_path)
    expected = {
        "on the path": "edgeproxy",
        "beside": "'a venv/bin/edgeproxy'",
        "nowhere": f"'{places}/python' -m edgeproxy",
    }
    assert welcome._command() == expected[found]


def test_a_folder_elsewhere_is_named_whole(edge: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    said = io.StringIO()
    monkeypatch.setattr(sys, "stdout", said)
    assert welcome.main(tmp_path, tmp_path / "admin.sock", 8443) == 0
    assert f"--socket {tmp_path}/admin.sock\n" in said.getvalue()
