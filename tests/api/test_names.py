"""What containers, images and mounts are called in answers: names in links, tmpfs, a volume's driver."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .support import Host

pytestmark = pytest.mark.needs("root", "nft", "docker")


def test_a_linked_container_has_the_links_name_too(host: Host) -> None:
    host.docker("run", "-d", "--name", "base", "bb", "sleep", "100")
    host.docker("run", "-d", "--name", "user", "--link", "base:db", "bb", "sleep", "100")
    names = {row["Names"][0]: row["Names"] for row in host.json("GET", "/containers/json")}
    assert names == {"/base": ["/base", "/user/db"], "/user": ["/user"]}
    found = host.json("GET", "/containers/user/db/json")
    assert found["Name"] == "/base"
    status, _, data = host.request("GET", "/containers/user/other/json")
    assert status == 404 and b"No such container" in data
    host.docker("rm", "--link", "user/db")
    assert host.request("GET", "/containers/user/db/json")[0] == 404
    host.clean()


def test_a_link_in_a_network_of_ones_own_is_a_name_for_this_container_alone(host: Host) -> None:
    host.docker("network", "create", "own")
    host.docker("run", "-d", "--network", "own", "--name", "base", "bb", "sleep", "100")
    linked = host.docker("run", "--rm", "--network", "own", "--link", "base:bar", "bb", "nslookup", "bar.")
    address = host.docker("inspect", "-f", "{{.NetworkSettings.Networks.own.IPAddress}}", "base")
    assert address in linked
    assert host.run("run", "--rm", "--network", "own", "bb", "nslookup", "bar.").returncode != 0
    host.clean()
    host.docker("network", "rm", "own")


def test_a_builds_step_on_a_network_finds_its_containers_by_alias(host: Host, tmp_path: Path) -> None:
    host.docker("network", "create", "own")
    host.docker("run", "-d", "--network", "own", "--network-alias", "neighbour", "bb", "sleep", "100")
    (tmp_path / "Dockerfile").write_text("FROM bb\nRUN ping -c 1 neighbour\nRUN nslookup neighbour.\n")
    environment = {**host.environment, "DOCKER_BUILDKIT": "0"}
    assert host.process is not None
    descriptors = []
    for _ in range(4):
        host.docker("build", "--no-cache", "--network", "own", str(tmp_path), env=environment)
        descriptors.append(len(os.listdir(f"/proc/{host.process.pid}/fd")))
    assert descriptors[-1] <= descriptors[0] + 4  # a resolver a step would be thirty
    host.clean()
    host.docker("network", "rm", "own")


def test_tmpfs_is_in_the_mounts_only_where_it_was_given_as_a_mount(host: Host) -> None:
    host.docker("create", "--name", "mounted", "--tmpfs", "/short/", "--mount", "type=tmpfs,dst=/long", "bb")
    found = host.json("GET", "/containers/mounted/json")
    assert [(mount["Type"], mount["Destination"]) for mount in found["Mounts"]] == [("tmpfs", "/long")]
    assert list(found["HostConfig"]["Tmpfs"]) == ["/short/"]
    host.clean()


def test_mounts_are_shown_by_the_flag_that_they_were_given_with(host: Host) -> None:
    short = ("-v", "named:/a", "-v", "/tmp:/b:ro", "--tmpfs", "/c")
    long = ("--mount", "type=bind,src=/tmp,dst=/d,readonly", "--mount", "type=volume,src=named,dst=/e,volume-nocopy")
    host.docker("create", "--name", "mounted", *short, *long, "bb")
    found = host.json("GET", "/containers/mounted/json")["HostConfig"]
    # Docker's own client says ":rw" of neither, and sends them in an order of its own.
    assert sorted(found["Binds"]) == ["/tmp:/b:ro", "named:/a"]
    assert [(each["Type"], each["Source"], each["Target"]) for each in found["Mounts"]] == [
        ("bind", "/tmp", "/d"),
        ("volume", "named", "/e"),
    ]
    assert found["Mounts"][0]["ReadOnly"] and found["Mounts"][1]["VolumeOptions"]["NoCopy"]
    host.clean()


def test_the_volume_driver_is_shown_as_it_was_given(host: Host) -> None:
    body = {"Image": "bb", "HostConfig": {"VolumeDriver": "local"}}
    host.json("POST", "/containers/create?name=driven", body)
    assert host.json("GET", "/containers/driven/json")["HostConfig"]["VolumeDriver"] == "local"
    host.clean()


def test_no_image_can_be_called_like_a_digest(host: Host, tmp_path: Path) -> None:
    words = "refusing to create an ambiguous tag using digest algorithm as name"
    (tmp_path / "Dockerfile").write_text("FROM bb\n")
    for line in (("tag", "bb", "sha256:x"), ("build", "-t", "sha256:x", str(tmp_path))):
        done = host.run(*line, env={**host.environment, "DOCKER_BUILDKIT": "0"})
        assert done.returncode != 0 and words in done.stderr, done.stderr
    host.docker("create", "--name", "committed", "bb")
    assert words in host.run("commit", "committed", "sha256:x").stderr
    host.clean()
