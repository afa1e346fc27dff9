"""What has to be seen."""

import pytest

from edgeproxy.config.platform import Platform
from edgeproxy.config.structs import Config
from edgeproxy.control.domains.verification.wanted import wanted_of, workspace_label
from tests.control.domains.verification.cases import HOST, PROOF, TARGET, config, domain, wanted


def test_customers_see_these_names():
    found = wanted(method="file")
    assert found.text_name == f"_edgeproxy-verify.{HOST}"
    assert found.file_url == f"http://{HOST}/.well-known/edgeproxy-verify/{PROOF}"
    assert found.own_target == f"{workspace_label('spandantest')}.{TARGET}"
    assert (found.asked, found.method, found.target) == (HOST, "file", TARGET)


def test_each_workspace_has_a_target_of_its_own_for_good():
    assert workspace_label("spandantest") == "tpmcm55d5tvwcbg2s3dqlzhwv3"
    assert workspace_label("spandanTest") != workspace_label("spandantest")


@pytest.mark.parametrize(
    ("hostname", "method", "used"),
    [
        (HOST, "cname", "cname"),
        (HOST, "dns", "dns"),
        (HOST, "file", "file"),
        (HOST, "email", "cname"),
        (HOST, "", "cname"),
        (f"*.{HOST}", "cname", "dns"),
        (f"*.{HOST}", "file", "dns"),
    ],
)
def test_wildcards_are_proven_by_txt_only(hostname, method, used):
    assert wanted(hostname, method).method == used


def test_what_may_be_left_from_somebody_else_is_proven_by_txt():
    assert wanted_of(domain(method="cname", must_prove=True), config()).method == "dns"
    assert wanted_of(domain(method="file", must_prove=True), config()).method == "dns"


@pytest.mark.parametrize(
    ("hostname", "method", "must_prove", "target", "proves"),
    [
        (HOST, "cname", True, TARGET, True),
        (HOST, "file", True, TARGET, True),
        (HOST, "dns", True, TARGET, False),
        (HOST, "cname", False, TARGET, False),
        (HOST, "cname", True, "", False),
        (f"*.{HOST}", "cname", True, TARGET, False),
    ],
)
def test_the_workspaces_own_target_proves_as_much_where_text_alone_was_not_asked_for(
    hostname, method, must_prove, target, proves
):
    found = wanted_of(domain(hostname, method, must_prove=must_prove), config(platform=Platform(cname_target=target)))
    assert found.own_proves is proves


def test_a_wildcard_is_looked_at_by_one_of_its_names():
    found = wanted(f"*.{HOST}")
    assert found.text_name == f"_edgeproxy-verify.{HOST}"
    assert found.asked.endswith(f".{HOST}")
    assert "*" not in found.asked


def test_what_is_not_configured_cannot_be_measured():
    empty = wanted_of(domain(), Config())
    assert not empty.measurable
    assert (empty.target, empty.own_target, empty.authority_decides) == ("", "", True)
    written = Platform(addresses=("2001:DB8:0::1",))
    assert wanted_of(domain(), Config(platform=written)).addresses == ("2001:db8::1",)
    assert not wanted_of(domain(), config()).authority_decides
