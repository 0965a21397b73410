"""Namespaces of a plan: which are made when, and in which order."""

from __future__ import annotations

import pytest

from inception.errors import InvalidArgument
from inception.oci.runtime import IdMapping, Linux, Mount, Namespace, Process, Root, Spec, TimeOffset
from inception.runtime.container import plan_container
from inception.runtime.namespaces import check_namespaces


def lines(*namespaces: Namespace, rootless: bool = False, mounts: list[Mount] | None = None, **linux: object) -> list[str]:
    spec = Spec(
        process=Process(cwd="/", args=["true"]),
        root=Root(path="/bundle/rootfs"),
        mounts=mounts or [],
        linux=Linux(namespaces=[Namespace(type="mount"), *namespaces], **linux),  # type: ignore[arg-type]
    )
    rootfs = Mount(destination="/", type="bind", source="/bundle/rootfs", options=["rbind"])
    return [line.split("  #")[0].strip() for line in str(plan_container(spec, rootfs=rootfs, rootless=rootless)).splitlines()]


def index(found: list[str], start: str) -> int:
    return next(number for number, line in enumerate(found) if line.startswith(start))


MAPS = {"uid_mappings": [IdMapping(container_id=0, host_id=1000, size=1)]}


def test_a_new_user_namespace_comes_before_what_it_shall_own():
    found = lines(Namespace(type="user"), Namespace(type="pid"), Namespace(type="network"), **MAPS)
    assert found[0] == "clone3(0)"
    user, pause = index(found, "unshare(CLONE_NEWUSER)"), index(found, "pause(0, 1)")
    root, rest = index(found, "setresuid(0, 0, 0)"), index(found, "unshare(CLONE_NEWNET|CLONE_NEWNS|CLONE_NEWPID)")
    assert user < pause < root < rest < index(found, "fork(")


def test_the_hosts_files_are_taken_before_the_user_namespace_is_entered():
    bind = Mount(destination="/data", type="bind", source="/srv", options=["bind"])
    found = lines(Namespace(type="user"), mounts=[bind], **MAPS)
    taken = index(found, 'open_tree(AT_FDCWD, "/srv"')
    assert taken < index(found, "unshare(CLONE_NEWUSER)") < index(found, 'target(<rootfs>, "/data"')
    assert index(found, 'open_tree(AT_FDCWD, "/dev/null"') < index(found, "unshare(CLONE_NEWUSER)")
    assert not any(line.startswith("mknodat") for line in found)


def test_without_privilege_they_are_taken_inside():
    bind = Mount(destination="/data", type="bind", source="/srv", options=["bind"])
    found = lines(Namespace(type="user"), mounts=[bind], rootless=True, **MAPS)
    assert index(found, "unshare(CLONE_NEWUSER)") < index(found, 'open_tree(AT_FDCWD, "/srv"')


def test_joined_namespaces_come_first_and_the_user_namespace_last_of_them():
    user, network = Namespace(type="user", path="/ns/user"), Namespace(type="network", path="/ns/net")
    found = lines(user, network)
    opened = index(found, 'openat(AT_FDCWD, "/ns/net"')
    assert opened < index(found, "setns(<network-namespace>") < index(found, "setns(<user-namespace>")
    assert index(lines(user, network, rootless=True), "setns(<user") < index(
        lines(user, network, rootless=True), "setns(<network"
    )


def test_clocks_are_set_between_unshare_and_fork():
    found = lines(Namespace(type="time"), time_offsets={"boottime": TimeOffset(secs=5, nanosecs=7)})
    clocks = index(found, 'write(AT_FDCWD, "/proc/self/timens_offsets", "boottime 5 7\\n"')
    assert index(found, "unshare(") < clocks < index(found, "fork(")


@pytest.mark.parametrize(
    ("namespaces", "message"),
    [
        ([Namespace(type="mount"), Namespace(type="other")], "linux.namespaces[1].type: unknown namespace 'other'"),
        ([Namespace(type="mount"), Namespace(type="mount")], "linux.namespaces[1].type: 'mount' is there twice"),
        ([Namespace(type="mount", path="x")], "linux.namespaces[0].path: 'x' is not an absolute path"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_place(namespaces: list[Namespace], message: str):
    with pytest.raises(InvalidArgument) as error:
        check_namespaces(Linux(namespaces=namespaces))
    assert str(error.value) == message
