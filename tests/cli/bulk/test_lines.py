"""Files of domains, as people have them."""

import codecs
import io

import pytest

from edgeproxy.cli.bulk.lines import LINE_BYTES, Lines, WrongFile

CSV = b"hostname,workspace\n"


def read(data, **defaults):
    return list(Lines(io.BytesIO(data), "domains.csv", defaults))


def fields(data, **defaults):
    return [record.fields for record in read(data, **defaults)]


A = {"domain": "a.example.com", "workspace_id": "w"}


@pytest.mark.parametrize(
    "data",
    [
        CSV + b"a.example.com,w\n",
        CSV + b"a.example.com,w",
        CSV + b" a.example.com , w \r\n\r\n  \n",
        b"\n\n" + CSV + b"a.example.com,w\n",
        codecs.BOM_UTF8 + CSV + b"a.example.com,w\n",
        b'"Workspace ID";"Host"\nw;"a.example.com"\n',
        b"workspace_id\tdomain\nw\ta.example.com\n",
        b"line,code,detail,hostname,workspace,origin\n7,invalid_name,No.,a.example.com,w,\n",
        b'{"hostname": "a.example.com", "workspace": "w"}\n',
        codecs.BOM_UTF8 + b'\n {"domain":"a.example.com","workspace_id":"w","line":7,"code":"x","detail":"No."}',
    ],
)
def test_a_domain_is_read_from_what_people_have(data):
    assert fields(data) == [A]


def test_columns_become_what_the_api_takes():
    header = b"hostname,workspace,origin,redirect-to,include_www,metadata,policies,verify,method\n"
    row = b'a.example.com,w,http://o.example,b.example.com,Yes,"{""plan"": ""gold""}","{""hsts"": ""365d""}",no,dns\n'
    assert fields(header + row + b"a.example.com,w,,,,,,,\n") == [
        {
            **A,
            "origin": "http://o.example",
            "redirect_to": "b.example.com",
            "include_www": True,
            "metadata": {"plan": "gold"},
            "policies": {"hsts": "365d"},
            "verify": False,
            "method": "dns",
        },
        A,
    ]


def test_json_goes_to_the_edge_as_it_is_which_says_what_does_not_fit():
    assert fields(b'{"host": "a.example.com", "workspace": 7, "colour": null}\n') == [
        {"domain": "a.example.com", "workspace_id": 7, "colour": None}
    ]


def test_what_a_line_does_not_say_the_command_does():
    assert fields(b"hostname\na.example.com\n", workspace_id="w") == [A]
    assert fields(CSV + b"a.example.com,\nb.example.com,v\n", workspace_id="w", verify=True) == [
        {**A, "verify": True},
        {"domain": "b.example.com", "workspace_id": "v", "verify": True},
    ]


@pytest.mark.parametrize(
    ("line", "code", "detail"),
    [
        (b"a.example.com\n", "malformed_line", "It has 1 fields, and the header names 2 columns."),
        (b'"a.example.com,w\n', "malformed_line", "Its quotation marks are wrong"),
        (b'a.exa"mple.com,"w"x\n', "malformed_line", "Its quotation marks are wrong"),
        (b"b\xfccher.example,w\n", "wrong_encoding", "The line is not in UTF-8: byte 2 of it is 0xfc."),
        (b"a" * (LINE_BYTES * 2) + b",w\n", "line_too_long", "The line has more than 65,536 bytes."),
    ],
)
def test_a_line_that_is_wrong_is_told_by_itself(line, code, detail):
    before, wrong, after = read(CSV + b"a.example.com,w\n" + line + b"b.example.com,w\n")
    assert (before.line, wrong.line, after.line) == (2, 3, 4)
    assert (before.detail, after.detail, wrong.code, wrong.fields) == ("", "", code, {})
    assert wrong.detail.startswith(detail)
    assert after.fields["domain"] == "b.example.com"


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        (b"not json", "It is not JSON: Expecting value at column 1."),
        (b'["a"]', "It is no JSON object, like"),
        (b'{"hostname": "a", "hostname": "b"}', "It has a name twice in one object."),
        (b'{"hostname": "a", "domain": "b"}', "It says domain twice."),
        (b'{"hostname": NaN}', "It is not JSON: NaN is no number there."),
        (b"[" * 60_000, "It is not JSON: it is nested too deeply."),
        (b'{"a": ' + b"9" * 5_000 + b"}", "Exceeds the limit"),
    ],
)
def test_json_that_is_none_is_told_with_its_line(line, detail):
    first, wrong, last = read(b'{"hostname": "a"}\n' + line + b'\n{"hostname": "b"}\n')
    assert (first.fields, wrong.line, last.fields) == ({"domain": "a"}, 2, {"domain": "b"})
    assert wrong.detail.startswith(detail)


def test_cells_that_cannot_be_meant_are_told():
    [wrong] = read(b"hostname,workspace,verify\na.example.com,w,perhaps\n")
    assert (wrong.detail, wrong.given) == ("verify: 'perhaps' is neither true nor false.", ["a.example.com", "w", "perhaps"])
    [wrong] = read(b"hostname,workspace,metadata\na.example.com,w,plan=gold\n")
    assert wrong.detail == "It is not JSON: Expecting value at column 1."
    [wrong] = read(b"hostname,workspace,metadata\na.example.com,w,7\n")
    assert wrong.detail == 'metadata: \'7\' is no JSON object, like {"plan": "gold"}.'


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"\x7fELF\0\0\0", "is not a text"),
        (codecs.BOM_UTF16_LE + "hostname".encode("utf-16-le"), "is in UTF-16. Save it as UTF-8"),
        (b"h\xf6stname,workspace\n", "is not in UTF-8"),
        (b'[{"hostname": "a"}]', "is a JSON array. Write an object on each line"),
        (b"a.example.com,w\n", "does not name its columns. Its first line must: hostname,workspace"),
        (b"a.example.com\nb.example.com\n", "does not name its columns"),
        (
            b"hostname,workspace,colour\n",
            "has a column 'colour', which nobody knows. The columns are hostname, workspace, o",
        ),
        (b"hostname,host,workspace\n", "has two columns for domain"),
        (b"workspace,origin\n", "has no column hostname"),
        (b"hostname,origin\n", "has no column workspace. Add one, or say with --workspace"),
        (b'"hostname,workspace\n', "has a first line that cannot be read"),
        (b"x" * (LINE_BYTES + 5), "has a first line of more than 65,536 bytes"),
    ],
)
def test_a_file_that_has_no_domains_is_told_as_a_whole(data, detail):
    with pytest.raises(WrongFile) as caught:
        read(data)
    assert caught.value.detail.startswith(f"domains.csv {detail}")


def test_reading_goes_on_at_the_end_of_any_line():
    data = CSV + b"a.example.com,w\r\n\n\xff,w\nb.example.com,w\n" + b"c" * LINE_BYTES * 3 + b"\nd.example.com,w"
    whole = read(data)
    assert len(whole) == 5
    for number, record in enumerate(whole):
        lines = Lines(io.BytesIO(data), "domains.csv", {})
        lines.seek(record.line, record.end)
        assert list(lines) == whole[number + 1 :]
        assert lines.offset == len(data)


def test_a_file_that_only_names_columns_has_no_domains():
    assert read(CSV) == []
