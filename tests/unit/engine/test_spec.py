"""Configurations completed, checked and turned into runtime specs: values in, values out."""

from __future__ import annotations

import pytest

from inception.engine.config import (
    ContainerConfig,
    DeviceConfig,
    EndpointConfig,
    MountConfig,
    PortBinding,
    ResourceConfig,
    RestartPolicy,
    Ulimit,
)
from inception.engine.merge import arguments, merge, merge_env
from inception.engine.records import MountPoint
from inception.engine.spec import Surroundings, build_spec, plan_capabilities, plan_mount
from inception.engine.validate import check_config, log_limits, parse_signal
from inception.errors import InceptionError, InvalidArgument
from inception.linux.capabilities import NAMES
from inception.linux.cgroup import Cgroups
from inception.oci.image import Healthcheck, ImageConfig
from inception.oci.runtime import Device, Mount, Spec
from inception.record import encode

HELD = list(NAMES)
V2 = Cgroups({}, "/sys/fs/cgroup", ["memory", "cpu", "pids"])


def spec(around: dict[str, object] | None = None, **fields: object) -> Spec:
    config = ContainerConfig(image="busybox", **{"command": ["true"], **fields})
    surroundings = Surroundings(**{"hostname": "web", "held": HELD, "cgroup_path": "/inception/1", **(around or {})})
    return build_spec(config, surroundings, V2)


def merged(image: ImageConfig, **fields: object) -> ContainerConfig:
    return merge(ContainerConfig(image="i", **fields), image)


@pytest.mark.parametrize(
    ("entrypoint", "command", "wanted"),
    [
        (None, None, ["entry", "cmd"]),
        (None, ["mine"], ["entry", "mine"]),
        (["own"], None, ["own"]),
        (["own"], ["mine"], ["own", "mine"]),
        ([], None, ["cmd"]),
        ([""], ["mine"], ["mine"]),
    ],
)
def test_command_and_entrypoint_follow_docker_s_table(
    entrypoint: list[str] | None, command: list[str] | None, wanted: list[str]
) -> None:
    image = ImageConfig(entrypoint=["entry"], cmd=["cmd"])
    assert arguments(merged(image, entrypoint=entrypoint, command=command)) == wanted


def test_no_command_at_all_is_an_error() -> None:
    with pytest.raises(InvalidArgument, match="no command specified"):
        merged(ImageConfig())
    with pytest.raises(InvalidArgument, match="no command specified"):
        merged(ImageConfig(cmd=["cmd"]), entrypoint=[""])


def test_an_image_s_settings_fill_what_is_left_open() -> None:
    image = ImageConfig(
        cmd=["cmd"],
        env=["A=1", "B=2"],
        user="app",
        working_dir="/srv",
        labels={"a": "image", "b": "image", "inception.secret": "no"},
        exposed_ports={"80/tcp": {}},
        volumes={"/data": {}, "/taken/": {}},
        stop_signal="QUIT",
        healthcheck=Healthcheck(test=["CMD", "true"], retries=7, interval=10**9),
    )
    config = merged(
        image,
        env=["B=3", "A"],
        labels={"a": "own"},
        mounts=[MountConfig(type="tmpfs", target="/taken")],
        ports=[PortBinding(container_port=53, protocol="udp")],
        healthcheck=Healthcheck(interval=2 * 10**9),
    )
    assert config.env == ["B=3", "A"]
    assert (config.user, config.working_dir, config.stop_signal) == ("app", "/srv", "QUIT")
    assert config.labels == {"a": "own", "b": "image"}
    assert config.exposed_ports == ["80/tcp", "53/udp"]
    assert [(mount.type, mount.target) for mount in config.mounts] == [("tmpfs", "/taken"), ("volume", "/data")]
    assert config.healthcheck == Healthcheck(test=["CMD", "true"], retries=7, interval=2 * 10**9)


