"""Rules of keys and secrets."""

import pytest

from edgeproxy.config.values import RULES


@pytest.mark.parametrize(
    ("key", "value", "normalised"),
    [
        ("state.key", "AB" * 32, "ab" * 32),
        ("state.key", "file:/etc/state.key", "file:/etc/state.key"),
        ("dns.rfc2136.key_name", "Edge-Key.", "edge-key"),
        ("dns.rfc2136.key_secret", "c2VjcmV0\n", "c2VjcmV0"),
        ("rates.exempt_tokens", "0123456789abcdef", "0123456789abcdef"),
    ],
)
def test_good_values_come_back_normalised(key: str, value: str, normalised: str) -> None:
    assert RULES[key](value) == normalised


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("state.key", "file:state.key", "is not absolute"),
        ("issuance.eab.hmac_key", "a+b/c", "is not base64url"),
        ("dns.rfc2136.key_name", "a key", "is not the name of a TSIG key"),
        ("dns.rfc2136.key_secret", "not base64", "is not base64; copy it exactly"),
        ("rates.exempt_tokens", "0123456789abcde", "is not 16 to 256 letters"),
        ("rates.exempt_tokens", "0123456789 abcdef", "is not 16 to 256 letters"),
    ],
)
def test_bad_values_say_what_would_be_right(key: str, value: str, told: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is looked at
        RULES[key](value)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["https://ca.example/dir k", "ca.example k aG1hYw", "https://ca.example/dir k a+b/c", "zzz"])
def test_a_fallbacks_external_account_is_never_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="this is not a directory, a key id and an HMAC key") as caught:
        RULES["issuance.eab.fallback"](text)
    assert text not in str(caught.value)
