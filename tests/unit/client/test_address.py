"""Where an engine is: flags, variables, contexts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from inception.client.address import Address, Tls, find, parse
from inception.errors import InvalidArgument, NotFound


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("unix:///run/docker.sock", Address(kind="unix", text="unix:///run/docker.sock", path="/run/docker.sock")),
        ("tcp://far", Address(kind="tcp", text="tcp://far", host="far", port=2375)),
        ("tcp://[::1]:99/", Address(kind="tcp", text="tcp://[::1]:99/", host="::1", port=99)),
        ("ssh://me@far:22", Address(kind="ssh", text="ssh://me@far:22", host="me@far", port=22)),
    ],
)
def test_addresses(text: str, wanted: Address) -> None:
    assert parse(text) == wanted


@pytest.mark.parametrize(
    "text", ["", "far", "unix://relative", "tcp://", "tcp://a:b", "ssh://", "ssh://-oProxyCommand=x", "npipe://x"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="unable to parse docker host"):
        parse(text)


def test_a_flag_wins_over_the_variable_and_the_variable_over_the_context(tmp_path: Path) -> None:
    _context(tmp_path, "far", "ssh://far")
    environment = {"DOCKER_HOST": "tcp://there:1", "DOCKER_CONTEXT": "far", "DOCKER_CONFIG": str(tmp_path)}
    assert _text(find("unix:///x", "", environment)) == "unix:///x"
    assert _text(find("", "", environment)) == "tcp://there:1"
    assert _text(find("", "far", environment)) == "ssh://far"
    del environment["DOCKER_HOST"]
    assert _text(find("", "", environment)) == "ssh://far"
    environment["DOCKER_CONTEXT"] = "default"
    assert find("", "", environment) is None and find("", "", {}) is None
    with pytest.raises(InvalidArgument, match="cannot specify both"):
        find("unix:///x", "far", environment)
    with pytest.raises(NotFound, match='context "nope"'):
        find("", "nope", environment)


def test_a_broken_context_says_so(tmp_path: Path) -> None:
    _context(tmp_path, "far", "ssh://far").write_text("{")
    with pytest.raises(InvalidArgument, match="can't be read"):
        find("", "far", {"DOCKER_CONFIG": str(tmp_path)})


def test_certificates_come_with_the_variables_or_the_flags_or_the_context(tmp_path: Path) -> None:
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (tmp_path / name).touch()
    environment = {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)}
    files = {"authority": f"{tmp_path}/ca.pem", "certificate": f"{tmp_path}/cert.pem", "key": f"{tmp_path}/key.pem"}
    found = find("tcp://far", "", environment)
    assert found is not None and (found.port, found.tls) == (2376, Tls(**files))
    found = find("tcp://far", "", {**environment, "DOCKER_TLS_VERIFY": ""}, {"tlsverify": "1", "tlscacert": "/ca"})
    assert found is not None and found.tls == Tls(**{**files, "authority": "/ca"})
    found = find("tcp://far", "", environment, {"tls": "1"})
    assert found is not None and found.tls is not None and not found.tls.verify
    meta = _context(tmp_path, "far", "tcp://far:7")
    folder = tmp_path / "contexts/tls" / meta.parent.name / "docker"
    folder.mkdir(parents=True)
    (folder / "ca.pem").touch()
    found = find("", "far", {"DOCKER_CONFIG": str(tmp_path)})
    assert found is not None and found.tls == Tls(authority=str(folder / "ca.pem"))


def _text(address: Address | None) -> str:
    return "" if address is None else address.text


def _context(folder: Path, name: str, host: str) -> Path:
    path = folder / "contexts/meta" / hashlib.sha256(name.encode()).hexdigest() / "meta.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"Name": name, "Endpoints": {"docker": {"Host": host}}}))
    return path
