"""Where a secret may go, and what challenges, proxies and settings mean."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inception.errors import Forbidden, InvalidArgument, NotFound
from inception.oci.image import Platform, parse_platform
from inception.store import credentials
from inception.store.authorization import Challenge, check_realm, parse_challenges
from inception.store.credentials import Credentials
from inception.store.hosts import Endpoint, Host, Registries, endpoint, load_registries, mirrors, proxy_for
from inception.store.login import domain_of
from inception.store.registry import next_page


def at(base: str, **settings: object) -> Endpoint:
    host = base.partition("://")[2]
    return Endpoint(base=base, host=host, settings_of=host, settings=Host(**settings))


GITLAB = at("https://registry.gitlab.example")


@pytest.mark.parametrize(
    ("where", "realm"),
    [
        (GITLAB, "https://registry.gitlab.example/token"),
        (GITLAB, "https://registry.gitlab.example:8443/token"),
        (GITLAB, "https://gitlab.example/jwt/auth"),
        (GITLAB, "https://auth.registry.gitlab.example/"),
        (at("https://registry-1.docker.io"), "https://auth.docker.io/token"),
        (at("https://r.example", realms=["login.other.example"]), "https://login.other.example/token"),
        (at("http://127.0.0.1:5000"), "http://127.0.0.1:5001/token"),
    ],
)
def test_realms_that_get_the_password(where: Endpoint, realm: str) -> None:
    check_realm(where, realm, secret=True)


@pytest.mark.parametrize(
    ("where", "realm", "words"),
    [
        (GITLAB, "https://evil.example/token", "does not get the password"),
        (GITLAB, "https://auth.gitlab.example/token", "does not get the password"),
        (GITLAB, "https://xgitlab.example/token", "does not get the password"),
        (GITLAB, "https://registry.gitlab.example@evil.example/token", "is not a host"),
        (GITLAB, "http://registry.gitlab.example/token", "is not https"),
        (GITLAB, "http://127.0.0.1/token", "is not https"),
        (GITLAB, "https://127.0.0.1/token", "another machine of this network"),
        (GITLAB, "https://169.254.169.254/latest", "another machine of this network"),
        (GITLAB, "https://[fd00::1]/", "another machine of this network"),
        (GITLAB, "https://metadata/", "another machine of this network"),
        (GITLAB, "file:///etc/passwd", "is not https"),
        (GITLAB, "", "is not https"),
        (GITLAB, "https://[x", "is not a URL"),
        (at("http://127.0.0.1:5000"), "http://10.0.0.1/token", "is not https"),
        (at("https://registry-1.docker.io"), "https://auth.docker.io.evil.example/token", "does not get the password"),
    ],
)
def test_realms_that_do_not(where: Endpoint, realm: str, words: str) -> None:
    with pytest.raises(Forbidden, match=words):
        check_realm(where, realm, secret=True)


def test_without_a_password_another_public_host_may_be_asked() -> None:
    check_realm(GITLAB, "https://tokens.example/x", secret=False)
    with pytest.raises(Forbidden, match="another machine"):
        check_realm(GITLAB, "https://192.168.1.1/x", secret=False)


def test_challenges() -> None:
    assert parse_challenges(['Bearer realm="https://a/t",service="s \\"x\\"", scope=a:b:c , Basic realm=x']) == [
        Challenge(scheme="bearer", parameters={"realm": "https://a/t", "service": 's "x"', "scope": "a:b:c"}),
        Challenge(scheme="basic", parameters={"realm": "x"}),
    ]
    assert parse_challenges(["Negotiate", 'Basic realm="']) == [
        Challenge(scheme="negotiate"),
        Challenge(scheme="basic", parameters={"realm": ""}),
    ]


def test_proxies_are_those_of_the_environment() -> None:
    env = {"HTTPS_PROXY": "proxy:3128", "HTTP_PROXY": "http://plain:1", "NO_PROXY": ".corp.example,10.0.0.0/8,exact:5000,*.x"}
    assert proxy_for("https", "docker.io", env) == "http://proxy:3128"
    assert proxy_for("http", "a.example", env) == "http://plain:1"
    for host in ("127.0.0.1:5000", "localhost", "[::1]:1", "a.corp.example:443", "10.1.2.3:5000", "exact:5000", "b.x"):
        assert proxy_for("https", host, env) == "", host
    for host in ("acorp.example", "11.0.0.1", "exact:5001"):
        assert proxy_for("https", host, env), host
    assert proxy_for("http", "a.example", {**env, "REQUEST_METHOD": "GET"}) == ""
    assert proxy_for("https", "a.example", {**env, "NO_PROXY": "*"}) == ""


def test_settings_choose_scheme_and_mirrors() -> None:
    registries = Registries(
        hosts={
            "docker.io": Host(mirrors=["https://m.example/", "cache:5000", "bad.example"]),
            "cache:5000": Host(http=True),
            "bad.example": Host(blocked=True),
            "localhost:5001": Host(ca="/x"),
        }
    )
    assert endpoint(registries, "docker.io").base == "https://registry-1.docker.io"
    assert endpoint(registries, "localhost:5000").base == "http://localhost:5000"
    assert endpoint(registries, "localhost:5001").base == "https://localhost:5001"
    assert [mirror.base for mirror in mirrors(registries, "docker.io")] == ["https://m.example", "http://cache:5000"]
    with pytest.raises(InvalidArgument, match="neither http nor https"):
        mirrors(Registries(hosts={"a": Host(mirrors=["ftp://x"])}), "a")


def test_a_settings_file_is_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    assert load_registries(str(path)) == Registries()
    path.write_text('{"hosts": {"a": {"http": "yes"}}}')
    with pytest.raises(InvalidArgument, match=r"r.json.hosts.a.http: expected a boolean"):
        load_registries(str(path))


def test_log_ins_are_found_under_all_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    auth = "dXNlcjpzZWM6cmV0"  # user:sec:ret
    (tmp_path / "config.json").write_text(
        json.dumps(
            {
                "auths": {
                    "https://index.docker.io/v1/": {"auth": auth},
                    "https://old.example/v1/": {"auth": auth},
                    "t.example/one/repository": {"identitytoken": "another's"},
                    "t.example": {"identitytoken": "t"},
                    "bad.example": {"auth": "%%"},
                }
            }
        )
    )
    login = Credentials(username="user", password="sec:ret")
    assert credentials.find("docker.io") == credentials.find("old.example") == login
    assert credentials.find("t.example") == Credentials(identity_token="t")
    assert not credentials.find("example")
    with pytest.raises(InvalidArgument, match=r"auths.bad.example.auth: not base64"):
        credentials.find("bad.example")
    assert "sec" not in repr(login)
    credentials.erase("old.example")
    with pytest.raises(NotFound):
        credentials.erase("old.example")
    assert credentials.find("docker.io") == login


def test_a_helpers_name_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text('{"credHelpers": {"a.example": "../../tmp/evil"}}')
    with pytest.raises(InvalidArgument, match="not a name"):
        credentials.find("a.example")


def test_names_of_registries() -> None:
    assert [domain_of(text) for text in ("", "https://index.docker.io/v1/", "a.example:5000", "https://a.example/v2/")] == [
        "docker.io",
        "docker.io",
        "a.example:5000",
        "a.example",
    ]
    with pytest.raises(InvalidArgument):
        domain_of("user@host")


def test_platforms_as_docker_spells_them() -> None:
    assert (
        parse_platform("linux/aarch64") == parse_platform("arm64") == Platform(os="linux", architecture="arm64", variant="v8")
    )
    assert parse_platform("linux/arm") == parse_platform("armhf") == Platform(os="linux", architecture="arm", variant="v7")
    assert parse_platform("linux/x86_64") == Platform(os="linux", architecture="amd64")
    for text in ("", "a/b/c/d", "linux//x", "li nux"):
        with pytest.raises(InvalidArgument, match="invalid platform"):
            parse_platform(text)


def test_pages_follow_the_link_header() -> None:
    assert next_page('</v2/a/tags/list?last=b&n=1>; rel="next"') == "/v2/a/tags/list?last=b&n=1"
    assert next_page('<x>; rel="prev"') == next_page("") == ""
