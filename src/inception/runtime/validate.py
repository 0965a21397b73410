"""What a spec asks that makes no sense, or that this runtime does not do: refused by its place before anything is touched.

What a plan checks anyway while it is made (rlimits, devices, mount options) is not said twice here.
"""

from __future__ import annotations

from inception.errors import InvalidArgument
from inception.linux import capabilities
from inception.record import replace
from inception.runtime.filters import check_listener
from inception.runtime.idmap import check_maps
from inception.runtime.namespaces import check_namespaces, has_new_user_namespace, has_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.oci.runtime import Capabilities, Hooks, Linux, Mount, Process, Spec

_MAX_ARG_BYTES = 2 << 20
_MAX_ID = (1 << 32) - 2
_MAX_MAJOR, _MAX_MINOR = (1 << 12) - 1, (1 << 20) - 1  # of the kernel's dev_t
_SYSCTL_NAMESPACES = (("net.", "network"), ("fs.mqueue.", "ipc"), ("kernel.msg", "ipc"), ("kernel.shm", "ipc"))
_SYSCTL_OTHERS = {"kernel.sem": "ipc", "kernel.domainname": "uts"}
_SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")
_KINDS = ("prestart", "create_runtime", "create_container", "start_container", "poststart", "poststop")


def check_spec(spec: Spec) -> None:
    """Raises InvalidArgument naming the JSON path; what passes can be planned."""
    _check_version(spec.oci_version)
    if spec.root is None or not spec.root.path:
        raise InvalidArgument("root.path: missing")
    if spec.process is None:
        raise InvalidArgument("process: missing")
    if spec.linux is None:
        raise InvalidArgument("linux: missing")
    check_process(spec.process)
    _check_linux(spec.linux)
    if spec.hooks is not None:
        check_hooks(spec.hooks)
    kinds = {namespace.type for namespace in spec.linux.namespaces}
    for name, value in (("hostname", spec.hostname), ("domainname", spec.domainname)):
        if value and "uts" not in kinds:
            raise InvalidArgument(f"{name}: needs a uts namespace of its own")
    check_idmaps(spec.mounts, spec.linux)


def _check_version(version: str) -> None:
    numbers = version.partition("-")[0].partition("+")[0].split(".")
    if len(numbers) != 3 or not all(number.isascii() and number.isdigit() for number in numbers):
        raise InvalidArgument(f"ociVersion: {version!r} is not a version like 1.3.0")
    if numbers[0] != "1":
        raise InvalidArgument(f"ociVersion: {version!r} is not a 1.x version")


def check_process(process: Process, where: str = "process") -> None:
    """Raises InvalidArgument naming the place in the process."""
    if not process.cwd.startswith("/"):
        raise InvalidArgument(f"{where}.cwd: {process.cwd!r} is not an absolute path")
    if not process.args:
        raise InvalidArgument(f"{where}.args: must name a program")
    for name, words in (("args", process.args), ("env", process.env), ("cwd", [process.cwd])):
        for index, word in enumerate(words):
            if "\0" in word:
                raise InvalidArgument(f"{where}.{name}[{index}]: holds a NUL byte")
    if sum(len(word) + 1 for word in (*process.args, *process.env)) > _MAX_ARG_BYTES:
        raise InvalidArgument(f"{where}.args: with {where}.env longer than {_MAX_ARG_BYTES} bytes")
    user = process.user
    ids = [("uid", user.uid), ("gid", user.gid)]
    for place, number in [*ids, *((f"additionalGids[{i}]", gid) for i, gid in enumerate(user.additional_gids))]:
        if not 0 <= number <= _MAX_ID:
            raise InvalidArgument(f"{where}.user.{place}: {number} is out of range")
    if user.umask is not None and not 0 <= user.umask <= 0o777:
        raise InvalidArgument(f"{where}.user.umask: {user.umask} is out of range")
    kinds = set()
    for index, limit in enumerate(process.rlimits):
        if limit.type in kinds:
            raise InvalidArgument(f"{where}.rlimits[{index}].type: {limit.type!r} is there twice")
        kinds.add(limit.type)
        if limit.soft > limit.hard:
            raise InvalidArgument(f"{where}.rlimits[{index}].soft: {limit.soft} is more than hard, {limit.hard}")
    if process.oom_score_adj is not None and not -1000 <= process.oom_score_adj <= 1000:
        raise InvalidArgument(f"{where}.oomScoreAdj: {process.oom_score_adj} is out of range")
    if process.io_priority is not None and not 0 <= process.io_priority.priority <= 7:
        raise InvalidArgument(f"{where}.ioPriority.priority: {process.io_priority.priority} is not between 0 and 7")


