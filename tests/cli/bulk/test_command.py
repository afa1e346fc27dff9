"""`edgeproxy domains import`"""

import json

from edgeproxy.cli import main


def test_it_says_what_became_of_the_file(cli, taking, domains):
    path = domains(120)
    status, out, err = cli("domains", "import", str(path))
    assert (status, out) == (main.REFUSED, "")
    assert "120 domains in " in err
    assert "119 added, 1 refused." in err
    assert f"{path.with_name('domains.refused.csv')} has the refused ones" in err
    status, out, err = cli("domains", "import", str(domains(20)))
    assert (status, out) == (main.DONE, "")
    assert "20 domains in " in err
    assert "0 added, 20 there already." in err


def test_options_count_for_lines_that_say_nothing(cli, taking, tmp_path):
    path = tmp_path / "domains.csv"
    path.write_text("hostname,workspace\na.example.com,\nbad.example.com,w\n")
    refused = tmp_path / "elsewhere.csv"
    options = ("--workspace", "v", "--verify", "--events", "--refused", str(refused), "--json")
    status, out, _ = cli("domains", "import", str(path), *options)
    assert status == main.REFUSED
    assert taking.batches == [
        {
            "domains": [
                {"workspace_id": "v", "verify": True, "domain": "a.example.com"},
                {"workspace_id": "w", "verify": True, "domain": "bad.example.com"},
            ],
            "events": True,
        }
    ]
    told = json.loads(out)
    assert told.pop("seconds") >= 0
    assert told == {"lines": 2, "added": 1, "there": 0, "refused": 1, "refused_file": str(refused)}
    assert refused.exists()


def test_a_wrong_file_and_an_edge_that_is_not_there_are_told_in_a_sentence(cli, edge, tmp_path, domains):
    path = tmp_path / "domains.csv"
    path.write_text("hostname\n")
    status, _, err = cli("domains", "import", str(path))
    assert (status, err.count("\n")) == (main.REFUSED, 1)
    assert "has no column workspace" in err
    assert cli("domains", "import", str(tmp_path / "nowhere.csv"))[0] == main.REFUSED
    assert cli("domains", "import", str(domains(5)), "--socket", str(tmp_path / "no.sock"))[0] == main.UNANSWERED


def test_what_was_done_is_told_where_it_ends_early(cli, taking, domains):
    answers = taking.answer
    taking.edge.answers["POST /api/v1/infrastructure/domain-imports"] = lambda body: (
        answers(body) if not taking.batches else (400, {"detail": "No more."})
    )
    status, _, err = cli("domains", "import", str(domains(600)))
    assert status == main.REFUSED
    assert "244 domains are done. The same command goes on there." in err
    assert err.endswith("edgeproxy: No more.\n")


def test_that_workers_do_not_have_them_yet_is_told(cli, taking, domains):
    taking.trouble = [(200, {"added": 5, "there": 0, "refused": [], "published": False})]
    assert "will be served in a moment" in cli("domains", "import", str(domains(5)))[2]
