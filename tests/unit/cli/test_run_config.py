"""What `run` makes of its flags."""

from __future__ import annotations

import pytest

from inception.cli.flags import UsageError, parse
from inception.cli.run import RUN
from inception.cli.run_config import config_of
from inception.engine.config import ContainerConfig, EndpointConfig, MountConfig, PortBinding, RestartPolicy, Ulimit
from inception.engine.limits import DEVICE_LIMITS
from inception.oci.image import Healthcheck
from inception.record import encode


def config(*argv: str) -> ContainerConfig:
    flags, arguments = parse(RUN, "inception run", [*argv, "busybox", "sh"])
    return config_of(flags, arguments[0], arguments[1:], "page")


def complaint(*argv: str) -> str:
    with pytest.raises(UsageError) as caught:
        config(*argv)
    assert caught.value.exit_code == 125
    return str(caught.value)


ALL_FLAGS = """
    --name web -it -e A=1 -u 7:8 -w /x --entrypoint /e -h host --domainname d --network net --network-alias n1 --ip 10.0.0.9
    --mac-address 92:d0:c6:0a:29:33 --restart on-failure:3 -m 512m --memory-swap -1 --memory-reservation 64m --cpus 1.5
    --pids-limit 50 --cap-add NET_ADMIN --cap-drop ALL --security-opt no-new-privileges --read-only --init --label a=b
    --ulimit nofile=10:20 --stop-signal INT --stop-timeout 3 --add-host db:10.0.0.2 --device /dev/null:/dev/x:rw
    --privileged --pid host --ipc none --uts host --cgroupns host --userns host --shm-size 1m --sysctl net.a=1 --group-add 9
    --dns 1.1.1.1 --dns-search x --dns-option ndots:1 --expose 80-81 --log-driver none --platform linux/amd64 -P
    --volumes-from other --oom-score-adj 5 --blkio-weight 300 --cpu-shares 2 --cpuset-cpus 0
"""


def test_no_flags_are_dockers_defaults():
    assert config() == ContainerConfig(image="busybox", command=["sh"], attached=["stdout", "stderr"])


