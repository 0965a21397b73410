"""Every parameter of the specification is honoured, refused by name, or says nothing: the page about it, held against both."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

import inception.api
from inception.engine import filters, limits
from inception.store import login

from .support import Host

pytestmark = pytest.mark.needs("root", "nft", "docker", "engine-api")

SPEC = Path(__file__).parents[3] / "shared/specs/engine-api/v1.51.yaml"
PAGE = Path(__file__).parents[2] / "docs/clients/parameters.md"
ELSEWHERE = ("/swarm", "/nodes", "/services", "/tasks", "/secrets", "/configs", "/plugins")
SOURCES = [*Path(inception.api.__path__[0]).rglob("*.py"), Path(limits.__file__), Path(filters.__file__), Path(login.__file__)]
TEXT = "\n".join(path.read_text() for path in SOURCES)


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(SPEC.read_text(), yaml.CSafeLoader)
    return found


def operations(spec: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in spec["paths"].items():
        if not path.startswith(ELSEWHERE):
            for method, operation in methods.items():
                yield f"{method.upper()} {path}", operation


def rows() -> dict[str, tuple[set[str], set[str], set[str]]]:
    """By call: honoured, refused, without a meaning here."""
    found = {}
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if re.match(r"(GET|HEAD|POST|PUT|DELETE) /", cells[0]):
            silent = {name for part in cells[3].split("; ") for name in re.findall(r"^`([^`]+)`:", part)}
            found[cells[0]] = (set(re.findall("`([^`]+)`", cells[1])), set(re.findall("`([^`]+)`", cells[2])), silent)
    return found


def test_the_page_has_every_parameter_and_filter(spec: dict[str, Any]) -> None:
    wanted = {}
    for call, operation in operations(spec):
        names = set()
        for parameter in operation.get("parameters", []):
            if parameter["name"] == "filters":
                names |= {f"filters:{key}" for key in re.findall(r"^\s*- `([a-z-]+)", parameter["description"], re.MULTILINE)}
            elif parameter["in"] in ("query", "header"):
                names.add(parameter["name"])
        if names:
            wanted[call] = names
    assert {call: set.union(*kinds) for call, kinds in rows().items()} == wanted


def is_read(name: str) -> bool:
    # Filters of containers are one text of words.
    return f'"{name}"' in TEXT or re.search(rf'"[^"\n]*\b{name}\b[^"\n]*"\.split\(\)', TEXT) is not None


def test_what_is_called_honoured_is_read() -> None:
    named = {name.removeprefix("filters:") for honoured, _, _ in rows().values() for name in honoured}
    assert [name for name in sorted(named) if not is_read(name)] == []


def test_what_is_called_refused_is_refused_by_its_name(host: Host) -> None:
    checked = 0
    for call, (_, refused, _) in rows().items():
        method, path = call.split()
        for name in refused:
            if name.startswith("filters:"):
                query = "filters=" + quote(json.dumps({name.removeprefix("filters:"): ["x"]}))
            else:
                query = f"{name}=1"
            status, _, data = host.request(method, f"{path.replace('{name}', 'bb')}?{query}")
            assert 400 <= status < 500 or status == 501, (call, name, status, data)
            assert name.removeprefix("filters:") in json.loads(data)["message"], (call, name, data)
            checked += 1
    assert checked > 10


def fields_of(spec: dict[str, Any], schema: dict[str, Any], seen: tuple[str, ...] = ()) -> Iterator[str]:
    """All names of fields in a document, however deep."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name not in seen:
            yield from fields_of(spec, spec["definitions"][name], (*seen, name))
        return
    for part in schema.get("allOf", []):
        yield from fields_of(spec, part, seen)
    for name, value in schema.get("properties", {}).items():
        if name in ("ClusterVolumeSpec", "Spec"):
            continue  # refused as a whole
        yield name
        yield from fields_of(spec, value, seen)
    for inner in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(inner, dict):
            yield from fields_of(spec, inner, seen)


def test_every_field_of_a_body_is_read_or_on_the_page(spec: dict[str, Any]) -> None:
    bodies = PAGE.read_text().partition("## Bodies")[2]
    silent = {
        name for line in bodies.splitlines() if line.startswith("| `") for name in re.findall("`(.+?)`", line.split("|")[1])
    }
    unread = {
        name
        for _, operation in operations(spec)
        for parameter in operation.get("parameters", [])
        if parameter["in"] == "body"
        for name in fields_of(spec, parameter["schema"])
        if f'"{name}"' not in TEXT and not re.search(rf"\b{name}=", TEXT)
    }
    assert unread <= silent, unread - silent
