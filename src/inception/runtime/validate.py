"""What a spec asks that makes no sense, or that this runtime does not do: refused by its place before anything is touched."""

from __future__ import annotations

from inception.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.oci.runtime import Hooks, Linux, Process, Spec

_MAX_ARG_BYTES = 2 << 20
_SYSCTL_NAMESPACES = (("net.", "network"), ("fs.mqueue.", "ipc"))
_SYSCTL_IPC = {
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
}
_SYSCTL_IPC |= {"kernel.shm_rmid_forced"}


def check_spec(spec: Spec) -> None:
    """Raises InvalidArgument naming the JSON path; what passes can be planned."""
    if spec.oci_version.split(".")[0] != "1":
        raise InvalidArgument(f"ociVersion: {spec.oci_version!r} is not a 1.x version")
    if spec.root is None or not spec.root.path:
        raise InvalidArgument("root.path: missing")
    if spec.process is None:
        raise InvalidArgument("process: missing")
    if spec.linux is None:
        raise InvalidArgument("linux: missing")
    _check_process(spec.process)
    _check_linux(spec.linux)
    if spec.hooks is not None:
        check_hooks(spec.hooks)
    kinds = {namespace.type for namespace in spec.linux.namespaces}
    if (spec.hostname or spec.domainname) and "uts" not in kinds:
        raise InvalidArgument(f"{'hostname' if spec.hostname else 'domainname'}: needs a uts namespace of its own")
    for index, mount in enumerate(spec.mounts):
        if mount.uid_mappings or mount.gid_mappings:
            raise InvalidArgument(f"mounts[{index}].uidMappings: are not supported")


def _check_process(process: Process) -> None:
    if not process.cwd.startswith("/"):
        raise InvalidArgument(f"process.cwd: {process.cwd!r} is not an absolute path")
    if not process.args:
        raise InvalidArgument("process.args: must name a program")
    for name, words in (("args", process.args), ("env", process.env)):
        for index, word in enumerate(words):
            if "\0" in word:
                raise InvalidArgument(f"process.{name}[{index}]: holds a NUL byte")
    if sum(len(word) + 1 for word in (*process.args, *process.env)) > _MAX_ARG_BYTES:
        raise InvalidArgument(f"process.args: with process.env longer than {_MAX_ARG_BYTES} bytes")
    for place, number in (("uid", process.user.uid), ("gid", process.user.gid)):
        if not 0 <= number < (1 << 32) - 1:
            raise InvalidArgument(f"process.user.{place}: {number} is out of range")
    for index, gid in enumerate(process.user.additional_gids):
        if not 0 <= gid < (1 << 32) - 1:
            raise InvalidArgument(f"process.user.additionalGids[{index}]: {gid} is out of range")
    kinds = set()
    for index, limit in enumerate(process.rlimits):
        if limit.type in kinds:
            raise InvalidArgument(f"process.rlimits[{index}].type: {limit.type!r} is there twice")
        kinds.add(limit.type)
        if limit.soft > limit.hard:
            raise InvalidArgument(f"process.rlimits[{index}].soft: {limit.soft} is more than hard, {limit.hard}")
    if process.oom_score_adj is not None and not -1000 <= process.oom_score_adj <= 1000:
        raise InvalidArgument(f"process.oomScoreAdj: {process.oom_score_adj} is out of range")


def _check_linux(linux: Linux) -> None:
    for name, value in (
        ("uidMappings", linux.uid_mappings),
        ("gidMappings", linux.gid_mappings),
        ("netDevices", linux.net_devices),
        ("intelRdt", linux.intel_rdt),
        ("memoryPolicy", linux.memory_policy),
        ("timeOffsets", linux.time_offsets),
        ("mountLabel", linux.mount_label),
    ):
        if value:
            raise InvalidArgument(f"linux.{name}: is not supported")
    if linux.personality is not None and linux.personality.flags:
        raise InvalidArgument("linux.personality.flags: are not supported")
    if linux.seccomp is not None and linux.seccomp.flags:
        raise InvalidArgument(f"linux.seccomp.flags[0]: {linux.seccomp.flags[0]!r} is not supported")
    own = {namespace.type for namespace in linux.namespaces if not namespace.path}
    joined = {namespace.type for namespace in linux.namespaces if namespace.path}
    for key in linux.sysctl:
        _check_sysctl(key, own, joined)


def _check_sysctl(key: str, own: set[str], joined: set[str]) -> None:
    """Only settings that belong to a namespace of the container: any other is the whole machine's."""
    dotted = key.replace("/", ".")
    if ".." in key or key.startswith(("/", ".")):
        raise InvalidArgument(f"linux.sysctl.{key}: is not a name of a setting")
    kind = "ipc" if dotted in _SYSCTL_IPC else ""
    for prefix, name in _SYSCTL_NAMESPACES:
        if dotted.startswith(prefix):
            kind = name
    if dotted in ("kernel.domainname", "kernel.hostname"):
        raise InvalidArgument(f"linux.sysctl.{key}: use the spec's {dotted.partition('.')[2]}")
    if not kind:
        raise InvalidArgument(f"linux.sysctl.{key}: is not in a separate kernel namespace")
    if kind not in own | joined:
        raise InvalidArgument(f"linux.sysctl.{key}: is not allowed in the host's {kind} namespace")


def check_hooks(hooks: Hooks) -> None:
    """Paths are absolute; the kinds we can't run are refused."""
    if hooks.create_container:
        raise InvalidArgument("hooks.createContainer: is not supported")
    for name in ("prestart", "create_runtime", "start_container", "poststart", "poststop"):
        for index, hook in enumerate(getattr(hooks, name)):
            place = f"hooks.{hooks.__keys__[name]}[{index}]"
            if not hook.path.startswith("/"):
                raise InvalidArgument(f"{place}.path: {hook.path!r} is not an absolute path")
            if hook.timeout is not None and hook.timeout <= 0:
                raise InvalidArgument(f"{place}.timeout: must be greater than zero")
