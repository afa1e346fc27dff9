"""An edge that takes imports, and files for it."""

import pytest

from tests.cli import conftest

edge, cli = conftest.edge, conftest.cli

DOMAINS = "/api/v1/infrastructure/domains"
IMPORTS = "/api/v1/infrastructure/domain-imports"


class Taking:
    """What a stand-in for an edge has taken: domain → workspace. Those whose name begins with "bad" are refused. `trouble` is
    answered first, one for each request."""

    def __init__(self, edge):
        self.edge = edge
        self.has = {}
        self.trouble = []
        self.batches = []
        edge.answers[f"POST {IMPORTS}"] = self.answer

    def answer(self, body):
        if self.trouble:
            return self.trouble.pop(0)
        self.batches.append(body)
        added, refused = 0, []
        for index, each in enumerate(body["domains"]):
            name = each["domain"]
            if name.startswith("bad"):
                reason = {"code": "invalid_name", "detail": f"{name} is no name.", "fault": "client", "retryable": False}
                refused.append({"index": index, **reason})
            elif name not in self.has:
                self.has[name] = each["workspace_id"]
                self.edge.answers[f"GET {DOMAINS}/{name}"] = (200, {"domain": name})
                added += 1
        there = len(body["domains"]) - added - len(refused)
        return 200, {"added": added, "there": there, "refused": refused, "published": True}

    @property
    def names(self):
        """In the order in which they came."""
        return [each["domain"] for batch in self.batches for each in batch["domains"]]


@pytest.fixture
def taking(edge):
    return Taking(edge)


@pytest.fixture
def domains(tmp_path):
    """Writes a CSV file with so many domains, of which each hundredth is refused; gives its path."""

    def write(count, name="domains.csv"):
        lines = [f"{'bad' if number % 100 == 99 else 'n'}{number:05}.example.com,w{number % 7}\n" for number in range(count)]
        path = tmp_path / name
        path.write_text("hostname,workspace\n" + "".join(lines))
        return path

    return write
