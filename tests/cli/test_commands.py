"""The commands as a whole: each finds its edge, says how it is used, and can be broken off."""

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import typer
from typer.main import get_command

import edgeproxy
from edgeproxy.cli import commands, main
from tests.integration.running import PATIENCE, ROOT

LOCAL = {"serve", "demo", "check", "completion", "state check", "state rotate-key"}
"""Those that need no running edge."""

PROMISED = """
serve, demo, check, status, reload, stop, domains add, domains list, domains show, domains remove,
domains verify, domains watch, domains restore, certs list, certs show,
certs issue, certs renew, certs revoke, certs upload, tokens create, tokens list, tokens revoke,
workspaces list, workspaces show, workspaces set, workspaces unset, state check, state rotate-key
"""


def leaves(command, path=()) -> Iterator[tuple[str, set[str]]]:
    """Every command without subcommands, with its options."""
    below = getattr(command, "commands", None)
    if below is None:
        yield " ".join(path), {option for parameter in command.params for option in parameter.opts}
    for name, each in (below or {}).items():
        yield from leaves(each, (*path, name))


COMMANDS = dict(leaves(get_command(commands.app)))


def test_every_command_that_was_ever_promised_is_there():
    assert set(re.split(r",\s", PROMISED.strip())) <= set(COMMANDS)


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - LOCAL))
def test_every_command_that_asks_an_edge_can_be_told_which(name):
    assert "--socket" in COMMANDS[name]


@pytest.mark.parametrize("name", [name for name in COMMANDS if name.split()[-1] in ("list", "show", "status")])
def test_everything_that_is_listed_is_there_for_programs_too(name):
    assert "--json" in COMMANDS[name]


@pytest.mark.parametrize("name", sorted(COMMANDS))
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_says_how_it_is_used(cli, name, option):
    status, out, err = cli(*name.split(), option)
    assert (status, err) == (main.DONE, "")
    assert out.startswith(f"Usage: edgeproxy {name} ")
    about = out.split("\n\n")[1].strip()
    assert about[0].isupper()
    assert about.endswith(".")


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (("--nonsense",), "edgeproxy"),
        (("status", "--nonsense"), "edgeproxy status"),
        (("domains", "nonsense"), "edgeproxy domains"),
        (("domains", "add", "a.example"), "edgeproxy domains add"),
    ],
)
def test_a_mistake_is_told_with_the_help_of_just_that_command(cli, arguments, command):
    status, out, err = cli(*arguments)
    assert (status, out) == (main.USAGE, "")
    assert err.splitlines()[-1] == f"Try `{command} --help`."


@pytest.mark.parametrize("group", ["domains", "certs", "tokens"])
def test_a_group_without_a_command_lists_what_it_has(cli, group):
    status, out, err = cli(group)
    assert (status, out) == (main.USAGE, "")
    assert err.startswith(f"Usage: edgeproxy {group} ")
    for name in COMMANDS:
        if name.startswith(f"{group} "):
            assert re.search(rf"^  {name.split()[1]} ", err, re.MULTILINE)
    assert "Try `" not in err


def test_the_version_is_told_whatever_else_is_asked(cli):
    assert cli("--version", "statsu", "--nonsense") == (main.DONE, f"edgeproxy {edgeproxy.__version__}\n", "")


def test_an_exit_status_that_a_command_gives_is_the_programs(monkeypatch):
    app = typer.Typer()

    @app.command()
    def ends(status: int) -> None:
        if status:
            raise typer.Exit(status)

    monkeypatch.setattr(commands, "app", app)
    assert [commands.invoke([str(status)]) for status in (0, 1, 2, 3, 7)] == [0, 1, 2, 3, 7]


def test_errors_other_than_of_the_command_line_are_the_callers_to_tell(monkeypatch):
    app = typer.Typer()

    @app.command()
    def fails() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(commands, "app", app)
    with pytest.raises(ZeroDivisionError):
        commands.invoke([])


def test_a_command_that_is_given_up_ends_as_one_that_is_interrupted(monkeypatch):
    app = typer.Typer()

    @app.command()
    def given_up() -> None:
        raise typer.Abort

    monkeypatch.setattr(commands, "app", app)
    assert commands.invoke([]) == 130


def test_control_c_breaks_a_command_off_without_a_traceback(tmp_path):
    path = tmp_path / "silent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(PATIENCE)
        # Whoever runs these tests in the background may have them ignore control-C; a person's terminal does not.
        command = ["env", "--default-signal=INT", sys.executable, "-m", "edgeproxy", "status", "--socket", str(path)]
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)
        try:
            peer, _ = listener.accept()  # it waits for an answer that does not come
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=PATIENCE)
        finally:
            child.kill()
            child.wait()
        peer.close()
    assert child.returncode == 130
    assert out == ""
    assert "Traceback" not in err


def test_what_is_asked_for_as_json_is_json_alone(cli, edge):
    edge.answers["GET /api/v1/infrastructure/domains?limit=1000"] = (200, {"domains": [], "next_cursor": None})
    status, out, err = cli("domains", "list", "--json")
    assert (status, err) == (main.DONE, "")
    assert json.loads(out) == {"domains": []}


def test_who_has_read_enough_ends_what_would_go_on_waiting(edge):
    events = [{"timestamp": str(n), "type": "domain.active", "domain": "a.example", "data": {}} for n in range(2)]
    at = "/api/v1/infrastructure/events"
    edge.answers[f"GET {at}?last=10"] = (200, {"events": events, "next_cursor": "c"})
    nothing_more = threading.Event()
    edge.answers[f"GET {at}?cursor=c&wait=25"] = nothing_more
    command = [sys.executable, "-m", "edgeproxy", "events", "tail"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline() == "0  domain.active  a.example\n"
        child.stdout.close()
        try:
            assert child.wait(PATIENCE) == main.DONE
            assert child.stderr.read() == ""
        finally:
            nothing_more.set()
            child.kill()


@pytest.mark.parametrize("raised", [BrokenPipeError(errno.EPIPE, "Broken pipe"), PermissionError(errno.EPERM, "no")])
def test_a_pipe_that_breaks_is_no_failure(monkeypatch, raised):
    app = typer.Typer()

    @app.command()
    def prints() -> None:
        raise raised

    monkeypatch.setattr(commands, "app", app)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, getattr(sys, name))  # which Typer replaces
    with pytest.raises(type(raised)):
        commands.invoke([])
