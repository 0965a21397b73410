"""Images to and from a registry by the command: login, push, pull, manifest, search, store verify, logout."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.store.registries import HTPASSWD, DebianRegistry

from .conftest import Cli

pytestmark = pytest.mark.needs("root", "docker-registry")


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DebianRegistry]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("INCEPTION_REGISTRIES", str(tmp_path / "registries.json"))
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    server = DebianRegistry(tmp_path, f"auth: {{htpasswd: {{realm: tests, path: {tmp_path}/htpasswd}}}}")
    yield server
    server.close()


def test_an_image_goes_out_and_comes_back(cli: Cli, registry: DebianRegistry, tmp_path: Path) -> None:
    name = f"{registry.host}/team/app:1"
    cli("tag", "busybox", name)
    code, error = cli.fails("push", name)
    assert (code, error.splitlines()[-1]) == (1, f"hint: inception login {registry.host}")
    assert "push access denied for" in error
    done = cli.run("login", "-u", "user", "--password-stdin", registry.host, stdin="secret\n")
    assert (done.returncode, done.stdout) == (0, "Login Succeeded\n")
    assert "stored unencrypted in" in done.stderr
    out = cli("push", name).splitlines()
    assert out[0] == f"The push refers to repository [{registry.host}/team/app]"
    assert out[-1].startswith("1: digest: sha256:")
    digest = out[-1].split()[2]
    other = Cli(tmp_path / "other")
    assert other("pull", name).splitlines()[-3:] == [
        f"Digest: {digest}",
        f"Status: Downloaded newer image for {name}",
        name,
    ]
    assert f"Status: Image is up to date for {name}" in other("pull", name)
    (tmp_path / "registries.json").write_text(json.dumps({"short_names": {"short": name.removesuffix(":1")}}))
    assert other("pull", "-q", "short:1") == f"{name}\n"
    (tmp_path / "registries.json").unlink()
    assert other("pull", "-q", "-a", name.removesuffix(":1")) == f"{registry.host}/team/app\n"
    assert "tag can't be used with --all-tags/-a" in other.fails("pull", "-a", name)[1]
    assert f"tag does not exist: {registry.host}/team/app:2" in cli.fails("push", f"{registry.host}/team/app:2")[1]
    assert "An image does not exist locally with the tag" in cli.fails("push", f"{registry.host}/none:2")[1]
    assert other("images", "-q", "--no-trunc") == cli("images", "-q", "--no-trunc", name)
    assert json.loads(cli("manifest", "inspect", name))["layers"][0]["mediaType"].endswith("tar+gzip")
    both = f"{registry.host}/team/both:1"
    assert cli("manifest", "push", "-q", both, name).startswith("sha256:")
    assert json.loads(cli("manifest", "inspect", both))["manifests"][0]["platform"]["os"] == "linux"
    listed = f"{registry.host}/team/list:1"
    assert cli("manifest", "create", listed, name) == f"Created manifest list {listed}\n"
    cli("manifest", "annotate", "--variant", "v3", listed, name)
    assert '"variant": "v3"' in cli("manifest", "inspect", listed)
    assert "digest" in json.loads(cli("manifest", "inspect", listed, name))["config"]
    pushed = cli("manifest", "push", "--purge", listed).splitlines()
    assert pushed[0].startswith(f"Pushed ref {registry.host}/team/list@sha256:") and pushed[-1].startswith("sha256:")
    assert cli.fails("manifest", "rm", listed) == (1, f"inception: No such manifest: {listed}\n")
    assert cli("registry", "ls", f"{registry.host}/team/list") == "1\n"
    assert cli("registry", "rm", f"{listed.removesuffix(':1')}@{pushed[-1]}").startswith("Deleted: ")
    assert f"{registry.host}/team/app" in cli("search", f"{registry.host}/app")
    code, error = other.fails("pull", "--platform", "linux/s390x", both)
    assert "no matching manifest for linux/s390x in the manifest list entries" in error
    assert other("pull", "-q", "--all-platforms", both) == f"{both}\n"
    assert other("images", "--tree", both).splitlines()[2].split()[0] in ("├─", "└─")
    assert "both" in other("push", "-q", "--all-platforms", both)
    assert cli("logout", registry.host) == f"Removing login credentials for {registry.host}\n"
    assert cli("logout", registry.host) == f"Not logged in to {registry.host}\n"
    assert "pull access denied for" in other.fails("pull", name)[1]


def test_a_damaged_store_is_found_and_mended(tmp_path: Path, registry: DebianRegistry) -> None:
    cli = Cli(tmp_path / "store")
    assert cli("store", "verify") == "Checked 0 images, 0 layers, 0 blobs, 0 snapshots: all is well\n"
    (cli.root / "layers/99").mkdir()
    done = cli.run("store", "verify")
    assert (done.returncode, done.stdout.splitlines()[0]) == (1, "layers/99: a folder without a record")
    assert cli("store", "verify", "--repair", "-q") == "layers/99: a folder without a record: removed\n"
    assert cli("store", "verify", "-q") == ""
