"""Bodies that Python would take for JSON."""

import pytest

from edgeproxy.control.api.problems import Refused
from edgeproxy.control.api.strict import check_json


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"domain": "a", "domain": "b"}', 'the field "domain" twice'),
        (b'{"a": [{"b": 1, "c": 2, "b": 1}]}', 'the field "b" twice'),
        (b'{"\\u0061": 1, "a": 2}', 'the field "a" twice'),
        (b'{"\\ud800": 1, "\\ud800": 2}', "twice"),
        (b'{"' + b"x" * 1000 + b'": 1, "' + b"x" * 1000 + b'": 1}', "x" * 64 + '" twice'),
        (b'{"a": NaN}', "NaN is no number"),
        (b"-Infinity", "-Infinity is no number"),
        ('{"a": 1}'.encode("utf-16"), "not in UTF-8"),
        ('{"a": 1}'.encode("utf-16-le"), "not JSON"),
        ('{"a": 1}'.encode("utf-32-be"), "not JSON"),
        (b'\xef\xbb\xbf{"a": 1}', "not JSON"),
        (b'{"a": "\xff"}', "not in UTF-8"),
        (b'{"a": "\xed\xa0\x80"}', "not in UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b"1" * 100_000, "thousands of digits"),
        (b'{"a": 1', "line 1, column 8"),
        (b" ", "not JSON"),
    ],
)
def test_what_is_no_json_is_told_why(body: bytes, said: str):
    with pytest.raises(Refused) as refused:
        check_json(body)
    assert (refused.value.status, refused.value.code) == (400, "invalid_json")
    assert said in refused.value.detail
    assert len(refused.value.detail) < 250


@pytest.mark.parametrize("body", [b"", b"null", b"{}", b'{"a": {"b": 1}, "b": {"b": 2}}', '{"a": "ü"}'.encode(), b"[1, 2.5e3]"])
def test_json_passes(body: bytes):
    check_json(body)
