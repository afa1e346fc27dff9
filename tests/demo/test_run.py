"""The demo's configuration, and what it leaves behind."""

import sys
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.config.load import load
from edgeproxy.control.domains.reserved import check_claimable
from edgeproxy.demo import run
from edgeproxy.errors import EdgeError, InvalidName


def test_its_configuration_is_right(tmp_path):
    path = tmp_path / "edgeproxy.toml"
    path.write_text(run.configuration(tmp_path, 8443, 8080, 3000, 5353, tmp_path))
    config = load(path, {})
    assert config.issuance.directory == "internal"
    assert "127.0.0.1:8443" in config.listen.https
    assert config.listen.public_https_port == 8443
    assert config.state.directory == str(tmp_path)
    assert config.origin.url == "http://127.0.0.1:3000"
    assert config.api.hostname == "api.localhost"
    assert config.dns.resolvers == ("127.0.0.1:5353",)


def test_its_names_are_no_ones_in_earnest_and_its_own_word_lets_them_in(tmp_path):
    path = tmp_path / "edgeproxy.toml"
    text = run.configuration(tmp_path, 8443, 8080, 3000, 5353, tmp_path)
    path.write_text(text)
    check_claimable("shop.customer.localhost", load(path, {}))
    path.write_text(text.replace("localhost = true", ""))
    with pytest.raises(InvalidName):
        check_claimable("shop.customer.localhost", load(path, {}))


@pytest.fixture
def fake_supervisor(monkeypatch):
    """Takes the place of the edge; remembers what it was given, and whether its companions lived meanwhile."""
    seen: dict[str, Any] = {}

    class Supervisor:
        @staticmethod
        def run(config, path, *, trial):
            seen.update(config=config, path=path, text=path.read_text(), trial=trial)
            return 7

    monkeypatch.setitem(sys.modules, "edgeproxy.supervisor", Supervisor)
    monkeypatch.setattr("edgeproxy.supervisor", Supervisor, raising=False)
    return seen


def test_it_runs_the_edge_and_leaves_nothing_behind(fake_supervisor):
    assert run.run(port=8443, http_port=8080, directory=None) == 7
    assert fake_supervisor["config"].admin.socket.endswith("/admin.sock")
    assert not fake_supervisor["path"].parent.exists()


def test_a_given_folder_is_made_and_kept(fake_supervisor, tmp_path):
    home = tmp_path / "a" / "b"
    run.run(port=8443, http_port=8080, directory=home)
    assert (home / "edgeproxy.toml").read_text() == fake_supervisor["text"]
    assert home.stat().st_mode & 0o777 == 0o700


def test_a_folder_too_deep_for_sockets_has_them_elsewhere(fake_supervisor, tmp_path):
    home = tmp_path / ("deep" * 30)
    run.run(port=8443, http_port=8080, directory=home)
    socket = Path(fake_supervisor["config"].admin.socket)
    assert len(str(socket)) <= 107
    assert not socket.parent.exists()


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EdgeError, match="Name another folder with --dir"):
        run.run(port=8443, http_port=8080, directory=tmp_path / "file" / "x")