def _check_linux(linux: Linux) -> None:
    check_namespaces(linux)
    if linux.net_devices:
        from inception.runtime.netdevices import check_net_devices  # netlink is for those who ask

        check_net_devices(linux)
    if linux.intel_rdt:
        from inception.runtime.resctrl import check_intel_rdt, mounted  # hardly a machine has it

        check_intel_rdt(linux.intel_rdt, mounted())
    if linux.mount_label:
        _check_selinux()
    maps = (("uidMappings", linux.uid_mappings), ("gidMappings", linux.gid_mappings))
    for key, entries in maps:
        if entries and not has_user_namespace(linux):
            raise InvalidArgument(f"linux.{key}: needs a user namespace")
        if not entries and has_new_user_namespace(linux):
            raise InvalidArgument(f"linux.{key}: missing, with a new user namespace")
        check_maps(entries, f"linux.{key}")
    if linux.time_offsets and not any(kind.type == "time" and not kind.path for kind in linux.namespaces):
        raise InvalidArgument("linux.timeOffsets: needs a new time namespace")
    if linux.personality is not None and linux.personality.flags:
        raise InvalidArgument("linux.personality.flags: are not supported")
    for index, device in enumerate(linux.devices):
        for key, number, most in (("major", device.major, _MAX_MAJOR), ("minor", device.minor, _MAX_MINOR)):
            if not 0 <= number <= most:
                raise InvalidArgument(f"linux.devices[{index}].{key}: {number} is out of range")
        for key, id in (("uid", device.uid), ("gid", device.gid)):
            if id is not None and not 0 <= id <= _MAX_ID:
                raise InvalidArgument(f"linux.devices[{index}].{key}: {id} is out of range")
    check_listener(linux.seccomp)
    kinds = {namespace.type for namespace in linux.namespaces}
    for key in linux.sysctl:
        _check_sysctl(key, kinds)


def _check_selinux() -> None:
    import os

    if not os.path.exists("/sys/fs/selinux/enforce"):
        raise InvalidArgument("linux.mountLabel: the kernel has no SELinux")


def _check_sysctl(key: str, kinds: set[str]) -> None:
    """Only settings that belong to a namespace of the container: any other is the whole machine's."""
    dotted = key.replace("/", ".")
    if ".." in dotted or key.startswith(("/", ".")) or "\0" in key:
        raise InvalidArgument(f"linux.sysctl.{key}: is not a name of a setting")
    kind = _SYSCTL_OTHERS.get(dotted, "")
    for prefix, name in _SYSCTL_NAMESPACES:
        if dotted.startswith(prefix):
            kind = name
    if dotted == "kernel.hostname":
        raise InvalidArgument(f"linux.sysctl.{key}: use the spec's hostname")
    if not kind:
        raise InvalidArgument(f"linux.sysctl.{key}: is not in a separate kernel namespace")
    if kind not in kinds:
        raise InvalidArgument(f"linux.sysctl.{key}: is not allowed in the host's {kind} namespace")


def check_idmaps(mounts: list[Mount], linux: Linux) -> None:
    """Id-mapped mounts have maps of their own, or the container's."""
    for index, mount in enumerate(mounts):
        where = f"mounts[{index}]"
        own = bool(mount.uid_mappings), bool(mount.gid_mappings)
        asked = any(own) or "idmap" in mount.options or "ridmap" in mount.options
        if not asked:
            continue
        if own[0] != own[1]:
            raise InvalidArgument(f"{where}.{'gid' if own[0] else 'uid'}Mappings: missing; both are needed")
        if not {"bind", "rbind"} & {mount.type, *mount.options}:
            raise InvalidArgument(f"{where}.options: only a bind mount can be id-mapped")
        if not any(own) and not has_user_namespace(linux):
            raise InvalidArgument(f"{where}.options: idmap needs uidMappings and gidMappings, or a user namespace of its own")
        check_maps(mount.uid_mappings, f"{where}.uidMappings")
        check_maps(mount.gid_mappings, f"{where}.gidMappings")


def check_hooks(hooks: Hooks) -> None:
    """Paths are absolute, timeouts positive."""
    for name in _KINDS:
        for index, hook in enumerate(getattr(hooks, name)):
            place = f"hooks.{hooks.__keys__[name]}[{index}]"
            if not hook.path.startswith("/"):
                raise InvalidArgument(f"{place}.path: {hook.path!r} is not an absolute path")
            if hook.timeout is not None and hook.timeout <= 0:
                raise InvalidArgument(f"{place}.timeout: must be greater than zero")
            for variable in hook.env or []:
                if "=" not in variable or "\0" in variable:
                    raise InvalidArgument(f"{place}.env: {variable!r} is not NAME=VALUE")


def grantable(process: Process, *, own_user_namespace: bool) -> tuple[Process, list[str]]:
    """The process without the capabilities that cannot be granted, and a warning for each of them.

    Those that the kernel does not know, and those that we don't hold ourselves: only a user namespace would give them.
    Source: runtime-spec config.md, "capabilities": logged as a warning; the container should not fail.
    """
    caps = process.capabilities
    if caps is None:
        return process, []
    known = capabilities.NUMBERS
    held = (1 << 64) - 1 if own_user_namespace else capabilities.held("CapPrm")
    kept: dict[str, list[str]] = {}
    unknown: dict[str, None] = {}
    withheld: dict[str, None] = {}
    for name in _SETS:
        kept[name] = []
        for capability in getattr(caps, name):
            if capability not in known:
                unknown[capability] = None
            elif not held >> known[capability] & 1:
                withheld[capability] = None
            elif name != "ambient" or {capability} & set(kept["permitted"]) & set(kept["inheritable"]):
                kept[name].append(capability)
    warnings = [f"process.capabilities: unknown capability {capability!r} is ignored" for capability in unknown]
    warnings += [f"process.capabilities: {capability} can't be granted: we don't have it" for capability in withheld]
    beyond = sorted(set(caps.ambient) - set(kept["ambient"]) - {*unknown, *withheld})
    if beyond:
        why = "it must be permitted and inheritable"
        warnings.append(f"process.capabilities.ambient: can't raise ambient capability {', '.join(beyond)}: {why}")
    changed: Capabilities = replace(caps, **kept)
    return replace(process, capabilities=changed), warnings
