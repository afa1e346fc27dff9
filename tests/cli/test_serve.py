"""Which configuration counts, and in which order what is wrong is told."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeproxy.cli import serve
from edgeproxy.config import load
from edgeproxy.errors import ConfigError
from tests.integration.running import ROOT

GOOD = '[issuance]\ndirectory = "internal"\n'


@pytest.fixture
def usual(tmp_path, monkeypatch):
    """The path that is looked at where none is given; nothing is there."""
    path = tmp_path / "etc" / "edgeproxy.toml"
    path.parent.mkdir()
    monkeypatch.setattr(load, "DEFAULT_PATH", path)
    for variable in [name for name in os.environ if name.startswith("EDGEPROXY_") and "__" in name]:
        monkeypatch.delenv(variable)
    return path


def test_the_file_that_is_given_counts_and_is_found_again_from_anywhere(usual, tmp_path, monkeypatch):
    usual.write_text("not even TOML")
    (tmp_path / "mine.toml").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    config, path = serve.load_configuration(Path("mine.toml"))
    assert config.issuance.directory == "internal"
    assert path == tmp_path / "mine.toml"  # absolute: a reload reads it again, wherever the program is by then


def test_a_file_that_is_given_and_not_there_is_not_replaced_by_the_usual_one(usual, tmp_path):
    usual.write_text(GOOD)
    with pytest.raises(ConfigError, match="there is no such file") as caught:
        serve.load_configuration(tmp_path / "typo.toml")
    assert "--config" not in caught.value.detail


def test_the_usual_file_counts_where_there_is_one(usual):
    usual.write_text(GOOD + "[workers]\ncount = 3\n")
    config, path = serve.load_configuration(None)
    assert (config.workers.count, path) == (3, usual)


def test_faults_of_the_usual_file_are_told_without_advice_to_name_another(usual):
    usual.write_text(GOOD + "[workers]\ncount = -3\n")
    with pytest.raises(ConfigError) as caught:
        serve.load_configuration(None)
    assert caught.value.detail.startswith(f"{usual}:4: workers.count: ")
    assert "--config" not in caught.value.detail


def test_the_environment_alone_can_be_a_configuration(usual, monkeypatch):
    monkeypatch.setenv("EDGEPROXY_ISSUANCE__DIRECTORY", "internal")
    monkeypatch.setenv("EDGEPROXY_WORKERS__COUNT", "3")
    config, path = serve.load_configuration(None)
    assert (config.workers.count, path) == (3, None)


def test_where_nothing_configures_it_the_fault_says_where_a_file_was_looked_for(usual):
    with pytest.raises(ConfigError) as caught:
        serve.load_configuration(None)
    assert "issuance.agree_terms" in caught.value.detail
    assert caught.value.detail.endswith(f"There is no {usual}; name a file with --config.")


def test_a_usual_file_that_leads_nowhere_is_not_taken_for_none(usual):
    usual.symlink_to("moved.toml")
    with pytest.raises(ConfigError) as caught:
        serve.load_configuration(None)
    assert caught.value.detail == f"{usual}: there is no such file; check the path, or make the file"


def test_a_usual_file_that_cannot_be_looked_at_is_not_taken_for_none(usual, monkeypatch):
    monkeypatch.setattr(load, "DEFAULT_PATH", usual.parent / ("x" * 300))
    with pytest.raises(ConfigError, match=os.strerror(errno.ENAMETOOLONG)):
        serve.load_configuration(None)
    monkeypatch.setattr(load, "DEFAULT_PATH", usual / "below.toml")  # `usual` is no folder: nothing can be there
    usual.touch()
    monkeypatch.setenv("EDGEPROXY_ISSUANCE__DIRECTORY", "internal")
    assert serve.load_configuration(None)[1] is None


def python(program, *arguments):
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, env=environ, check=False)


def test_a_wrong_configuration_is_told_before_the_program_is_loaded(tmp_path):
    path = tmp_path / "edge.toml"
    path.write_text("[listen]\nhtps = []\n")
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from edgeproxy.cli.serve import run_edge\nfrom edgeproxy.errors import ConfigError\n"
        "try: run_edge(Path(sys.argv[1]))\n"
        "except ConfigError as error: print('edgeproxy.supervisor' in sys.modules, 'listen.htps' in error.detail)\n"
    )
    done = python(program, str(path))
    assert done.stdout == "False True\n", done.stderr


def test_the_edge_gets_the_configuration_and_its_path_and_gives_the_exit_status(tmp_path):
    path = tmp_path / "edge.toml"
    path.write_text(GOOD + "[workers]\ncount = 3\n")
    program = (
        "import os, sys, types\nfrom pathlib import Path\n"
        "sys.modules['edgeproxy.supervisor'] = fake = types.ModuleType('edgeproxy.supervisor')\n"
        "import edgeproxy; edgeproxy.supervisor = fake\n"
        "fake.run = lambda config, path: print(config.workers.count, path) or 7\n"
        "from edgeproxy.cli.serve import run_edge\n"
        "os.chdir(sys.argv[1]); print(run_edge(Path('edge.toml')))\n"
    )
    done = python(program, str(tmp_path))
    assert done.stdout == f"3 {path}\n7\n", done.stderr
