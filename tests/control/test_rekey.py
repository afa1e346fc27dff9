"""Another state key: whatever ends the change of it, nothing is lost."""

import asyncio
import os
import secrets
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from edgeproxy import keys
from edgeproxy.config.machine import State
from edgeproxy.config.structs import Config
from edgeproxy.control.rekey import check, rotate
from edgeproxy.control.store import Store, schema, sealed
from edgeproxy.control.store.sealed import Report
from edgeproxy.errors import StateError
from edgeproxy.published.seal import Sealer
from edgeproxy.supervision.state import StateLock
from tests.certificates import self_signed
from tests.control.store.making import NOW, certificate, put
from tests.integration import born
from tests.integration.rotate_once import rotate_once

ROOT = Path(__file__).parents[2]

STEPS = [
    "a new key is made",
    "sealing",
    "everything is sealed under it",
    "the published map is deleted, to be made anew",
    "the old key is set aside",
    "the new key has taken its place",
    "everything opens under it",
    "the old key is destroyed",
]


def silent(_step):
    pass


async def fill(directory: Path, config: Config, root: bytes) -> None:
    """A store with a certificate and an account key, and a map."""
    sealer, map_sealer = Sealer(keys.derive(root, "store")), Sealer(keys.derive(root, "map"))
    put(directory, config)
    store = await Store.open(config, directory, sealer, account_sealer=Sealer(keys.derive(root, "acme")))
    try:
        await store.check_key(NOW)
        chain, key = self_signed("a.example.com")
        made = msgspec.structs.replace(certificate("c1", "a.example.com"), chain=chain)
        with_key = msgspec.structs.replace(made, sealed_key=map_sealer.seal(key, b"key:c1"))
        await store.add_certificate(with_key, NOW)
    finally:
        await store.close()
    (directory / "published").mkdir()
    (directory / "published" / "data").write_bytes(b"x")


@pytest.fixture
def state(tmp_path):
    """A state directory as an edge that has ended leaves it."""
    root = keys.root_key(Config(), tmp_path, may_create=True)
    asyncio.run(fill(tmp_path, Config(), root))
    return tmp_path


def key_of(directory):
    return keys.root_key(Config(), directory, may_create=False)


def files(directory):
    return sorted(path.name for path in directory.iterdir())


def test_everything_is_sealed_under_another_key_and_the_old_one_destroyed(state):
    before = key_of(state)
    told: list[str] = []
    rotated = rotate(Config(), state, told.append)
    assert key_of(state) != before
    assert told == [step for step in STEPS if step != "sealing"]
    assert (rotated.finished, rotated.key) == (False, str(state / "state.key"))
    assert rotated.report.opened == {"the mark of the key": 1, "certificate keys": 1}
    assert files(state) == ["edgeproxy.db", "edgeproxy.lock", "state.key"]
    assert check(Config(), state) == rotated.report
    assert stat.S_IMODE((state / "state.key").stat().st_mode) == 0o600


def test_nothing_sealed_under_the_old_key_is_left_in_the_files(state):
    connection = sqlite3.connect(state / "edgeproxy.db")
    (before,) = connection.execute("SELECT sealed_key FROM certificates").fetchone()
    connection.close()
    assert before[:40] in (state / "edgeproxy.db").read_bytes()
    rotate(Config(), state, silent)
    for path in state.iterdir():
        assert before[:40] not in path.read_bytes(), path


def test_a_second_time_makes_a_third_key(state):
    found = {key_of(state)}
    for _ in range(2):
        assert not rotate(Config(), state, silent).finished
        found.add(key_of(state))
    assert len(found) == 3


@pytest.mark.parametrize("step", STEPS)
def test_one_that_is_killed_at_any_step_is_finished_by_the_next(state, step):
    before = key_of(state)
    assert born.run(rotate_once, str(state), step)[0] == -signal.SIGKILL
    under_way = STEPS.index(step) < STEPS.index("the new key has taken its place")
    if under_way:
        with pytest.raises(StateError, match="Run `edgeproxy state rotate-key`, which finishes it"):
            key_of(state)
    else:
        assert key_of(state) != before
        assert check(Config(), state).faults == ()
    status, output = born.run(rotate_once, str(state))
    assert status == 0, output
    # At the last step all was done already: the next call is a change of its own.
    assert output.splitlines()[-1] == ("rotated" if step == STEPS[-1] else "finished")
    assert key_of(state) != before
    assert check(Config(), state).opened == {"the mark of the key": 1, "certificate keys": 1}
    assert files(state) == ["edgeproxy.db", "edgeproxy.lock", "state.key"]


def test_the_key_that_was_made_first_is_the_one_that_stays(state):
    made = []

    def stop(step):
        if step == "everything is sealed under it":
            made.append(keys.key_file(Config(), state).read_coming())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rotate(Config(), state, stop)
    assert rotate(Config(), state, silent).finished
    assert key_of(state) == made[0]


