"""Docker's documents as our records, without a server."""

from __future__ import annotations

import stat
from typing import Any

import pytest

from inception.api.archive import go_mode
from inception.api.auth import credentials_of
from inception.api.build import _command_text
from inception.api.call import encode_json, parse_json
from inception.api.convert import container_config, resource_config, update_config
from inception.api.errors import NotSupported, message_of, status_of
from inception.api.fields import Fields
from inception.api.hijack import frame
from inception.api.images import tagged
from inception.api.mounts import parse_bind, parse_tmpfs
from inception.api.networks import network_config
from inception.api.router import Router, split_version
from inception.api.server import _host_name
from inception.client.bodies import resources_body
from inception.engine.config import ContainerConfig, EndpointConfig, MountConfig, PortBinding
from inception.engine.records import command_text
from inception.errors import Conflict, InvalidArgument, NotFound, NotModified, StartFailed, Unavailable


def config(**body: Any) -> ContainerConfig:
    return container_config(Fields({"Image": "bb", **body}))


def test_an_empty_body_is_docker_defaults() -> None:
    assert config() == ContainerConfig(image="bb")


def test_a_command_may_be_one_string_and_an_empty_entrypoint_resets_the_images() -> None:
    assert config(Cmd="ls").command == ["ls"]
    assert config(Entrypoint=None).entrypoint is None
    assert config(Entrypoint=[]).entrypoint == []
    assert config(Entrypoint="").entrypoint == config(Entrypoint=[""]).entrypoint == [""]


def test_ports() -> None:
    bindings = {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}, {"HostPort": "9000-9010"}], "53/udp": [{}], "1": None}
    assert config(HostConfig={"PortBindings": bindings}).ports == [
        PortBinding(container_port=80, host_ip="127.0.0.1", host_port=8080),
        PortBinding(container_port=80, host_port=9000, host_port_end=9010),
        PortBinding(container_port=53, protocol="udp"),
    ]
    with pytest.raises(InvalidArgument, match="invalid port specification"):
        config(HostConfig={"PortBindings": {"80/tcp": [{"HostPort": "x"}]}})


def test_endpoints_without_a_mode_are_all_the_networks() -> None:
    found = config(NetworkingConfig={"EndpointsConfig": {"back": {"Aliases": ["a"]}}})
    assert (found.network_mode, found.networks) == ("back", {"back": EndpointConfig(aliases=["a"])})
    found = config(HostConfig={"NetworkMode": "default"}, NetworkingConfig={"EndpointsConfig": {"default": {}}})
    assert (found.network_mode, found.networks) == ("bridge", {"bridge": EndpointConfig()})
    assert config(NetworkDisabled=True).network_mode == "none"
    assert config(HostConfig={"Links": ["a:b"]}).links == ["a:b"]
    found = config(HostConfig={"NetworkMode": "back", "Links": ["a:b"]})
    assert (found.links, found.networks) == ([], {"back": EndpointConfig(links=["a:b"])})


@pytest.mark.parametrize(
    "body, named",
    [
        ({"HostConfig": {"DeviceRequests": [{"Capabilities": ["gpu"]}]}}, "HostConfig.DeviceRequests"),
        ({"HostConfig": {"Isolation": "hyperv"}}, "isolation"),
        ({"HostConfig": {"Mounts": [{"Type": "cluster", "Target": "/x"}]}}, "cluster"),
        ({"HostConfig": {"Memory": "1g"}}, "HostConfig.Memory: expected a number"),
        ({"Env": [1]}, "Env: expected an array of strings"),
        ({"Labels": {"a": 1}}, "Labels.a: expected a string"),
        ({"HostConfig": 1}, "HostConfig: expected an object"),
        ({"NetworkingConfig": {"EndpointsConfig": {"n": {"DriverOpts": {"com.docker.network.a": "b"}}}}}, "DriverOpts"),
    ],
)
def test_what_is_not_supported_or_wrong_is_refused_by_name(body: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidArgument, match=named):
        config(**body)


def test_binds() -> None:
    assert parse_bind("/a:/b:ro,rslave") == MountConfig(
        type="bind", source="/a", target="/b", create_host_path=True, read_only=True, propagation="rslave", short=True
    )
    assert parse_bind("data:/b:nocopy,z") == MountConfig(type="volume", source="data", target="/b", no_copy=True, short=True)
    assert parse_bind("/b") == MountConfig(type="volume", target="/b", short=True)
    for text in ("a:b", "/a:/b:nope", "/a::/b", "a b:/c", "/a:/b:c:d", "./a:/b"):
        with pytest.raises(InvalidArgument):
            parse_bind(text)


