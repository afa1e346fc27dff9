"""What visitors trust, as far as we know."""

import ssl

from edgeproxy.config.issuance import Issuance
from edgeproxy.config.structs import Config
from edgeproxy.control.probe.trust import DAY, Trust, trust, trust_now
from edgeproxy.control.store import InternalCa, Store
from tests.certificates import self_signed


def roots(context: ssl.SSLContext) -> int:
    return int(context.cert_store_stats()["x509"])


async def test_the_root_of_the_built_in_ca_and_those_of_the_bundle_are_beside_the_systems(tmp_path, store: Store):
    (tmp_path / "roots.pem").write_bytes(self_signed("root.example")[0])
    config = Config(issuance=Issuance(ca_bundle=str(tmp_path / "roots.pem")))
    of_the_system = roots(trust(Config(), None))
    assert roots(await trust_now(config, store)) == of_the_system + 1
    await store.save_internal_ca(InternalCa(certificate=self_signed("own.example")[0], key=b"k"), 1.0)
    assert roots(await trust_now(config, store)) == of_the_system + 2


async def test_it_is_read_anew_once_a_day(tmp_path, store: Store):
    now = [1_000_000.0]
    bundle = tmp_path / "roots.pem"
    trusted = Trust(Config(issuance=Issuance(ca_bundle=str(bundle))), store, lambda: now[0])
    first = await trusted.get()
    bundle.write_bytes(self_signed("root.example")[0])
    now[0] += DAY
    assert await trusted.get() is first
    now[0] += 1
    assert roots(await trusted.get()) == roots(first) + 1
