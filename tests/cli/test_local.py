"""`serve`, `demo` and `check`, as Typer calls them."""

import sys
import tomllib
from typing import Any

import pytest

import edgeproxy
from edgeproxy.cli import main
from edgeproxy.config import load
from tests.ports import free_port

GOOD = '[issuance]\ndirectory = "internal"\n'


@pytest.fixture
def supervisor(monkeypatch) -> dict[str, Any]:
    """Takes the place of the edge, which it would take ports to start; what it was given."""
    seen: dict[str, Any] = {}

    class Supervisor:
        @staticmethod
        def run(config, path, **_):
            seen.update(config=config, path=path)
            return 7

    monkeypatch.setitem(sys.modules, "edgeproxy.supervisor", Supervisor)
    monkeypatch.setattr(edgeproxy, "supervisor", Supervisor, raising=False)
    return seen


@pytest.mark.parametrize("arguments", [("-c{}",), ("--config", "{}", "--config", "{}"), ("--config", "{}"), ("--config={}",)])
def test_serve_does_the_same_however_its_configuration_is_named(cli, supervisor, tmp_path, arguments):
    path = tmp_path / "edge.toml"
    path.write_text(GOOD)
    status, out, err = cli("serve", *(argument.format(path) for argument in arguments))
    assert (status, out, err) == (7, "", "")
    assert supervisor["path"] == path
    assert supervisor["config"].issuance.directory == "internal"


def test_the_demo_takes_the_ports_and_the_folder_that_it_is_given(cli, supervisor, tmp_path):
    port, http_port = free_port(), free_port()
    arguments = ("--port", str(port), "--http-port", str(http_port), "--dir", str(tmp_path / "home"))
    assert cli("demo", *arguments)[0] == 7
    listen = supervisor["config"].listen
    assert f"127.0.0.1:{port}" in listen.https
    assert f"127.0.0.1:{http_port}" in listen.http
    assert listen.public_https_port == port
    assert supervisor["path"] == tmp_path / "home" / "edgeproxy.toml"
    assert supervisor["path"].exists()


def test_the_demo_has_ports_of_its_own_and_leaves_nothing_behind_unless_it_is_told_otherwise(cli, supervisor):
    assert cli("demo")[0] == 7
    listen = supervisor["config"].listen
    assert ("127.0.0.1:8443" in listen.https, "127.0.0.1:8080" in listen.http) == (True, True)
    assert not supervisor["path"].parent.exists()


@pytest.mark.parametrize("option", ["--port", "--http-port"])
@pytest.mark.parametrize("port", ["0", "65536", "-1", "https"])
def test_a_port_of_the_demo_is_one(cli, supervisor, option, port):
    status, _, err = cli("demo", option, port)
    assert status == main.USAGE
    assert option in err
    assert supervisor == {}


def test_check_prints_toml_that_says_the_same_and_keeps_secrets_to_itself(cli, tmp_path):
    path = tmp_path / "edge.toml"
    path.write_text(f'{GOOD}[state]\nkey = "{"ab" * 32}"\n[timeouts]\nidle = "90s"\n')
    status, out, err = cli("check", "--config", str(path))
    assert status == main.DONE
    assert err == f"{path} is right. Above is the configuration that counts.\n"
    shown = tomllib.loads(out)
    assert shown["timeouts"]["idle"] == "90s"
    assert "ab" * 32 not in out
    again = tmp_path / "again.toml"
    again.write_text(out.replace('"(not shown)"', f'"{"ab" * 32}"'))
    assert load.load(again, {}) == load.load(path, {})


def test_check_tells_what_the_edge_would_start_without(cli, supervisor, tmp_path):
    path = tmp_path / "edge.toml"
    path.write_text(GOOD + f'[log]\naccess = "{tmp_path}/none/access.log"\n')
    status, out, err = cli("check", "--config", str(path))
    assert (status, out) == (main.USAGE, "")
    assert err.startswith(f"{path}:4: log.access: its folder {tmp_path}/none is not there, and lines would be lost; make it")
    assert cli("serve", "--config", str(path))[0] == 7, "it serves, and tries again"
    (tmp_path / "none").mkdir()
    assert cli("check", "--config", str(path))[0] == main.DONE


def test_check_of_the_environment_alone_says_that_there_is_no_file(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(load, "DEFAULT_PATH", tmp_path / "none.toml")
    monkeypatch.setenv("EDGEPROXY_ISSUANCE__DIRECTORY", "internal")
    status, _, err = cli("check")
    assert (status, err) == (main.DONE, "The environment, without a file, is right. Above is the configuration that counts.\n")