def test_every_flag_lands_in_its_field(tmp_path):
    labels = tmp_path / "labels"
    labels.write_text("from=file\nbare\n")
    found = config(*ALL_FLAGS.split(), "--device-cgroup-rule", "c 1:* rwm", "--label-file", str(labels))
    assert encode(found) == {
        "image": "busybox",
        "name": "web",
        "command": ["sh"],
        "entrypoint": ["/e"],
        "env": ["A=1"],
        "user": "7:8",
        "working_dir": "/x",
        "hostname": "host",
        "domainname": "d",
        "labels": {"from": "file", "bare": "", "a": "b"},
        "tty": True,
        "open_stdin": True,
        "stdin_once": True,
        "attached": ["stdin", "stdout", "stderr"],
        "stop_signal": "INT",
        "stop_timeout_s": 3,
        "volumes_from": ["other"],
        "network_mode": "net",
        "networks": {"net": {"aliases": ["n1"], "ipv4_address": "10.0.0.9", "mac_address": "92:d0:c6:0a:29:33"}},
        "exposed_ports": ["80/tcp", "81/tcp"],
        "publish_all": True,
        "restart": {"name": "on-failure", "maximum_retries": 3},
        "resources": {
            "memory_bytes": 512 << 20,
            "memory_swap_bytes": -1,
            "memory_reservation_bytes": 64 << 20,
            "nano_cpus": 1_500_000_000,
            "cpu_shares": 2,
            "cpuset_cpus": "0",
            "pids_limit": 50,
            "blkio_weight": 300,
            "oom_score_adj": 5,
            "shm_size_bytes": 1 << 20,
            "ulimits": [{"name": "nofile", "soft": 10, "hard": 20}],
            "devices": [{"host_path": "/dev/null", "container_path": "/dev/x", "permissions": "rw"}],
            "device_cgroup_rules": ["c 1:* rwm"],
        },
        "cap_add": ["NET_ADMIN"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "privileged": True,
        "read_only": True,
        "init": True,
        "pid_mode": "host",
        "ipc_mode": "none",
        "uts_mode": "host",
        "cgroupns_mode": "host",
        "userns_mode": "host",
        "extra_hosts": ["db:10.0.0.2"],
        "dns": ["1.1.1.1"],
        "dns_search": ["x"],
        "dns_options": ["ndots:1"],
        "sysctls": {"net.a": "1"},
        "group_add": ["9"],
        "log": {"driver": "none"},
        "platform": "linux/amd64",
    }


def test_the_command_line_wins_over_the_env_file_and_bare_names_come_from_here(tmp_path, monkeypatch):
    file = tmp_path / "env"
    file.write_text("A=file\nB=file\n")
    monkeypatch.setenv("HERE", "yes")
    monkeypatch.delenv("MISSING", raising=False)
    assert config("--env-file", str(file), "-e", "A=flag", "-e", "HERE", "-e", "MISSING").env == [
        "A=file",
        "B=file",
        "A=flag",
        "HERE=yes",
    ]


def test_an_empty_entrypoint_resets_the_images_and_its_command():
    assert config("--entrypoint", "").entrypoint == [""]


@pytest.mark.parametrize(
    ("text", "bindings"),
    [
        ("80", [PortBinding(container_port=80)]),
        ("8080:80", [PortBinding(container_port=80, host_port=8080)]),
        ("127.0.0.1:53:53/udp", [PortBinding(container_port=53, host_port=53, host_ip="127.0.0.1", protocol="udp")]),
        ("81-82:80-81", [PortBinding(container_port=80, host_port=81), PortBinding(container_port=81, host_port=82)]),
    ],
)
def test_published_ports(text, bindings):
    assert config("-p", text).ports == bindings


@pytest.mark.parametrize(
    ("argv", "mode", "networks"),
    [
        (["--network", "host"], "host", {}),
        (["--net", "none"], "none", {}),
        (["--network", "default"], "bridge", {}),
        (["--network", "container:web"], "container:web", {}),
        (["--network", "a", "--network", "name=b,alias=x,alias=y,ip=10.0.0.3"], "a",
         {"a": EndpointConfig(), "b": EndpointConfig(aliases=["x", "y"], ipv4_address="10.0.0.3")}),
    ],
)  # fmt: skip
def test_networks(argv, mode, networks):
    found = config(*argv)
    assert (found.network_mode, found.networks) == (mode, networks)


def test_health_flags_make_a_health_check_and_no_healthcheck_turns_it_off():
    assert config("--health-cmd", "true", "--health-interval", "5s", "--health-retries", "2").healthcheck == Healthcheck(
        test=["CMD-SHELL", "true"], interval=5 * 10**9, retries=2
    )
    assert config("--no-healthcheck").healthcheck == Healthcheck(test=["NONE"])
    assert config().healthcheck is None


def test_unmasked_system_paths_and_seccomp_profiles_from_files(tmp_path):
    profile = tmp_path / "profile.json"
    profile.write_text('{"defaultAction":"SCMP_ACT_ALLOW"}')
    found = config("--security-opt", "systempaths=unconfined", "--security-opt", f"seccomp={profile}")
    assert found.masked_paths == [] and found.readonly_paths == []
    assert found.security_opt == ['seccomp={"defaultAction":"SCMP_ACT_ALLOW"}']


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["-e", "=x"], 'invalid argument "=x" for "-e, --env" flag: invalid environment variable: =x'),
        (["--env-file", "/none"], "open /none: no such file or directory"),
        (["--restart", "on-failure:x"], "invalid restart policy format: maximum retry count must be an integer"),
        (["--ulimit", "nofile"], 'invalid argument "nofile" for "--ulimit" flag: invalid ulimit argument: nofile'),
        (["--ulimit", "x=1"], 'invalid argument "x=1" for "--ulimit" flag: invalid ulimit type: x'),
        (["--ulimit", "core=5:3"], "ulimit soft limit must be less than or equal to hard limit: 5 > 3"),
        (["--add-host", "x"], 'bad format for add-host: "x"'),
        (["--add-host", "x:y"], 'invalid IP address in add-host: "y"'),
        (["--dns", "x"], "IP address is not correctly formatted: x"),
        (["--device", "a:b:c:d"], "invalid device specification: a:b:c:d"),
        (["--device", "/a:/b:q"], "bad mode specified: q"),
        (["--device-cgroup-rule", "x"], "invalid device cgroup format 'x'"),
        (["--no-healthcheck", "--health-cmd", "x"], "--no-healthcheck conflicts with --health-* options"),
        (["--health-retries", "-1"], "--health-retries cannot be negative"),
        (["--memory-swappiness", "101"], "invalid value: 101. Valid memory swappiness range is 0-100"),
        (["-m", "-1"], "invalid size: '-1'"),
        (["--log-driver", "none", "--log-opt", "a=b"], "invalid logging opts for driver none"),
        (["--network", "host", "--network", "a"], "cannot attach both user-defined and non-user-defined network-modes"),
        (["--network", "a", "--network", "a"], "network a is specified multiple times"),
        (["--network", "name=a,foo=b"], "invalid field key foo"),
        (["--network", "name=a,alias=b", "--network-alias", "c"], "cannot specify both --network-alias and per-network alias"),
        (["--security-opt", "x"], 'invalid --security-opt: "x"'),
        (["--security-opt", "seccomp=/none"], "opening seccomp profile (/none) failed: open /none: no such file or directory"),
        (["-l", "=x"], "invalid label '=x': empty name"),
        (["-p", "80:x"], "inception: invalid containerPort: x"),
        (["--expose", "x"], "inception: invalid range format for --expose: x, error: invalid containerPort: x"),
        (["--gpus", "x"], 'invalid argument "x" for "--gpus" flag: invalid count (x): value must be either'),
        (["--gpus", "count=1,device=0"], "cannot set both Count and DeviceIDs on device request"),
        (["--gpus", "count=1,2"], "gpu request key 'count' can be specified only once"),
        (["--gpus", "card=1"], "unexpected key 'card' in 'card=1'"),
        (["-v", "a::b"], "inception: invalid spec: a::b: empty section between colons"),
        (["--mount", "type=bind"], 'invalid argument "type=bind" for "--mount" flag: target is required'),
    ],
)  # fmt: skip
def test_bad_values_are_named_in_dockers_words(argv, message):
    assert message in complaint(*argv)