def test_it_is_refused_while_an_edge_runs(state):
    code = (
        "import sys; from pathlib import Path; from edgeproxy.supervision.state import StateLock;"
        "lock = StateLock(Path(sys.argv[1])); print('locked', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(state)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    holder.stdout.readline()
    before = key_of(state)
    with pytest.raises(StateError, match=f"while no edge runs, and process {holder.pid} does") as caught:
        rotate(Config(), state, silent)
    assert caught.value.code == "state_locked"
    assert check(Config(), state).faults == ()
    assert key_of(state) == before
    holder.stdin.close()
    holder.wait(30)
    holder.stdout.close()
    rotate(Config(), state, silent)


def test_a_key_file_elsewhere_keeps_its_owner_and_mode(state, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("etc")
    shutil.move(state / "state.key", elsewhere / "root.key")
    (elsewhere / "root.key").chmod(0o640)
    config = Config(state=State(key=f"file:{elsewhere / 'root.key'}"))
    if os.geteuid() == 0:
        os.chown(elsewhere / "root.key", 12345, 54321)
    owner = (elsewhere / "root.key").stat()
    rotate(config, state, silent)
    found = (elsewhere / "root.key").stat()
    assert (found.st_uid, found.st_gid, found.st_mode) == (owner.st_uid, owner.st_gid, owner.st_mode)
    assert files(elsewhere) == ["root.key"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may do it for another user")
def test_root_leaves_nothing_of_its_own_in_the_services_state(state):
    for path in (state, *state.rglob("*")):
        os.chown(path, 12345, 54321)
    rotate(Config(), state, silent)
    assert {(path.stat().st_uid, path.stat().st_gid) for path in (state, *state.rglob("*"))} == {(12345, 54321)}


def test_a_key_in_the_configuration_itself_cannot_be_changed(state):
    config = Config(state=State(key=key_of(state).hex()))
    with pytest.raises(StateError, match="is in the configuration itself"):
        rotate(config, state, silent)
    assert check(config, state).faults == ()


def test_a_copy_of_the_old_key_is_made_first_where_that_is_wished(state, tmp_path_factory):
    copy = tmp_path_factory.mktemp("copies") / "old.key"
    before = key_of(state)
    shutil.copy(state / "edgeproxy.db", copy.with_name("backup.db"))
    rotate(Config(), state, silent, old_key_to=copy)
    assert (copy.read_text(), stat.S_IMODE(copy.stat().st_mode)) == (before.hex() + "\n", 0o600)
    with pytest.raises(StateError, match="is not overwritten"):
        rotate(Config(), state, silent, old_key_to=copy)
    shutil.copy(copy.with_name("backup.db"), state / "edgeproxy.db")
    with pytest.raises(StateError, match="is not the one that the store was made with"):
        check(Config(), state)
    shutil.copy(copy, state / "state.key")
    assert check(Config(), state).faults == ()


def test_another_stores_key_changes_nothing(state):
    (state / "state.key").write_text(secrets.token_hex(32))
    before = (state / "edgeproxy.db").read_bytes()
    with pytest.raises(StateError, match="Nothing was changed"):
        rotate(Config(), state, silent)
    assert (state / "edgeproxy.db").read_bytes() == before
    assert not (state / "state.key.new").exists()


def test_what_did_not_open_before_is_named_and_stops_nothing(state):
    connection = sqlite3.connect(state / "edgeproxy.db")
    connection.execute("UPDATE certificates SET sealed_key = x'00'")
    connection.commit()
    connection.close()
    rotated = rotate(Config(), state, silent)
    assert rotated.report.faults == ("certificate keys: c1 does not open",)


def test_where_something_is_lost_on_the_way_the_old_key_stays(state, monkeypatch):
    lost = Report(opened={}, faults=("certificate keys: c1 does not open",))
    monkeypatch.setattr(sealed, "check", lambda *_: lost)
    with pytest.raises(StateError, match=r"The old key is still there: .*state\.key\.old"):
        rotate(Config(), state, silent)
    assert (state / "state.key.old").exists()


def test_a_place_without_a_store_says_so(tmp_path):
    for call in (lambda: rotate(Config(), tmp_path, silent), lambda: rotate(Config(), tmp_path / "none", silent)):
        with pytest.raises(StateError, match="There is no store"):
            call()
    keys.root_key(Config(), tmp_path, may_create=True)
    with pytest.raises(StateError, match="There is no store"):
        check(Config(), tmp_path)


def test_an_older_store_is_not_brought_up_by_a_check(state, monkeypatch):
    monkeypatch.setattr(schema, "VERSION", 99)
    with pytest.raises(StateError, match="Start the edge once"):
        check(Config(), state)


def test_the_lock_is_free_again_afterwards(state):
    rotate(Config(), state, silent)
    StateLock(state).close()
