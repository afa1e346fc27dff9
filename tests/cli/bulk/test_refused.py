"""The file with the lines that were refused."""

import io
import json

from edgeproxy.cli.bulk.lines import Lines
from edgeproxy.cli.bulk.refused import RefusedLines


def refusing(path, data):
    """Refuses each line of some data; what the file has then."""
    lines = Lines(io.BytesIO(data), "domains", {"workspace_id": "w"})
    refused = RefusedLines(path, lines)
    for record in lines:
        refused.write(record, record.code or "no", record.detail or "No, because.")
    refused.close()
    return path.read_bytes()


def test_csv_comes_with_number_and_reason_and_can_be_imported_when_corrected(tmp_path):
    path = tmp_path / "refused.csv"
    written = refusing(path, 'origin;hostname\n;"bücher ""x"", y"\n;b.example;z\n"\n'.encode())
    assert written.decode().splitlines() == [
        "line,code,detail,origin,hostname",
        '2,no,"No, because.",,"bücher ""x"", y"',
        '3,malformed_line,"It has 3 fields, and the header names 2 columns.",,b.example,z',
        '4,malformed_line,Its quotation marks are wrong (unexpected end of data).,""""',
    ]
    again = refusing(tmp_path / "again.csv", written)
    assert again.splitlines()[:2] == written.splitlines()[:2]


def test_json_does_so_too(tmp_path):
    written = refusing(
        tmp_path / "r.jsonl", b'{"hostname": "b\xc3\xbc", "x": [1]}\n{"hostname\n\xff\n{"hostname": "\\ud800"}\n'
    )
    first, second, third, fourth = (json.loads(line) for line in written.decode().splitlines())
    assert first == {"line": 1, "code": "no", "detail": "No, because.", "hostname": "bü", "x": [1]}
    assert (second["line"], second["text"], second["code"]) == (2, '{"hostname', "malformed_line")
    assert third["code"] == "wrong_encoding"
    assert fourth["line"] == 4
    again = refusing(tmp_path / "again.jsonl", written.splitlines()[0])
    assert again.splitlines() == written.splitlines()[:1]


def test_it_goes_on_behind_what_counts_and_a_file_of_before_goes_away(tmp_path):
    path = tmp_path / "refused.csv"
    whole = refusing(path, b"hostname\na.example\nb.example\n")
    lines = Lines(io.BytesIO(b"hostname\nc.example\n"), "domains", {"workspace_id": "w"})
    refused = RefusedLines(path, lines)
    refused.resume(whole.index(b"3,no"))
    refused.write(next(iter(lines)), "no", "Now.")
    size = refused.size()
    refused.flush()
    assert path.stat().st_size == size
    refused.close()
    assert path.read_text().splitlines() == [
        "line,code,detail,hostname",
        '2,no,"No, because.",a.example',
        "2,no,Now.,c.example",
    ]
    another = RefusedLines(path, lines)
    another.resume(0)
    assert (path.exists(), another.size()) == (False, 0)
