"""`python -m edgeproxy` is the program."""

import importlib
import os
import subprocess
import sys

import pytest

import edgeproxy
from tests.integration.running import ROOT


def python_m_edgeproxy(*arguments):
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "edgeproxy", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environ, check=False)


def test_the_module_runs_as_the_program():
    done = python_m_edgeproxy("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"edgeproxy {edgeproxy.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(("statsu",), 2), (("check", "--config", "/no/such.toml"), 2), (("status", "--socket", "/no/such.sock"), 3)],
)
def test_its_exit_status_is_the_programs_and_what_went_wrong_is_on_stderr(arguments, status):
    done = python_m_edgeproxy(*arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_it_calls_itself_by_the_programs_name():
    assert python_m_edgeproxy("--help").stdout.startswith("Usage: edgeproxy ")


def test_importing_it_starts_nothing(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["edgeproxy", "--version"])
    monkeypatch.delitem(sys.modules, "edgeproxy.__main__", raising=False)
    importlib.import_module("edgeproxy.__main__")  # would end this process
