"""Where keys stand in a TOML text."""

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.config.lines import lines_of

TEXT = """\
# a comment with [brackets] and "quotes"
top = 1

[listen]
https = [
  "0.0.0.0:443",  # ] not the end
  "[::]:443",
]
http = []
[issuance]
email = "a\\"b # no comment"   # a comment
eab = { key_id = "x]}", hmac_key = 'y' }
text = \"\"\"
fake = 1
[not.a.table]
\"\"\"
raw = '''
other = 2'''
after = 1979-05-27T07:32:00Z
[ issuance . "allow" ]
a.b.'c d' = 3
"""


def test_keys_are_found_past_strings_comments_and_arrays_that_look_like_keys():
    tomllib.loads(TEXT)
    assert lines_of(TEXT) == {
        ("top",): 2,
        ("listen",): 4,
        ("listen", "https"): 5,
        ("listen", "http"): 9,
        ("issuance",): 10,
        ("issuance", "email"): 11,
        ("issuance", "eab"): 12,
        ("issuance", "eab", "key_id"): 12,
        ("issuance", "eab", "hmac_key"): 12,
        ("issuance", "text"): 13,
        ("issuance", "raw"): 17,
        ("issuance", "after"): 19,
        ("issuance", "allow"): 20,
        ("issuance", "allow", "a"): 21,
        ("issuance", "allow", "a", "b"): 21,
        ("issuance", "allow", "a", "b", "c d"): 21,
    }


def test_windows_line_ends_count_like_any_other():
    assert lines_of("a = 1\r\nb = 2\r\n") == {("a",): 1, ("b",): 2}


def test_quotes_that_end_a_long_string_belong_to_it():
    assert lines_of('a = """x""""\nb = 1\n') == {("a",): 1, ("b",): 2}


def test_a_backslash_and_a_quote_in_a_long_string_do_not_end_it():
    assert lines_of('a = """x\\""" y\n"""\nb = 1\n') == {("a",): 1, ("b",): 3}


@given(st.text(alphabet="ab=[]{}'\"\\,.# \n1", max_size=60))
def test_every_text_that_is_toml_is_scanned_to_its_end(text):
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = lines_of(text)
    assert {path[0] for path in lines} == set(tree)
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())