def test_tmpfs_and_volumes() -> None:
    assert parse_tmpfs("/t", "size=64m,mode=700,noexec,ro") == MountConfig(
        type="tmpfs", target="/t", tmpfs_options=["size=64m", "mode=700", "noexec"], read_only=True, short=True
    )
    found = config(Volumes={"/a": {}, "/b": {}}, HostConfig={"Binds": ["vol:/a"]}).mounts
    assert [(mount.source, mount.target) for mount in found] == [("vol", "/a"), ("", "/b")]


def test_updates_leave_out_what_is_zero() -> None:
    found = update_config(Fields({"Memory": 5 << 20, "CpuShares": 0, "RestartPolicy": {"Name": ""}}))
    assert (found.memory_bytes, found.cpu_shares, found.restart) == (5 << 20, None, None)


def test_networks() -> None:
    body = {
        "Name": "n",
        "IPAM": {"Driver": "default", "Config": [{"Subnet": "10.1.0.0/16", "Gateway": "10.1.0.9"}]},
        "Options": {"com.docker.network.driver.mtu": "1400", "com.docker.network.bridge.enable_icc": "false"},
    }
    found = network_config(Fields(body))
    assert (found.subnet, found.gateway, found.mtu, found.inter_container) == ("10.1.0.0/16", "10.1.0.9", 1400, False)
    pools = [{"Subnet": "10.1.0.0/16"}, {"Subnet": "fd00:1::/64", "Gateway": "fd00:1::9"}]
    found = network_config(Fields({"Name": "n", "EnableIPv4": False, "EnableIPv6": True, "IPAM": {"Config": pools}}))
    assert (found.ipv4, found.ipv6, found.subnet6, found.gateway6) == (False, True, "fd00:1::/64", "fd00:1::9")
    assert network_config(Fields({"Name": "n", "Options": {"com.docker.network.enable_ipv6": "true"}})).ipv6
    only = {"Config": [{"Subnet": "fd00:1::/64"}]}
    assert network_config(Fields({"Name": "n", "IPAM": only})).ipv6
    assert network_config(Fields({"Name": "n", "IPAM": only, "EnableIPv6": False})).subnet6 == ""
    for wrong in ({"EnableIPv6": 1}, {"Options": {"nope": "1"}}, {"Scope": "swarm"}, {"IPAM": {"Driver": "x"}}):
        with pytest.raises(InvalidArgument):
            network_config(Fields({"Name": "n", **wrong}))


def test_errors_have_docker_statuses() -> None:
    table = [
        (InvalidArgument("x"), 400),
        (NotFound("x"), 404),
        (Conflict("x"), 409),
        (NotModified("x"), 304),
        (Unavailable("x"), 500),
        (NotSupported("x"), 501),
        (StartFailed("x", exit_code=127), 400),
        (StartFailed("x"), 500),
    ]
    assert [status_of(error) for error, _ in table] == [status for _, status in table]
    assert message_of(NotFound("what", "why")) == "what (why)"


def test_versions_and_routes() -> None:
    assert split_version("/v1.30/info") == ((1, 30), "/info")
    assert split_version("/info") == ((1, 51), "/info")
    router = Router()
    _, version, arguments = router.find("GET", "/v1.40/images/host:5000/a/b:tag/json")
    assert (version, arguments) == ((1, 40), {"name": "host:5000/a/b:tag"})
    for method, path in (("PUT", "/info"), ("GET", "/"), ("GET", ""), ("GET", "info")):
        with pytest.raises(NotFound):
            router.find(method, path)


def test_every_path_of_the_api_has_a_handler() -> None:
    router = Router()
    wanted = """GET /_ping|HEAD /_ping|GET /version|GET /info|GET /events|GET /system/df|POST /auth|GET /distribution/x/json
        POST /session|POST /build|POST /build/prune|POST /commit|GET /containers/json|POST /containers/create
        GET /containers/x/json|GET /containers/x/top|GET /containers/x/logs|GET /containers/x/changes|GET /containers/x/export
        GET /containers/x/stats|POST /containers/x/resize|POST /containers/x/start|POST /containers/x/stop
        POST /containers/x/restart|POST /containers/x/kill|POST /containers/x/update|POST /containers/x/rename
        POST /containers/x/pause|POST /containers/x/unpause|POST /containers/x/attach|GET /containers/x/attach/ws
        POST /containers/x/wait|DELETE /containers/x|HEAD /containers/x/archive|GET /containers/x/archive
        PUT /containers/x/archive|POST /containers/prune|POST /containers/x/exec|POST /exec/x/start|POST /exec/x/resize
        GET /exec/x/json|GET /images/json|POST /images/create|GET /images/x/json|GET /images/x/history|POST /images/x/push
        POST /images/x/tag|DELETE /images/x|GET /images/search|POST /images/prune|GET /images/x/get|GET /images/get
        POST /images/load|GET /volumes|POST /volumes/create|GET /volumes/x|PUT /volumes/x|DELETE /volumes/x
        POST /volumes/prune|GET /networks|GET /networks/x|DELETE /networks/x|POST /networks/create|POST /networks/x/connect
        POST /networks/x/disconnect|POST /networks/prune|GET /plugins|GET /plugins/privileges|POST /plugins/pull
        GET /plugins/x/json|DELETE /plugins/x|POST /plugins/x/enable|POST /plugins/create|GET /nodes|GET /nodes/x
        DELETE /nodes/x|POST /nodes/x/update|GET /swarm|POST /swarm/init|POST /swarm/join|POST /swarm/leave
        POST /swarm/update|GET /swarm/unlockkey|POST /swarm/unlock|GET /services|POST /services/create|GET /services/x
        DELETE /services/x|POST /services/x/update|GET /services/x/logs|GET /tasks|GET /tasks/x|GET /tasks/x/logs
        GET /secrets|POST /secrets/create|GET /secrets/x|DELETE /secrets/x|POST /secrets/x/update|GET /configs
        POST /configs/create|GET /configs/x|DELETE /configs/x|POST /configs/x/update"""
    for line in wanted.replace("\n", "|").split("|"):
        method, path = line.split()
        router.find(method, path)


