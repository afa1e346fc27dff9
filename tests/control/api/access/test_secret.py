"""Texts of tokens."""

import hashlib
import hmac

import pytest

from edgeproxy.control.api.access import secret


def test_a_token_names_its_id_and_has_256_random_bits():
    token_id, text = secret.made()
    assert secret.id_of(text) == token_id
    assert text.startswith(f"edgeproxy_{token_id}_")
    assert len(text.rpartition(f"{token_id}_")[2]) == 43  # 256 bits in base64 without padding
    assert len({secret.made()[1] for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "edgeproxy_",
        "edgeproxy_" + "0" * 16 + "_" + "a" * 42,
        "edgeproxy_" + "0" * 16 + "_" + "a" * 44,
        "edgeproxy_" + "0" * 16 + "_" + "a" * 43 + "\n",
        "edgeproxy_" + "G" * 16 + "_" + "a" * 43,
        "Edgeproxy_" + "0" * 16 + "_" + "a" * 43,
        "edgeproxy_" + "0" * 16 + "_" + "ä" * 43,
    ],
)
def test_what_is_no_token_has_no_id(text):
    assert secret.id_of(text) is None


def test_only_the_very_text_matches_its_digest():
    _, text = secret.made()
    stored = secret.digest(text)
    assert stored == hashlib.sha256(text.encode()).digest()
    assert secret.matches(text, stored)
    assert not secret.matches(text[:-1] + ("a" if text[-1] != "a" else "b"), stored)
    assert not secret.matches(text, None)
    assert not secret.matches("\udc80", stored)


def test_digests_are_compared_in_constant_time_also_where_there_is_no_such_token(monkeypatch):
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return True

    monkeypatch.setattr(hmac, "compare_digest", compare)
    _, text = secret.made()
    assert not secret.matches(text, None)
    assert secret.matches(text, secret.digest("other"))
    assert [len(each) for pair in compared for each in pair] == [32] * 4
