"""`edgeproxy state …`"""

import asyncio
import json
import sqlite3

import pytest

from edgeproxy import keys
from edgeproxy.cli import main
from edgeproxy.config.structs import Config
from tests.control.test_rekey import fill


@pytest.fixture
def state(tmp_path, monkeypatch):
    """A state directory that the environment names, with a certificate."""
    monkeypatch.setenv("EDGEPROXY_STATE__DIRECTORY", str(tmp_path))
    monkeypatch.setenv("EDGEPROXY_ISSUANCE__DIRECTORY", "internal")
    asyncio.run(fill(tmp_path, Config(), keys.root_key(Config(), tmp_path, may_create=True)))
    return tmp_path


def test_check_tells_what_opens(cli, state):
    status, out, err = cli("state", "check")
    assert status == main.DONE, err
    assert "certificate keys     1" in out
    assert err.endswith("Everything that is sealed opens under the state key.\n")
    _, out, _ = cli("state", "check", "--json")
    assert json.loads(out) == {
        "opened": {"certificate keys": 1, "the mark of the key": 1},
        "faults": [],
        "further_faults": 0,
    }


def test_check_names_what_does_not_open(cli, state):
    connection = sqlite3.connect(state / "edgeproxy.db")
    connection.execute("UPDATE certificates SET sealed_key = x'00'")
    connection.commit()
    connection.close()
    status, _, err = cli("state", "check")
    assert status == main.REFUSED
    assert "Fault: certificate keys: c1 does not open.\n" in err
    assert "edgeproxy: 1 secret cannot be used" in err


def test_the_key_is_changed_step_by_step(cli, state, tmp_path_factory):
    old, before = tmp_path_factory.mktemp("copy") / "old.key", (state / "state.key").read_text()
    status, out, err = cli("state", "rotate-key", "--old-key-to", str(old))
    assert status == main.DONE, err
    assert "certificate keys     1" in out
    assert "everything is sealed under it …\n" in err
    assert f"The state key is a new one: {state}/state.key. Keep a copy of it in another place." in err
    assert err.endswith(f" The old key is in {old}; backups from before need it.\n")
    assert (old.read_text(), (state / "state.key").read_text() == before) == (before, False)
    _, _, err = cli("state", "rotate-key")
    assert err.endswith(
        "The old key is destroyed: backups of the store from before open only under a copy of it that you kept.\n"
    )


def test_one_that_was_interrupted_is_said_to_be_finished(cli, state):
    keys.key_file(Config(), state).make_coming()
    status, _, err = cli("state", "check")
    assert (status, "A change of the state key was interrupted" in err) == (main.REFUSED, True)
    _, _, err = cli("state", "rotate-key")
    assert "The change of the state key that was interrupted is finished.\n" in err


def test_a_configuration_that_is_wrong_is_told_as_that(cli, state, monkeypatch):
    monkeypatch.setenv("EDGEPROXY_WORKERS__COUNT", "many")
    assert cli("state", "rotate-key")[0] == main.USAGE