def test_credentials_of_a_request() -> None:
    assert not credentials_of("") and not credentials_of("e30=") and not credentials_of("e30")
    found = credentials_of("eyJ1c2VybmFtZSI6Im1lIiwicGFzc3dvcmQiOiJ4In0=")
    assert (found.username, found.password) == ("me", "x") and "'x'" not in repr(found)
    assert not credentials_of("!!!!") and not credentials_of("placeholder")  # as clients send it who have none


def test_half_a_character_never_gets_in() -> None:
    assert parse_json(r'{"a": "\ud800x", "b": "\ud83d\ude00"}', "x") == {"a": "\ufffdx", "b": "😀"}
    assert parse_json(rb'["\udfff"]', "x") == ["\ufffd"]
    assert encode_json("\udc80") == b'"?"\n'


def test_small_forms() -> None:
    assert frame("stderr", b"abc") == b"\x02\0\0\0\0\0\0\x03abc"
    assert command_text(["sh", "-c", "echo a"]) == "sh -c 'echo a'" and command_text([]) == ""
    assert _command_text('RUN ["a", "b"]') == "a b" and _command_text("RUN exit 3") == "/bin/sh -c exit 3"
    assert go_mode(stat.S_IFDIR | 0o1777) == 1 << 31 | 1 << 20 | 0o777
    assert go_mode(stat.S_IFREG | stat.S_ISUID | 0o755) == 1 << 23 | 0o755
    assert _host_name("[::1]:80") == "::1" and _host_name("Localhost:80") == "localhost" and _host_name("docker") == "docker"


def test_devices_of_cdi_are_asked_for_by_their_names() -> None:
    asked = [{"Driver": "cdi", "DeviceIDs": ["v.com/c=a", "v.com/c=b"]}, {"Driver": "cdi", "DeviceIDs": ["w.com/c=d"]}]
    found = resource_config(Fields({"DeviceRequests": asked}))
    assert found.cdi_devices == ["v.com/c=a", "v.com/c=b", "w.com/c=d"]
    (sent,) = resources_body(found)["DeviceRequests"]
    assert (sent["Driver"], sent["DeviceIDs"]) == ("cdi", found.cdi_devices)
    gpus = {"Driver": "", "Count": -1, "DeviceIDs": None, "Capabilities": [["gpu"]], "Options": None}
    found = resource_config(Fields({"DeviceRequests": [gpus, asked[1]]}))
    assert [each.count for each in found.device_requests] == [-1] and found.cdi_devices == ["w.com/c=d"]
    assert resources_body(found)["DeviceRequests"][0] == gpus


def test_mounts_of_the_api_come_back_as_they_were_asked_for() -> None:
    from inception.api.mounts import mounts_of
    from inception.engine.mounts import mount_body

    asked = [
        {"Type": "image", "Source": "x", "Target": "/x", "ReadOnly": False, "ImageOptions": {"Subpath": "bin"}},
        {"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": False, "BindOptions": {"NonRecursive": True}},
        {"Type": "bind", "Source": "/a", "Target": "/c", "ReadOnly": True, "BindOptions": {"ReadOnlyForceRecursive": True}},
        {"Type": "bind", "Source": "/a", "Target": "/d", "ReadOnly": True, "BindOptions": {"ReadOnlyNonRecursive": True}},
    ]
    found = mounts_of(Fields({}), Fields({"Mounts": asked}))
    assert [mount_body(mount) for mount in found] == asked


def test_a_tag_beside_a_name_wins_over_the_one_in_it() -> None:
    assert tagged("here:5000/app", "1") == "here:5000/app:1"
    assert tagged("here:5000/app:latest", "1") == "here:5000/app:1"
    assert tagged("app", "sha256:00") == "app@sha256:00"
    assert tagged("app:2", "") == "app:2" and tagged("", "1") == ""
