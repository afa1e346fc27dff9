"""What a machine may not have, of what the configuration names."""

from pathlib import Path

import pytest

from edgeproxy.config.monitoring import Log
from edgeproxy.config.places import faults
from edgeproxy.config.structs import Config


def told(access: str | Path) -> list[tuple[str, str]]:
    return list(faults(Config(log=Log(access=str(access)))))


@pytest.mark.parametrize("access", ["stdout", "off", "/dev/null", "/root/none/access.log"])
def test_what_is_there_or_may_not_be_looked_at_is_no_fault(access: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = Path.stat

    def as_nobody(path: Path) -> object:
        if path.is_relative_to("/root"):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path)

    monkeypatch.setattr(Path, "stat", as_nobody)
    assert told(access) == []


def test_an_access_log_needs_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert told(tmp_path / "file") == told(tmp_path / "new") == []
    for access, wrong in (
        (tmp_path / "none" / "access.log", "none is not there"),
        (tmp_path / "file" / "access.log", "file is no folder"),
        (tmp_path, "is a folder; name a file in it"),
    ):
        [(key, text)] = told(access)
        assert key == "log.access"
        assert wrong in text
