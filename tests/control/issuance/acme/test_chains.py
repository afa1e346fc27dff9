"""Which of a certificate's chains is served."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from structlog.testing import capture_logs

from edgeproxy.control.issuance.acme.chains import ALTERNATES, alternates, is_preferred, top_issuer
from edgeproxy.control.issuance.certificates import make_root
from tests.control.issuance.acme.conftest import issue
from tests.control.issuance.fakeca import HOST, Refuse

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("link", "found"),
    [
        ("", []),
        (f'<{HOST}/cert/1/1>;rel="alternate"', [f"{HOST}/cert/1/1"]),
        (f'<{HOST}/dir>;rel="index", <{HOST}/cert/1/1>; rel="alternate"', [f"{HOST}/cert/1/1"]),
        (f"<{HOST}/a>; title=x; rel=alternate, <{HOST}/b>;REL=Alternate", [f"{HOST}/a", f"{HOST}/b"]),
        (f'<{HOST}/up>;rel="up"', []),
        (", ".join(f'<{HOST}/{number}>;rel="alternate"' for number in range(50)), [f"{HOST}/{n}" for n in range(ALTERNATES)]),
    ],
)
def test_finds_the_addresses_of_further_chains(link, found):
    assert alternates(link) == found


def test_tells_the_root_of_a_chain():
    root, _ = make_root(NOW, timedelta(days=1))
    name = str(root.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)
    assert top_issuer(root.public_bytes(Encoding.PEM)) == name
    assert is_preferred(root.public_bytes(Encoding.PEM), name.upper())
    assert not is_preferred(root.public_bytes(Encoding.PEM), "ISRG Root X1")
    assert top_issuer(b"nonsense") == top_issuer(b"") == ""


def crossed(world):
    """The CA's root, once more, issued by a root of another name; and that name."""
    other, other_key = make_root(world.clock(), timedelta(days=3650))
    now = datetime.fromtimestamp(world.clock(), UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(world.ca.root.subject)
        .issuer_name(other.subject)
        .public_key(world.ca.root.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1000))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(other_key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM), str(other.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)


async def test_the_preferred_chain_is_served_where_the_ca_has_it(world, issuers):
    top, name = crossed(world)
    world.ca.other_tops = [b"nonsense", top]
    issued, _ = await issue(issuers(preferred_chain=name))
    assert top_issuer(issued.chain) == name
    assert (world.ca.count("cert"), world.ca.count("alternate")) == (1, 2)


async def test_else_the_usual_one_is_and_the_log_says_so(world, issuers):
    world.ca.other_tops, usual = [crossed(world)[0]], top_issuer(world.ca.root.public_bytes(Encoding.PEM))
    with capture_logs() as lines:
        issued, _ = await issue(issuers(preferred_chain="ISRG Root X1"))
    assert top_issuer(issued.chain) == usual
    said = next(line for line in lines if "issuance.preferred_chain" in line["event"])
    assert (said["preferred_chain"], usual in said["offered"], len(said["offered"])) == ("ISRG Root X1", True, 2)


async def test_a_chain_that_the_ca_does_not_give_costs_no_certificate(world, issuers):
    world.ca.other_tops = [crossed(world)[0]]
    world.ca.plan("alternate", Refuse("serverInternal", 500))
    issued, _ = await issue(issuers(preferred_chain="ISRG Root X1"))
    assert issued.names == ("a.example",)
    assert len(world.ca.orders) == 1


async def test_nothing_more_is_asked_where_none_is_preferred(world, issuers):
    world.ca.other_tops = [crossed(world)[0]]
    await issue(issuers())
    assert (world.ca.count("cert"), world.ca.count("alternate")) == (1, 0)
