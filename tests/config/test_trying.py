"""Names under .localhost: only where nobody else comes, and no CA is asked."""

import pytest

from edgeproxy.config.check import together
from edgeproxy.config.issuance import Issuance
from edgeproxy.config.load import load
from edgeproxy.config.structs import Config
from edgeproxy.config.trying import faults
from edgeproxy.config.verification import Verification
from edgeproxy.config.visitors import Listen
from edgeproxy.errors import EdgeError

LOOPBACK = ("127.0.0.1:8443", "[::1]:8443")


def config(https=LOOPBACK, http=("127.0.0.1:8080",), directory="internal", localhost=True):
    return Config(
        listen=Listen(https=https, http=http),
        issuance=Issuance(directory=directory, agree_terms=True),
        verification=Verification(localhost=localhost),
    )


def test_an_edge_of_one_machine_with_its_own_ca_may_have_them():
    assert list(faults(config())) == []


@pytest.mark.parametrize(
    ("given", "other"),
    [
        ({"https": ("0.0.0.0:443",)}, "listen.https"),
        ({"https": (*LOOPBACK, "[::]:443")}, "listen.https"),
        ({"http": ("192.0.2.7:80",)}, "listen.http"),
        ({"directory": "https://ca.example/dir"}, "issuance.directory"),
    ],
)
def test_any_other_is_refused_with_what_is_in_the_way(given, other):
    [(key, text, looks_at)] = faults(config(**given))
    assert (key, looks_at) == ("verification.localhost", (other,))
    assert "leave it out" in text
    assert list(faults(config(**given, localhost=False))) == []
    assert key in [problem.key for problem in together(config(**given))]


def test_a_configuration_with_it_that_serves_others_does_not_start(tmp_path):
    path = tmp_path / "edgeproxy.toml"
    path.write_text('[issuance]\ndirectory = "internal"\n[verification]\nlocalhost = true\n')
    with pytest.raises(EdgeError, match=r"listen\.https has '0\.0\.0\.0:443', where others come"):
        load(path, {})
