"""The picture of the figures."""

from typing import Any
from xml.etree import ElementTree as ET

from bench.plot import picture
from bench.targets import OURS

_SVG = "{http://www.w3.org/2000/svg}"


def data(**scenarios: dict[str, float]) -> dict[str, Any]:
    measured = {
        name: {peer: {"summary": {"median": cost}} for peer, cost in peers.items()} for name, peers in scenarios.items()
    }
    return {"versions": {"a <peer>": "1", OURS: "0.1"}, "scenarios": measured}


def test_bars_are_as_long_as_their_figures_within_a_scenario_and_ours_is_the_first_and_marked():
    root = ET.fromstring(picture(data(h1={"a <peer>": 80.0, OURS: 40.0}, h2={OURS: 1500.0}), 1))
    ours, other, alone = root.findall(f"{_SVG}rect")
    assert float(other.attrib["width"]) / float(ours.attrib["width"]) == 2.0
    assert alone.attrib["width"] == other.attrib["width"]
    assert [bar.get("class") for bar in (ours, other, alone)] == ["us", None, "us"]
    texts = [each.text for each in root.findall(f"{_SVG}text")]
    assert texts[2:] == ["HTTP/1.1 keep-alive, 256 B", OURS, "40", "a <peer>", "80", "HTTP/2, 256 B", OURS, "1500"]


def test_screen_readers_get_all_of_it():
    root = ET.fromstring(picture(data(h1={"a <peer>": 80.0, OURS: 40.4}, h2={OURS: 1500.0}), 2))
    assert root.attrib["role"] == "img"
    named = [root.find(f"*[@id='{name}']") for name in root.attrib["aria-labelledby"].split()]
    title, description = [each.text for each in named if each is not None]
    assert title == "CPU time per request, in microseconds: less is better"
    assert description == f"HTTP/1.1 keep-alive, 256 B: {OURS} 40, a <peer> 80. HTTP/2, 256 B: {OURS} 1500."


def test_nothing_is_outside_of_the_picture_in_as_many_columns_as_asked_for():
    measured = data(**{name: {"a <peer>": 9999.0, OURS: 7.0} for name in ("h1", "h1-64k", "h2")})
    for columns, lefts in ((1, {0}), (2, {0, 460})):
        root = ET.fromstring(picture(measured, columns))
        width, height = (float(root.attrib[name]) for name in ("width", "height"))
        bars = root.findall(f"{_SVG}rect")
        assert all(float(bar.attrib["x"]) + float(bar.attrib["width"]) + 50 <= width for bar in bars)
        assert all(float(bar.attrib["y"]) + 20 <= height for bar in bars)
        assert {float(each.attrib["x"]) for each in root.findall(f"{_SVG}text[@class='group']")} == lefts
    assert not ET.fromstring(picture(data(), 2)).findall(f"{_SVG}rect")
