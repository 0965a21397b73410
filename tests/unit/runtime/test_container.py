"""A spec becomes a plan: compared as text, no root needed."""

from __future__ import annotations

import pytest

from inception.errors import InvalidArgument
from inception.oci.runtime import Capabilities, Device, Linux, Mount, Namespace, Process, Root, Scheduler, Spec, User
from inception.record import replace
from inception.runtime import Plan, plan_container
from inception.runtime.container import split_layers, sysctl_path
from inception.runtime.defaults import default_mounts

NAMESPACES = [Namespace(type=name) for name in ("pid", "mount", "uts", "ipc", "network")]
ROOTFS = Mount(destination="/", type="overlay", options=["lowerdir=/top:/base", "upperdir=/u", "workdir=/w"])


def spec(process: dict[str, object] | None = None, linux: dict[str, object] | None = None, **changes: object) -> Spec:
    base = Process(cwd="/", args=["true"], env=["PATH=/bin:/usr/bin"], capabilities=Capabilities())
    return Spec(
        process=replace(base, **(process or {})),
        linux=replace(Linux(namespaces=NAMESPACES), **(linux or {})),
        **{"mounts": [mount for mount in default_mounts() if mount.type != "cgroup"], **changes},
    )


def lines(plan: Plan, word: str = "") -> list[str]:
    return [" ".join(line.split()) for line in str(plan).splitlines() if word in line]


def plan(value: Spec, **options: object) -> Plan:
    return plan_container(value, rootfs=ROOTFS, **options)  # type: ignore[arg-type]


def test_new_namespaces_are_made_by_the_clone_itself():
    assert lines(plan(spec()))[0] == "clone3(NEWIPC|NEWNET|NEWNS|NEWPID|NEWUTS) # linux.namespaces"


def test_layers_are_given_to_overlay_one_by_one_top_first():
    shown = lines(plan(spec()), "lowerdir+")
    assert [line.split('"')[3] for line in shown] == ["/top", "/base"]


def test_a_hundred_long_layers_still_make_a_plan():
    layers = [f"/store/layers/{number:064x}" for number in range(100)]
    rootfs = Mount(destination="/", type="overlay", options=["lowerdir=" + ":".join(layers)])
    assert len(lines(plan_container(spec(), rootfs=rootfs), "lowerdir+")) == 100


def test_nothing_is_mounted_before_the_mounts_are_private():
    shown = lines(plan(spec()))
    private = next(i for i, line in enumerate(shown) if "propagation=MS_PRIVATE" in line)
    assert private < min(i for i, line in enumerate(shown) if "move_mount" in line)


def test_every_mount_is_attached_by_descriptor_beneath_the_root():
    for line in lines(plan(spec(mounts=default_mounts())), "move_mount"):
        assert line.startswith("move_mount(<") and ("<target>" in line or 'AT_FDCWD, "/", MOVE_MOUNT_F' in line)


def test_proc_must_be_a_plain_directory_of_the_image():
    assert "RESOLVE_NO_SYMLINKS" in lines(plan(spec()), 'target(<rootfs>, "/proc"')[0]


def test_readonly_root_is_set_after_the_last_mount_and_before_pivot_root():
    shown = lines(plan(spec(root=Root(path="rootfs", readonly=True))))
    readonly = next(i for i, line in enumerate(shown) if "root.readonly" in line)
    assert max(i for i, line in enumerate(shown) if "move_mount" in line) < readonly
    assert readonly < next(i for i, line in enumerate(shown) if line.startswith("pivot_root"))


def test_masked_paths_use_the_hosts_null_device_checked_by_number():
    shown = lines(plan(spec(linux={"masked_paths": ["/proc/kcore"]})), "linux.maskedPaths")
    assert shown[1].startswith("expect_dev(<null>, S_IFCHR, 1:3)")
    assert shown[-1].startswith('mask(<rootfs>, "/proc/kcore", <null>, <empty>')


def test_sysctls_go_through_a_procfs_of_ours():
    line = lines(plan(spec(linux={"sysctl": {"net.ipv4.ip_forward": "1"}})), "linux.sysctl")[0]
    assert line.startswith(
        'write(<proc>, "sys/net/ipv4/ip_forward", "1", RESOLVE_BENEATH|RESOLVE_NO_MAGICLINKS|RESOLVE_NO_XDEV)'
    )


def test_groups_come_before_the_user_and_capabilities_after():
    shown = lines(plan(spec(process={"user": User(uid=5, gid=6, additional_gids=[6, 7])})))
    order = ["setgroups([6, 7])", "setresgid(6, 6, 6)", "setresuid(5, 5, 5)", "capset("]
    places = [next(i for i, line in enumerate(shown) if line.startswith(word)) for word in order]
    assert places == sorted(places)


def test_inheritable_capabilities_stay_empty():
    caps = Capabilities(bounding=["CAP_CHOWN"], effective=["CAP_CHOWN"], permitted=["CAP_CHOWN"])
    assert lines(plan(spec(process={"capabilities": caps})), "capset") == [
        "capset({effective=CHOWN, permitted=CHOWN, inheritable=0}) # process.capabilities"
    ]


def test_seccomp_is_the_last_thing_before_the_program_with_no_new_privs():
    shown = lines(plan(spec(process={"no_new_privileges": True}), seccomp=bytes(8)))
    assert shown[-2].startswith("seccomp(SECCOMP_SET_MODE_FILTER") and shown[-1].startswith("exec(")


