from __future__ import annotations

import json
from xml.etree import ElementTree

from inception.cli import ns
from inception.cli.ns_svg import draw
from inception.linux.nstree import NamespacedProcess, PidNamespace

SHELL = NamespacedProcess(pids=[101, 1], parent=100, name="sh", command=["sh", "-c", "a < b"])
OTHER = NamespacedProcess(pids=[103, 1], parent=100, name="sh", command=["sh"])
NESTED = NamespacedProcess(pids=[105, 2, 1], parent=103, name="evil\x1b[31m\n", command=[])
ROOT = PidNamespace(
    id=1000,
    level=0,
    processes=[
        NamespacedProcess(pids=[1], parent=0, name="init", command=["init"]),
        NamespacedProcess(pids=[100], parent=1, name="inception", command=["inception", "unshare"]),
    ],
    children=[
        PidNamespace(id=1001, level=1, processes=[SHELL]),
        PidNamespace(id=1002, level=1, processes=[OTHER], children=[PidNamespace(id=1003, level=2, processes=[NESTED])]),
    ],
)


def test_the_tree_shows_every_pid_of_every_process():
    assert ns.lines(ROOT, {1001: "web"}, everything=False, colour=False) == [
        "pid:[1000]  this machine · 2 processes",
        "│   100  inception unshare",
        "├── pid:[1001]  web (container)",
        "│       101 → 1  sh -c a < b",
        "└── pid:[1002]  sh",
        "    │   103 → 1  sh",
        "    └── pid:[1003]  [evil\\x1b[31m\\n]",
        "            105 → 2 → 1  [evil\\x1b[31m\\n]",
    ]


def test_all_shows_the_rest_of_the_outermost_namespace():
    assert "│     1  init" in ns.lines(ROOT, {}, everything=True, colour=False)


def test_colours_only_wrap_what_is_shown():
    import re

    coloured = ns.lines(ROOT, {}, everything=True, colour=True)
    assert [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in coloured] == ns.lines(ROOT, {}, everything=True, colour=False)


def test_json_is_the_whole_tree():
    document = json.loads(json.dumps(ns.document(ROOT, {1001: "web"})))
    assert document["children"][0]["container"] == "web"
    assert document["children"][1]["children"][0]["processes"][0]["pids"] == [105, 2, 1]
    assert len(document["processes"]) == 2


def test_the_picture_is_well_formed_and_every_box_lies_in_its_parent():
    picture = draw(ROOT, {1001: "<web> & co"}, everything=True)
    root = ElementTree.fromstring(picture)
    boxes = [
        tuple(float(box.attrib[key]) for key in ("x", "y", "width", "height"))
        for box in root.iter("{http://www.w3.org/2000/svg}rect")
        if box.attrib["class"].startswith("box")
    ]
    assert len(boxes) == 4
    outer, first, second, nested = boxes
    for inner, around in ((first, outer), (second, outer), (nested, second)):
        assert around[0] < inner[0] and inner[0] + inner[2] < around[0] + around[2]
        assert around[1] < inner[1] and inner[1] + inner[3] < around[1] + around[3]
    assert first[0] + first[2] < second[0]
    assert "<web> & co (container)" in [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "")
