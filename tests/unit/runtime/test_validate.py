"""What is refused at the door, by its place in config.json."""

from __future__ import annotations

import pytest

from inception.errors import InvalidArgument
from inception.oci.runtime import Spec
from inception.record import decode
from inception.runtime.cgroups import cgroup_path
from inception.runtime.process import number_set
from inception.runtime.validate import check_spec, grantable

GOOD = {
    "ociVersion": "1.3.0",
    "process": {"cwd": "/", "args": ["true"]},
    "root": {"path": "rootfs"},
    "linux": {"namespaces": [{"type": "mount"}, {"type": "network"}]},
}
IDMAP = [{"containerID": 0, "hostID": 1, "size": 1}]


def check(changes: dict[str, object]) -> None:
    spec = {**GOOD}
    for key, value in changes.items():
        old = GOOD.get(key)
        spec[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value  # type: ignore[dict-item]
    check_spec(decode(Spec, spec))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ociVersion": "2.0.0"}, "ociVersion: '2.0.0' is not a 1.x version"),
        ({"ociVersion": "1"}, "ociVersion: '1' is not a version like 1.3.0"),
        ({"process": {"user": {"uid": -1}}}, "process.user.uid: -1 is out of range"),
        ({"process": {"user": {"additionalGids": [1, 1 << 32]}}}, "process.user.additionalGids[1]: 4294967296 is out of range"),
        ({"process": {"user": {"umask": 0o1000}}}, "process.user.umask: 512 is out of range"),
        ({"process": {"cwd": "/a\0"}}, "process.cwd[0]: holds a NUL byte"),
        ({"process": {"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}}}, "process.ioPriority.priority: 8"),
        ({"hostname": "x"}, "hostname: needs a uts namespace of its own"),
        ({"linux": {"intelRdt": {"closID": "x"}}}, "linux.intelRdt: this machine has no resctrl"),
        (
            {"linux": {"netDevices": {"eth0": {}}, "namespaces": [{"type": "mount"}]}},
            "linux.netDevices: unable to move network devices without a NET namespace",
        ),
        ({"linux": {"uidMappings": IDMAP}}, "linux.uidMappings: needs a user namespace"),
        ({"linux": {"namespaces": [{"type": "mount"}, {"type": "user"}]}}, "linux.uidMappings: missing"),
        ({"linux": {"timeOffsets": {"boottime": {"secs": 1}}}}, "linux.timeOffsets: needs a new time namespace"),
        ({"linux": {"sysctl": {"vm.swappiness": "1"}}}, "linux.sysctl.vm.swappiness: is not in a separate kernel namespace"),
        ({"linux": {"sysctl": {"net/../x": "1"}}}, "linux.sysctl.net/../x: is not a name of a setting"),
        ({"linux": {"sysctl": {"kernel.msgmax": "1"}}}, "linux.sysctl.kernel.msgmax: is not allowed in the host's ipc"),
        (
            {"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}}},
            "linux.seccomp.listenerMetadata",
        ),
        ({"mounts": [{"destination": "/x", "options": ["bind"], "uidMappings": IDMAP}]}, "mounts[0].gidMappings: missing"),
        ({"mounts": [{"destination": "/x", "options": ["bind", "idmap"]}]}, "mounts[0].options: idmap needs"),
        ({"mounts": [{"destination": "/x", "type": "tmpfs", "options": ["idmap"]}]}, "mounts[0].options: only a bind mount"),
        ({"hooks": {"poststop": [{"path": "x"}]}}, "hooks.poststop[0].path: 'x' is not an absolute path"),
        ({"hooks": {"prestart": [{"path": "/x", "timeout": 0}]}}, "hooks.prestart[0].timeout: must be greater than zero"),
        ({"hooks": {"createContainer": [{"path": "/x", "env": ["A"]}]}}, "hooks.createContainer[0].env: 'A' is not NAME=VALUE"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_place(changes: dict[str, object], message: str):
    with pytest.raises(InvalidArgument) as error:
        check(changes)
    assert str(error.value).startswith(message)


def test_a_good_spec_passes():
    check({})


def test_capabilities_that_cannot_be_granted_are_left_out_with_a_warning():
    caps = {"bounding": ["CAP_KILL", "CAP_NONE"], "permitted": ["CAP_KILL"], "ambient": ["CAP_KILL"]}
    spec = decode(Spec, {**GOOD, "process": {**GOOD["process"], "capabilities": caps}})  # type: ignore[dict-item]
    assert spec.process is not None
    process, warnings = grantable(spec.process, own_user_namespace=True)
    assert process.capabilities is not None
    assert (process.capabilities.bounding, process.capabilities.ambient) == (["CAP_KILL"], [])
    assert warnings == [
        "process.capabilities: unknown capability 'CAP_NONE' is ignored",
        "process.capabilities.ambient: can't raise ambient capability CAP_KILL: it must be permitted and inheritable",
    ]


@pytest.mark.parametrize(("given", "path"), [("", "/web"), ("/a//b/./c", "/a/b/c"), ("rel", "/rel")])
def test_cgroup_paths(given: str, path: str):
    assert cgroup_path(given, "web") == path


@pytest.mark.parametrize("given", ["/", "//", "/a/../b", "..", "a.slice:b:c"])
def test_cgroup_paths_that_could_be_others(given: str):
    with pytest.raises(InvalidArgument):
        cgroup_path(given, "web")


def test_lists_of_numbers():
    assert number_set("0-2,5", "x") == (0b100111).to_bytes(8, "little")
    assert len(number_set("64", "x")) == 16
    for text in ("", "a", "3-1", "-1", "1-", "5000", "1,,2"):
        with pytest.raises(InvalidArgument):
            number_set(text, "x")
