"""Where the program begins: errors become sentences and exit statuses."""

import os
import subprocess
import sys

import pytest

import edgeproxy
from edgeproxy.cli import main
from tests.integration.running import ROOT


def python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )


@pytest.mark.parametrize(("closed", "status"), [("<&-", 3), (">&-", 3), ("2>&-", 3), ("<&- >&- 2>&-", 3)])
def test_a_standard_stream_that_is_closed_changes_nothing_else(closed, status):
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -m edgeproxy status --socket /no/such.sock {closed}', sys.executable],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith("" if "2>&-" in closed else "edgeproxy: No edge answers")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("relaod",), "Did you mean 'reload'?"),
        (("domains", "ad"), "Did you mean 'add'?"),
        (("domains", "add"), "HOST"),
        (("domains", "list", "--limit", "0"), "--limit"),
        (("serve", "--confg", "x"), "--config"),
        (("serve", "now"), "now"),
        (("demo", "--port", "99999"), "--port"),
        (("demo", "--port", "8080"), "--http-port: 8080 is the port for https (--port) already"),
        (("demo", "--http-port", "8443"), "--http-port: 8443 is the port for https (--port) already"),
    ],
)
def test_a_wrong_command_line_is_one_sentence_and_where_help_is(cli, arguments, told):
    status, out, err = cli(*arguments)
    assert status == main.USAGE
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("edgeproxy: ")
    assert told in lines[0]
    assert lines[1].startswith("Try `edgeproxy")


def test_no_command_at_all_shows_the_help(cli):
    status, out, err = cli()
    assert status == main.USAGE
    assert "Commands:" in out + err


def test_help_and_version_are_fine(cli):
    assert cli("--version") == (main.DONE, f"edgeproxy {edgeproxy.__version__}\n", "")
    status, out, _ = cli("--help")
    assert status == main.DONE
    assert all(command in out for command in ("serve", "demo", "check", "status", "reload", "stop", "domains", "certs"))
    assert "Exit status: 0 done, 1 refused or failed, 2 usage" in out


@pytest.mark.parametrize(
    "arguments", [("serve", "--config", "{}"), ("serve", "-c", "{}"), ("serve", "--config={}"), ("check", "-c", "{}")]
)
def test_faults_of_the_configuration_are_told_line_by_line(cli, tmp_path, arguments):
    path = tmp_path / "edge.toml"
    path.write_text('[listen]\nhtps = []\n[workers]\ncount = "1"\n[issuance]\ndirectory = "internal"\n')
    status, out, err = cli(*(argument.format(path) for argument in arguments))
    assert status == main.USAGE
    assert out == ""
    assert [line.split(": ")[:2] for line in err.splitlines()] == [[f"{path}:2", "listen.htps"], [f"{path}:4", "workers.count"]]


def test_a_missing_configuration_is_told(cli, tmp_path):
    status, _, err = cli("serve", "--config", str(tmp_path / "no.toml"))
    assert status == main.USAGE
    assert err == f"{tmp_path}/no.toml: there is no such file; check the path, or make the file\n"


def test_no_configuration_at_all_says_where_one_is_looked_for(cli, tmp_path, monkeypatch):
    monkeypatch.setattr("edgeproxy.config.load.DEFAULT_PATH", tmp_path / "edgeproxy.toml")
    status, _, err = cli("check")
    assert status == main.USAGE
    assert err.endswith(f"There is no {tmp_path}/edgeproxy.toml; name a file with --config.\n")


def test_check_prints_the_configuration_that_counts(cli, tmp_path, monkeypatch):
    path = tmp_path / "edge.toml"
    path.write_text('[issuance]\ndirectory = "internal"\n')
    monkeypatch.setenv("EDGEPROXY_WORKERS__COUNT", "3")
    status, out, err = cli("check", "--config", str(path))
    assert status == main.DONE
    assert "count = 3" in out
    assert 'directory = "internal"' in out
    assert "is right" in err


@pytest.mark.parametrize("command", ["check", "serve"])
def test_a_user_that_the_machine_does_not_have_is_told_by_check_as_by_serve(cli, tmp_path, command):
    path = tmp_path / "edge.toml"
    path.write_text('[issuance]\ndirectory = "internal"\n[process]\nworker_user = "nobody-such"\n')
    status, out, err = cli(command, "--config", str(path))
    assert (status, out) == (main.USAGE, "")
    assert err.startswith(f"{path}:4: process.worker_user: there is no user 'nobody-such' on this machine; make one: useradd")


def test_a_reader_that_has_enough_is_no_error():
    command = f"{sys.executable} -m edgeproxy check; echo $? >&2"
    done = subprocess.run(
        ["bash", "-c", f"({command}) | true"],
        capture_output=True,
        text=True,
        env={**os.environ, "EDGEPROXY_ISSUANCE__DIRECTORY": "internal"},
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert "Broken" not in done.stderr


def test_serve_imports_neither_the_control_plane_nor_what_only_other_commands_need():
    program = (
        "import sys, types\n"
        "sys.modules['edgeproxy.supervisor'] = fake = types.ModuleType('edgeproxy.supervisor')\n"
        "import edgeproxy; edgeproxy.supervisor = fake; fake.run = lambda config, path: 0\n"
        "from edgeproxy.cli.main import run\n"
        "assert run(['serve', '--config', sys.argv[1]]) == 0\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    sample = "config/edgeproxy.toml"
    done = python("-c", program, sample, EDGEPROXY_ISSUANCE__DIRECTORY="internal")
    assert done.returncode == 0, done.stderr
    for heavy in ("typer", "rich", "pydantic", "fastapi", "sqlalchemy", "structlog", "uvicorn", "http", "email"):
        assert f"'{heavy}'" not in done.stdout
