"""The documented sample and the effective configuration, as TOML."""

import re
import tomllib
import typing
from pathlib import Path

import msgspec
import pytest

from edgeproxy.config import document
from edgeproxy.config.issuance import Eab, Issuance
from edgeproxy.config.load import load
from edgeproxy.config.machine import State
from edgeproxy.config.structs import Config

SAMPLE = Path(__file__).parents[2] / "config" / "edgeproxy.toml"


def sections(section=None, path=()):
    section = section or Config()
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        if isinstance(value, msgspec.Struct):
            yield ".".join((*path, field.name)), type(value)
            yield from sections(value, (*path, field.name))


def test_the_sample_in_the_repository_is_what_the_structs_say():
    assert SAMPLE.read_text() == document.sample(), "write it anew: make config/edgeproxy.toml"


def test_the_sample_with_every_key_taken_in_is_the_default_configuration(tmp_path):
    path = tmp_path / "all.toml"
    text = re.sub(r"(?m)^#(?=[a-z_0-9]+ = )", "", document.sample())
    path.write_text(text.replace("agree_terms = false", "agree_terms = true"))
    assert load(path, {}) == msgspec.structs.replace(Config(), issuance=Issuance(agree_terms=True))


def test_the_sample_as_it_stands_changes_nothing():
    assert all(
        not keys or all(isinstance(key, dict) for key in keys.values()) for keys in tomllib.loads(document.sample()).values()
    )


@pytest.mark.parametrize(("name", "kind"), list(sections()))
def test_every_key_has_its_manual(name, kind):
    for key, text in document.docstrings(kind).items():
        if not isinstance(getattr(kind(), key), msgspec.Struct):
            assert text.strip().endswith("."), f"{name}.{key} has no docstring that ends with a full stop"


@pytest.mark.parametrize(("name", "kind"), list(sections()))
def test_the_sample_has_all_that_may_be_chosen(name, kind):
    table = document.sample().partition(f"\n[{name}]\n")[2].partition("\n[")[0]
    for key, hint in typing.get_type_hints(kind).items():
        if typing.get_origin(hint) is typing.Literal:
            manual = table.partition(f"\n#{key} = ")[0].rpartition("\n\n")[2]
            assert all(f'"{choice}"' in manual for choice in typing.get_args(hint)), (key, manual)


def test_the_effective_configuration_is_toml_that_means_the_same(tmp_path):
    config = msgspec.structs.replace(Config(), issuance=Issuance(directory="internal", email='a"b\\@c.example'))
    path = tmp_path / "effective.toml"
    path.write_text(document.effective(config))
    assert load(path, {}) == config


def test_secrets_are_not_shown():
    issuance = Issuance(eab=Eab(key_id="seen", hmac_key="c2VjcmV0"))
    shown = document.effective(msgspec.structs.replace(Config(), state=State(key="ab" * 32), issuance=issuance))
    assert "c2VjcmV0" not in shown
    assert "abab" not in shown
    assert 'key_id = "seen"' in shown
    assert 'hmac_key = "(not shown)"' in shown


def test_where_a_secret_stands_is_shown():
    shown = document.effective(msgspec.structs.replace(Config(), state=State(key="file:/etc/edgeproxy/state.key")))
    assert 'key = "file:/etc/edgeproxy/state.key"' in shown