def test_values_compare():
    assert config("--restart", "always").restart == RestartPolicy(name="always")
    assert config("--ulimit", "core=-1").resources.ulimits == [Ulimit(name="core", soft=-1, hard=-1)]
    assert config("-v", "/d").mounts == [MountConfig(type="volume", target="/d", short=True)]


def test_limits_of_single_devices():
    limits = config(
        *("--blkio-weight-device", "/dev/sda:300", "--device-read-bps", "/dev/sda:1mb", "--device-write-bps", "/dev/sda:512"),
        *("--device-read-iops", "/dev/sda:9", "--device-write-iops", "/dev/sda:8"),
    ).resources
    found = {field: getattr(limits, field) for field, _flag, _document, _value in DEVICE_LIMITS}
    assert {field: [(each.path, each.value) for each in found[field]] for field in found} == {
        "blkio_weight_device": [("/dev/sda", 300)],
        "device_read_bps": [("/dev/sda", 1 << 20)],
        "device_write_bps": [("/dev/sda", 512)],
        "device_read_iops": [("/dev/sda", 9)],
        "device_write_iops": [("/dev/sda", 8)],
    }
    assert "bad format: x" in complaint("--device-read-bps", "x")
    assert "bad format for device path: sda:1" in complaint("--device-read-bps", "sda:1")
    assert "invalid rate for device: /dev/sda:x" in complaint("--device-read-iops", "/dev/sda:x")
    assert "invalid weight for device: /dev/sda:1" in complaint("--blkio-weight-device", "/dev/sda:1")


def test_a_limit_of_the_command_line_survives_the_way_over_the_api():
    from inception.api.convert import resource_config
    from inception.api.fields import Fields
    from inception.client.bodies import resources_body

    limits = config(*ALL_FLAGS.split(), "--device-read-bps", "/dev/sda:1mb", "--blkio-weight-device", "/dev/sda:300").resources
    assert resource_config(Fields(resources_body(limits))) == limits


def test_a_device_by_its_cdi_name_is_no_path() -> None:
    found = config("--device", "vendor.com/class=name", "--device", "/dev/null", "x").resources
    assert found.cdi_devices == ["vendor.com/class=name"]
    assert [each.host_path for each in found.devices] == ["/dev/null"]