def test_without_no_new_privs_only_capset_follows_seccomp():
    shown = lines(plan(spec(), seccomp=bytes(8)))
    assert shown[-3].startswith("seccomp(") and shown[-2].startswith("capset(") and shown[-1].startswith("exec(")
    assert "effective=SYS_ADMIN" in next(line for line in shown if line.startswith("capset"))


def test_the_parent_death_signal_is_set_after_the_last_change_of_credentials():
    shown = lines(plan(spec(), die_with_parent=True))
    last = max(i for i, line in enumerate(shown) if "PR_SET_PDEATHSIG" in line)
    assert last > max(i for i, line in enumerate(shown) if line.startswith(("setresuid", "capset")))
    assert shown[last + 1].startswith("parent_alive(<parent>)")


def test_the_program_is_looked_for_along_the_containers_own_path():
    assert lines(plan(spec()), "exec(")[0].startswith('exec(["/bin/true", "/usr/bin/true"], ["true"]')


def test_a_network_namespace_comes_as_a_descriptor():
    namespaces = [namespace for namespace in NAMESPACES if namespace.type != "network"]
    value = plan(spec(linux={"namespaces": [*namespaces, Namespace(type="network", path="fd:netns")]}))
    assert value.fds == ["netns"] and lines(value, "setns(<netns>, CLONE_NEWNET)")
    assert "NEWNET" not in lines(value)[0]


def test_nodes_in_a_dev_of_the_image_are_checked_to_be_the_device():
    mounts = [Mount(destination="/proc", type="proc")]
    assert lines(plan(spec(mounts=mounts)), "expect_dev(<node>, S_IFCHR, 1:3)")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"linux": {"namespaces": [Namespace(type="pidd")]}}, "linux.namespaces[0].type: unknown namespace 'pidd'"),
        ({"process": {"cwd": "tmp"}}, "process.cwd: 'tmp' is not an absolute path"),
        ({"process": {"args": []}}, "process.args: must name a program"),
        ({"mounts": [Mount(destination="/proc/x", type="tmpfs")]}, 'mounts[0].destination: "/proc/x" cannot be mounted'),
        ({"mounts": [Mount(destination="/x/../proc", type="tmpfs")]}, "mounts[0].destination: only a proc filesystem"),
        ({"mounts": [Mount(destination="/x", type="proc", options=["tmpcopyup"])]}, "mounts[0].options: tmpcopyup is for a"),
        ({"mounts": [Mount(destination="/x", type="bind", source="/y", options=["size=1"])]}, "mounts[0].options: 'size=1'"),
        ({"linux": {"devices": [Device(type="q", path="/dev/x")]}}, "linux.devices[0].type: unknown device type 'q'"),
        ({"process": {"capabilities": Capabilities(bounding=["CAP_X"])}}, "process.capabilities.bounding[0]: unknown"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_place(change: dict[str, object], message: str):
    with pytest.raises(InvalidArgument) as error:
        plan(spec(**change))  # type: ignore[arg-type]
    assert str(error.value).startswith(message)


def test_the_same_plan_compiles_to_the_same_bytes():
    assert plan(spec()).compile() == plan(spec()).compile()


def test_every_line_can_be_explained():
    text = plan(spec(mounts=default_mounts(), hostname="web")).explain()
    assert "The name it has for itself." in text and text.count("\n") > 100


def test_colons_in_layer_paths_are_escaped():
    assert split_layers(r"/a\:b:/c") == ["/a:b", "/c"]


@pytest.mark.parametrize(
    ("key", "path"),
    [("net.ipv4.ip_forward", "net/ipv4/ip_forward"), ("net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding")],
)
def test_sysctl_keys_become_paths(key: str, path: str):
    assert sysctl_path(key) == path


@pytest.mark.parametrize(("name", "value"), [("nice", 1 << 31), ("priority", -1), ("runtime", 1 << 64), ("period", -1)])
def test_a_schedulers_number_that_the_kernel_has_no_room_for_is_refused_by_its_place(name: str, value: int):
    scheduler = Scheduler(policy="SCHED_OTHER", **{name: value})
    with pytest.raises(InvalidArgument, match=f"process.scheduler.{name}: {value} is out of range"):
        plan(spec(process={"scheduler": scheduler}))


def test_the_callers_groups_are_kept_where_a_bundle_says_so():
    value = spec(annotations={"run.oci.keep_original_groups": "1"})
    assert lines(plan(value, hold=True), "setgroups") == []
    assert len(lines(plan(value), "setgroups")) == 1
    assert len(lines(plan(spec(annotations={"run.oci.keep_original_groups": "0"}), hold=True), "setgroups")) == 1


def test_a_label_of_selinux_is_that_of_new_filesystems_but_the_kernels():
    mounts = [Mount(destination=f"/{kind}", type=kind) for kind in ("proc", "tmpfs", "sysfs", "mqueue", "devpts")]
    value = spec(linux={"mount_label": "system_u:object_r:container_file_t:s0"}, mounts=mounts)
    found = [line for line in lines(plan(value)) if '"context"' in line or "fsopen(" in line]
    labelled = [found[index - 1].split('"')[1] for index, line in enumerate(found) if '"context"' in line]
    assert labelled == ["tmpfs", "devpts"]
