"""The root of all keys: made once, never replaced."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from edgeproxy.config.machine import State
from edgeproxy.config.machine import Store as StoreSection
from edgeproxy.config.structs import Config
from edgeproxy.errors import ConfigError, StateError
from edgeproxy.keys import copy_key, derive, key_file, root_key, store_path


def config(key: str = "", url: str = "sqlite:///edgeproxy.db") -> Config:
    return Config(state=State(key=key), store=StoreSection(url=url))


def test_the_first_start_makes_a_key_that_nobody_else_can_read(tmp_path: Path) -> None:
    key = root_key(config(), tmp_path, may_create=True)
    path = tmp_path / "state.key"
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == key.hex() + "\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.key"]


def test_later_starts_read_the_same_key(tmp_path: Path) -> None:
    key = root_key(config(), tmp_path, may_create=True)
    assert root_key(config(), tmp_path, may_create=True) == key
    assert root_key(config(), tmp_path, may_create=False) == key


def test_two_states_have_two_keys(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert root_key(config(), tmp_path / "a", may_create=True) != root_key(config(), tmp_path / "b", may_create=True)


def test_a_store_without_its_key_is_an_error_and_no_new_key_is_made(tmp_path: Path) -> None:
    (tmp_path / "edgeproxy.db").write_bytes(b"x")
    with pytest.raises(StateError, match="Put the key back"):
        root_key(config(), tmp_path, may_create=True)
    assert not (tmp_path / "state.key").exists()


def test_no_key_is_made_where_that_was_not_asked_for(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="missing"):
        root_key(config(), tmp_path, may_create=False)
    assert list(tmp_path.iterdir()) == []


def test_the_key_may_be_a_file_elsewhere_or_stand_in_the_configuration(tmp_path: Path) -> None:
    elsewhere = tmp_path / "credentials" / "key"
    elsewhere.parent.mkdir()
    key = root_key(config(f"file:{elsewhere}"), tmp_path, may_create=True)
    assert elsewhere.exists()
    assert root_key(config(key.hex()), tmp_path, may_create=False) == key
    assert root_key(config(key.hex().upper()), tmp_path, may_create=False) == key


def test_a_container_secret_that_all_may_read_is_accepted_where_the_operator_named_it(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("ab" * 32)
    secret.chmod(0o444)
    assert root_key(config(f"file:{secret}"), tmp_path, may_create=False) == bytes.fromhex("ab" * 32)


def test_our_own_key_file_must_not_be_readable_by_everybody(tmp_path: Path) -> None:
    root_key(config(), tmp_path, may_create=True)
    (tmp_path / "state.key").chmod(0o644)
    with pytest.raises(StateError, match="chmod 600"):
        root_key(config(), tmp_path, may_create=True)


@pytest.mark.parametrize("content", ["", "ab" * 31, "zz" * 32, "ab" * 33, "ä" * 64])
def test_a_file_that_is_not_a_key_is_refused_and_stays_as_it_is(tmp_path: Path, content: str) -> None:
    path = tmp_path / "state.key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(StateError, match="64 hex digits"):
        root_key(config(), tmp_path, may_create=True)
    assert path.read_text() == content


def test_an_error_about_the_key_in_the_configuration_does_not_repeat_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        root_key(config("deadbeef" * 7), tmp_path, may_create=True)
    assert "deadbeef" not in caught.value.detail


def test_an_unreadable_key_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "state.key").mkdir()
    with pytest.raises(StateError, match="cannot be read"):
        root_key(config(), tmp_path, may_create=True)


def test_a_folder_that_is_missing_says_so(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot be made"):
        root_key(config(f"file:{tmp_path}/none/key"), tmp_path, may_create=True)


def test_each_purpose_has_a_key_of_its_own() -> None:
    root = b"r" * 32
    keys = {derive(root, "map"), derive(root, "store"), derive(root, "acme"), derive(root, "backup")}
    assert len(keys) == 4
    assert all(len(key) == 32 for key in keys)
    assert root not in keys


def test_derived_keys_never_change() -> None:
    # What was sealed by an earlier version must open with this one.
    assert derive(bytes(32), "map").hex() == "6ccb45957b05dbeed6245f9cac867aa84824293b9bd5661200af6662fbe2177c"


@pytest.mark.parametrize("url", ["postgresql://x/y", "", "sqlite://", "sqlite:///", "edgeproxy.db"])
def test_only_sqlite_is_a_store(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="sqlite:///FILE"):
        store_path(config(url=url), tmp_path)


def test_a_password_in_a_store_url_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        store_path(config(url="postgresql://edge:hunter2@db/edge"), tmp_path)
    assert "hunter2" not in caught.value.detail


def test_a_relative_store_lies_in_the_state_directory_and_an_absolute_one_where_it_says(tmp_path: Path) -> None:
    assert store_path(config(), tmp_path) == tmp_path / "edgeproxy.db"
    assert store_path(config(url="sqlite:////srv/edge.db"), tmp_path) == Path("/srv/edge.db")


def test_a_full_disk_is_told_and_no_half_of_a_key_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StateError, match=r"The disk is full: .*/state\.key cannot be written"):
        root_key(config(), tmp_path, may_create=True)
    assert list(tmp_path.iterdir()) == []


def test_while_the_key_is_being_changed_no_edge_starts(tmp_path: Path) -> None:
    root_key(config(), tmp_path, may_create=True)
    file = key_file(config(), tmp_path)
    file.make_coming()
    with pytest.raises(StateError, match="Run `edgeproxy state rotate-key`, which finishes it; nothing is lost"):
        root_key(config(), tmp_path, may_create=True)


def test_a_key_is_changed_by_a_copy_beside_it_and_one_renaming(tmp_path: Path) -> None:
    before = root_key(config(), tmp_path, may_create=True)
    file = key_file(config(), tmp_path)
    coming = file.make_coming()
    assert (file.read(), file.read_coming()) == (before, coming)
    for _ in range(2):
        file.set_aside()
    assert file.former.read_text() == before.hex() + "\n"
    file.take_over()
    assert (file.read(), file.read_coming()) == (coming, None)
    assert root_key(config(), tmp_path, may_create=False) == coming
    for _ in range(2):
        file.destroy_former()
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.key"]


def test_another_former_key_is_replaced(tmp_path: Path) -> None:
    before = root_key(config(), tmp_path, may_create=True)
    file = key_file(config(), tmp_path)
    file.former.write_text("1" * 64)
    file.set_aside()
    assert file.former.read_text() == before.hex() + "\n"


def test_a_copy_that_cannot_be_written_is_called_a_copy(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"The copy of the old key cannot be made: .*/none/old.key: No such file"):
        copy_key(b"k" * 32, tmp_path / "none" / "old.key")


def test_a_key_that_is_lost_is_told_with_all_that_has_to_go_with_it(tmp_path: Path) -> None:
    (tmp_path / "edgeproxy.db").touch()
    with pytest.raises(StateError, match=r"move .*/edgeproxy\.db and .*/published away"):
        root_key(config(), tmp_path, may_create=True)


def test_a_key_file_that_cannot_be_changed_says_so(tmp_path: Path) -> None:
    file = key_file(config(f"file:{tmp_path}/none/state.key"), tmp_path)
    with pytest.raises(StateError, match="is missing"):
        file.read()
    with pytest.raises(StateError, match="cannot be made"):
        file.make_coming()
    with pytest.raises(StateError, match="cannot be replaced"):
        file.take_over()
    with pytest.raises(StateError, match="cannot be deleted"):
        file.destroy_former()
    with pytest.raises(StateError, match="in the configuration itself"):
        key_file(config("0" * 64), tmp_path)


def test_a_copy_of_a_key_is_never_made_over_another_file(tmp_path: Path) -> None:
    copy_key(b"k" * 32, tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == (b"k" * 32).hex() + "\n"
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o600
    with pytest.raises(StateError, match="is not overwritten"):
        copy_key(b"l" * 32, tmp_path / "copy")
