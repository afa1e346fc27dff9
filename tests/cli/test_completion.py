"""Shell completion: what is offered, and a real bash that is given a TAB."""

import os
import pty
import select
import shlex
import signal
import sys
import time
from contextlib import suppress

import pytest

from edgeproxy.cli import completion, main
from edgeproxy.cli.completion import NAMES
from tests.integration.running import PATIENCE, ROOT

DOMAINS = "/api/v1/infrastructure/domains"
WORKSPACES = "/api/v1/infrastructure/workspaces"


@pytest.fixture
def offered(cli, capsys, monkeypatch):
    """What a shell is offered for a line that ends at the cursor."""

    monkeypatch.setattr(completion, "SECONDS", PATIENCE)

    def offered(line):
        monkeypatch.setenv("_EDGEPROXY_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
        with pytest.raises(SystemExit) as ended:
            cli()
        captured = capsys.readouterr()
        assert (ended.value.code, captured.err) == (0, "")
        return captured.out.split()

    return offered


@pytest.fixture
def named(edge):
    """An edge with some domains and workspaces."""

    def page(*names):
        return 200, {"domains": [{"domain": name} for name in names], "next_cursor": None}

    edge.answers[f"GET {DOMAINS}?limit={NAMES}&prefix=gal"] = page("gallery.example.com")
    edge.answers[f"GET {DOMAINS}?limit={NAMES}&prefix="] = page("*.example.com", "a.example.com")
    edge.answers[f"GET {WORKSPACES}?limit=1000"] = (200, {"workspaces": [{"workspace_id": one} for one in ("acme", "zoo")]})
    return edge


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_each_shell(cli, shell):
    status, out, err = cli("completion", shell)
    assert (status, err) == (main.DONE, "")
    assert f"complete_{shell}" in out


def test_another_shell_is_refused_with_those_there_are(cli):
    status, _, err = cli("completion", "ksh")
    assert status == main.USAGE
    assert "'bash', 'zsh', 'fish'" in err


def test_commands_options_and_states_are_offered(offered):
    assert offered("edgeproxy dom") == ["domains"]
    assert offered("edgeproxy domains re") == ["restore", "remove"]
    assert offered("edgeproxy domains list --js") == ["--json"]
    assert offered("edgeproxy domains list --state pend") == ["pending_validation"]


def test_names_that_the_edge_knows_are_offered_but_no_wildcards(offered, named):
    assert offered("edgeproxy domains show gal") == ["gallery.example.com"]
    assert offered("edgeproxy certs issue ") == ["a.example.com"]
    assert offered("edgeproxy events tail --domain gal") == ["gallery.example.com"]
    assert offered("edgeproxy workspaces show a") == ["acme"]
    assert offered("edgeproxy domains list -w ") == ["acme", "zoo"]
    assert offered("edgeproxy domains show --so") == ["--socket"]


def test_a_new_name_is_nobodys_to_complete(offered, named):
    assert offered("edgeproxy domains add gal") == []
    assert named.asked == []


def test_the_socket_of_the_line_is_the_one_that_is_asked(offered, named, monkeypatch):
    monkeypatch.setenv("EDGEPROXY_SOCKET", "/nowhere/admin.sock")
    assert offered(f"edgeproxy domains show --socket {named.path} gal") == ["gallery.example.com"]


def test_an_edge_that_is_away_or_talks_nonsense_is_not_spoken_of(offered, edge, monkeypatch):
    edge.answers[f"GET {DOMAINS}?limit={NAMES}&prefix=gal"] = [
        (200, b"nonsense"),
        (503, {"detail": "no"}),
        (200, {"domains": 5}),
    ]
    for _ in range(3):
        assert offered("edgeproxy domains show gal") == []
    monkeypatch.setenv("EDGEPROXY_SOCKET", "/nowhere/admin.sock")
    assert offered("edgeproxy domains show gal") == []


def test_a_tab_in_bash_completes_commands_and_names(named, tmp_path):
    program = tmp_path / "edgeproxy"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m edgeproxy "$@"\n')
    program.chmod(0o755)
    environ = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "TERM": "dumb", "PS1": "> "}
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], environ)
    try:
        typed(terminal, "source <(edgeproxy completion bash); echo rea''dy\n", "\nready")
        typed(terminal, "edgeproxy dom\t", "edgeproxy domains ")
        typed(terminal, "show gal\t", "show gallery.example.com ")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.close(terminal)
        os.waitpid(pid, 0)


def typed(terminal, text, wanted):
    """Types it, and waits until the terminal shows `wanted`; the TAB once more where a slow machine has offered nothing."""
    os.write(terminal, text.encode())
    shown, until = "", time.monotonic() + PATIENCE
    while wanted not in shown:
        ready = select.select([terminal], [], [], 5)[0]
        assert ready or time.monotonic() < until, shown
        if not ready:
            os.write(terminal, b"\t" if text.endswith("\t") else b"")
            continue
        with suppress(OSError):
            shown += os.read(terminal, 65536).decode().replace("\r", "")
