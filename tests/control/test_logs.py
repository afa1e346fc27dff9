"""Lines of the control plane's log."""

import json
import logging
import os

import pytest
import structlog

from edgeproxy.config.monitoring import Log
from edgeproxy.control import logs
from edgeproxy.log import Sink


@pytest.fixture
def lines():
    """Configures the log into a pipe; calling the fixture reads what was written."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    root = logging.getLogger()
    before, level = list(root.handlers), root.level

    def configure(config: Log = Log(format="json")):  # noqa: B008
        sink = Sink(writer)
        sinks.append(sink)
        logs.configure(config, sink)

    def read() -> list[str]:
        return os.read(reader, 65536).decode().splitlines()

    sinks: list[Sink] = []
    read.configure = configure  # type: ignore[attr-defined]
    configure()
    yield read
    structlog.reset_defaults()
    root.handlers[:] = before
    root.setLevel(level)
    for sink in sinks:
        sink.close()
    os.close(reader)
    os.close(writer)


def test_a_line_is_one_json_object_with_its_part_and_fields(lines):
    structlog.get_logger("api").info("domain added", domain="a.example.com")
    line = json.loads(lines()[0])
    assert line["message"] == "domain added"
    assert (line["level"], line["process"], line["part"], line["domain"]) == ("info", "controller", "api", "a.example.com")


def test_lines_below_the_level_are_left_out(lines):
    lines.configure(Log(format="json", level="warning"))
    structlog.get_logger("api").info("quiet")
    structlog.get_logger("api").warning("loud")
    assert [json.loads(line)["message"] for line in lines()] == ["loud"]


def test_an_exception_is_told_in_the_same_line(lines):
    try:
        raise ZeroDivisionError("by nought")
    except ZeroDivisionError as error:
        structlog.get_logger("api").error("it failed", exc_info=error)
    found = lines()
    assert len(found) == 1
    message = json.loads(found[0])["message"]
    assert message.startswith("it failed\nZeroDivisionError: by nought")
    assert "in test_an_exception_is_told_in_the_same_line" in message


def test_what_libraries_log_comes_out_in_the_same_form(lines):
    logging.getLogger("somelibrary").info("chatter")
    logging.getLogger("somelibrary").warning("a %s thing", "strange")
    logging.getLogger("uvicorn.error").error("told already")
    found = [json.loads(line) for line in lines()]
    assert [(line["message"], line["part"], line["level"]) for line in found] == [("a strange thing", "somelibrary", "warning")]


def test_loggers_made_before_the_configuration_follow_it(lines):
    early = structlog.get_logger("early")
    lines.configure(Log(format="json", level="error"))
    early.warning("too quiet now")
    early.error("loud")
    assert [json.loads(line)["message"] for line in lines()] == ["loud"]
