"""The programs that tests need: installed where this user may, else named, and a failure in CI."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def packages(monkeypatch, tmp_path):
    """The script, on a machine that has only what `there` says; apt-get is a stand-in that does what `apt` says."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    module: Any = importlib.import_module("packages")
    there = {command for command, _, _ in module.NEEDED}
    calls: list[list[str]] = []
    monkeypatch.setattr(module, "is_there", lambda command: command in there)
    monkeypatch.setattr(module, "root_by", list)
    monkeypatch.setattr(module, "POLICY", tmp_path / "policy-rc.d")
    monkeypatch.setattr(module.shutil, "which", lambda command: f"/usr/bin/{command}")

    def call(command, **_):
        calls.append(command)
        return module.apt(command)

    monkeypatch.setattr(module.subprocess, "call", call)
    module.apt = lambda _: 1
    module.there, module.calls = there, calls
    monkeypatch.delenv("CI", raising=False)
    yield module
    del sys.modules["packages"]


def test_nothing_is_done_where_nothing_is_missing(packages, capsys):
    packages.main()
    assert packages.calls == []
    assert capsys.readouterr().err == ""


def test_what_is_missing_is_installed(packages, capsys):
    packages.there.remove("pebble")
    packages.there.remove("pebble-challtestsrv")

    def install(command):
        assert packages.POLICY.read_text() == "#!/bin/sh\nexit 101\n", "no service may start"
        packages.there.update(("pebble", "pebble-challtestsrv"))
        return 0

    packages.apt = install
    packages.main()
    assert [command[-1] for command in packages.calls] == ["pebble"]
    assert not packages.POLICY.exists()
    assert capsys.readouterr().err == "Installing pebble …\n"


def test_what_cannot_be_installed_is_named_with_the_tests_that_it_skips(packages, capsys):
    packages.there.remove("nginx")
    packages.main()
    assert "nginx is missing (Debian's package nginx-light): tests are skipped of a real nginx" in capsys.readouterr().err


def test_without_the_right_to_install_nothing_is_tried(packages, capsys, monkeypatch):
    packages.there.remove("nginx")
    monkeypatch.setattr(packages, "root_by", lambda: None)
    packages.main()
    assert packages.calls == []
    assert "Not installed, for want of the right to: nginx-light." in capsys.readouterr().err


def test_in_ci_a_missing_program_is_a_failure(packages, monkeypatch):
    packages.there.remove("nginx")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(SystemExit) as caught:
        packages.main()
    assert caught.value.code == 1