@pytest.mark.parametrize("path", ["/proc", "/proc/x", "/sys", "/dev/shm", "relative", "/", "/a/../proc", "/x\0y"])
def test_an_image_can_t_put_a_volume_over_the_kernel_s_places(path: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid volume path"):
        merged(ImageConfig(cmd=["x"], volumes={path: {}}))


def test_environments_merge_by_name_in_the_order_of_their_first() -> None:
    assert merge_env(["A=1", "B=2"], ["C=3", "A=x=y", "B"]) == ["A=x=y", "C=3"]


def test_the_environment_is_docker_s() -> None:
    process = spec(env=["A=1"], tty=True, around={"home": "/home/app"}).process
    assert process is not None
    assert process.env == [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOSTNAME=web",
        "TERM=xterm",
        "A=1",
        "HOME=/home/app",
    ]


def test_fourteen_capabilities_by_default_and_none_inheritable() -> None:
    process = spec().process
    assert process is not None and process.capabilities is not None
    assert len(process.capabilities.effective) == 14
    assert process.capabilities.inheritable == process.capabilities.ambient == []


@pytest.mark.parametrize(
    ("add", "drop", "wanted"),
    [
        (["ALL"], [], HELD),
        (["ALL"], ["CAP_SYS_ADMIN"], [name for name in HELD if name != "CAP_SYS_ADMIN"]),
        (["net_admin"], ["ALL"], ["CAP_NET_ADMIN"]),
        ([], ["ALL"], []),
    ],
)
def test_capabilities_are_added_and_dropped(add: list[str], drop: list[str], wanted: list[str]) -> None:
    assert plan_capabilities(ContainerConfig(image="i", cap_add=add, cap_drop=drop), HELD) == wanted


def test_a_capability_that_we_lack_ourselves_is_refused_by_name() -> None:
    with pytest.raises(InvalidArgument, match="cannot add capability CAP_SYS_RESOURCE"):
        plan_capabilities(ContainerConfig(image="i", cap_add=["SYS_RESOURCE"]), ["CAP_CHOWN"])


def test_privileged_has_everything_and_hides_nothing() -> None:
    linux = spec(privileged=True).linux
    assert linux is not None and linux.resources is not None
    assert linux.masked_paths == linux.readonly_paths == []
    assert encode(linux.resources.devices) == [{"allow": True}]
    sys_mount = next(mount for mount in spec(privileged=True).mounts if mount.destination == "/sys")
    assert "ro" not in sys_mount.options


def test_namespaces_are_new_joined_or_the_host_s() -> None:
    linux = spec({"joined": {"network": "fd:netns", "pid": "fd:joined-pid"}, "shared": ["uts", "ipc"]}).linux
    assert linux is not None
    assert [(namespace.type, namespace.path) for namespace in linux.namespaces] == [
        ("mount", ""),
        ("pid", "fd:joined-pid"),
        ("network", "fd:netns"),
        ("cgroup", ""),
    ]


def test_what_the_container_mounts_replaces_the_default_and_inner_places_come_later() -> None:
    mounts = [
        Mount(destination="/a/b", type="bind", source="/x"),
        Mount(destination="/dev/shm", type="bind", source="/y"),
        Mount(destination="/a", type="bind", source="/z"),
    ]
    places = [mount.destination for mount in spec({"mounts": mounts, "files": {"/etc/hosts": "/h"}}).mounts]
    assert places.count("/dev/shm") == 1
    assert places[-4:] == ["/a", "/a/b", "/dev/shm", "/etc/hosts"]


@pytest.mark.parametrize(
    ("point", "source", "options"),
    [
        (MountPoint(type="bind", destination="/d"), "/s", ["rbind", "rprivate", "rw"]),
        (MountPoint(type="bind", destination="/d", read_only=True), "/s", ["rbind", "rprivate", "rro"]),
        (MountPoint(type="bind", destination="/d", propagation="rslave"), "/s", ["rbind", "rslave", "rw"]),
        (MountPoint(type="tmpfs", destination="/d", tmpfs_options=["nodev"], read_only=True), "", ["nodev", "ro"]),
    ],
)
def test_a_mount_point_becomes_an_oci_mount(point: MountPoint, source: str, options: list[str]) -> None:
    assert plan_mount(point, source).options == options


def test_limits_are_said_only_where_there_are_some() -> None:
    linux = spec().linux
    assert linux is not None and linux.resources is not None
    assert (linux.resources.memory, linux.resources.cpu, linux.resources.pids) == (None, None, None)
    limits = ResourceConfig(memory_bytes=64 << 20, nano_cpus=1_500_000_000, pids_limit=9, cpuset_cpus="0")
    linux = spec(resources=limits).linux
    assert linux is not None
    resources = encode(linux.resources)
    assert resources["memory"] == {"limit": 64 << 20, "swap": 128 << 20}
    assert resources["cpu"] == {"quota": 150_000, "period": 100_000, "cpus": "0"}
    assert resources["pids"] == {"limit": 9}


def test_a_device_is_made_and_allowed_with_its_permissions() -> None:
    asked = ResourceConfig(devices=[DeviceConfig(host_path="/dev/fuse", container_path="/dev/fuse", permissions="rw")])
    linux = spec({"devices": [Device(type="c", path="/dev/fuse", major=10, minor=229)]}, resources=asked).linux
    assert linux is not None and linux.resources is not None
    assert encode(linux.resources.devices[-1]) == {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"working_dir": "srv"}, "the working directory 'srv' is invalid, it needs to be an absolute path"),
        ({"env": ["=x"]}, "invalid environment variable: =x"),
        ({"restart": RestartPolicy(name="sometimes")}, "unknown policy 'sometimes'"),
        (
            {"restart": RestartPolicy(name="always"), "auto_remove": True},
            "can't create 'AutoRemove' container with restart policy",
        ),
        ({"resources": ResourceConfig(memory_bytes=1)}, "Minimum memory limit allowed is 6MB"),
        ({"resources": ResourceConfig(nano_cpus=10**15)}, "Range of CPUs is from 0.01 to"),
        ({"resources": ResourceConfig(ulimits=[Ulimit(name="nofile", soft=9, hard=1)])}, "ulimit soft limit must be less"),
        ({"network_mode": "container:x", "ports": [PortBinding(container_port=1)]}, "conflicting options: port publishing"),
        ({"network_mode": "container:x", "hostname": "h"}, "conflicting options: hostname and the network mode"),
        ({"uts_mode": "host", "hostname": "h"}, "conflicting options: hostname and the UTS mode"),
        ({"pid_mode": "container:"}, "invalid PID mode: container:"),
        ({"ipc_mode": "x"}, "invalid IPC mode: x"),
        ({"cap_add": ["FOO"]}, 'invalid CapAdd: unknown capability: "CAP_FOO"'),
        ({"cap_drop": ["CAP_FOO"]}, 'invalid CapDrop: unknown capability: "CAP_FOO"'),
        ({"networks": {"net": EndpointConfig(mac_address="foo")}}, "foo is not a valid mac address"),
        ({"resources": ResourceConfig(cpuset_cpus="a")}, "Invalid value a for cpuset cpus: invalid format: a"),
        (
            {"resources": ResourceConfig(cpuset_cpus="0,4000")},
            "Requested CPUs are not available - requested 0,4000, available: ",
        ),
        ({"userns_mode": "keep-id"}, "invalid USER mode: keep-id"),
        ({"security_opt": ["label=type:x"]}, "SELinux labels are not supported"),
        ({"security_opt": ["nonsense=1"]}, "invalid --security-opt"),
        ({"stop_signal": "SIGNOPE"}, "Invalid signal: SIGNOPE"),
        ({"log": {"driver": "syslog"}}, "no log driver named 'syslog' is registered"),
        ({"platform": "linux/s390x"}, "does not match this machine"),
        ({"mounts": [MountConfig(type="bind", source="/x", target="y")]}, "mount path must be absolute"),
        ({"mounts": [MountConfig(type="bind", source="/x", target="/")]}, "destination can't be '/'"),
        (
            {"mounts": [MountConfig(type="tmpfs", target="/x"), MountConfig(type="tmpfs", target="/x/")]},
            "Duplicate mount point",
        ),
        ({"healthcheck": Healthcheck(test=["RUN", "x"])}, "unknown type 'RUN'"),
        ({"extra_hosts": ["name"]}, 'bad format for add-host: "name"'),
        ({"command": ["a\0b"]}, "holds a zero byte"),
    ],
)
def test_what_makes_no_sense_is_refused_in_docker_s_words(fields: dict[str, object], words: str) -> None:
    from inception.engine.config import LogConfig

    if isinstance(fields.get("log"), dict):
        fields = {**fields, "log": LogConfig(driver="syslog")}
    with pytest.raises(InvalidArgument) as caught:
        check_config(ContainerConfig(image="i", **fields))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"sysctls": {"kernel.panic": "1"}}, "sysctl 'kernel.panic' is not allowed"),
        ({"resources": ResourceConfig(ulimits=[Ulimit(name="magic", soft=1, hard=1)])}, "invalid ulimit type: magic"),
        ({"resources": ResourceConfig(device_cgroup_rules=["x 1:2 rwm"])}, "invalid device cgroup rule format"),
    ],
)
def test_what_only_shows_in_the_spec_is_refused_there(fields: dict[str, object], words: str) -> None:
    with pytest.raises(InceptionError, match=words):
        spec(**fields)


@pytest.mark.parametrize(("text", "number"), [("TERM", 15), ("SIGKILL", 9), ("9", 9), ("sighup", 1), ("RTMIN+3", 37)])
def test_signals_have_names_and_numbers(text: str, number: int) -> None:
    assert parse_signal(text) == number


def test_logs_are_bounded_unless_told_otherwise() -> None:
    from inception.engine.config import LogConfig

    assert log_limits(ContainerConfig(image="i")) == (20_000_000, 5)
    options = {"max-size": "10m", "max-file": "3"}
    assert log_limits(ContainerConfig(image="i", log=LogConfig(options=options))) == (10_000_000, 3)
