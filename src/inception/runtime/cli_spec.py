"""`spec` and `features`: what a config.json may say."""

from __future__ import annotations

import os

import inception
from inception.errors import InvalidArgument
from inception.jsontext import pretty
from inception.linux import capabilities, seccomp
from inception.linux.cgroup import Cgroups
from inception.linux.namespaces import KINDS
from inception.oci.runtime import (
    SPEC_VERSION,
    Capabilities,
    IdMapping,
    Linux,
    Mount,
    Namespace,
    Process,
    Resources,
    Rlimit,
    Root,
    Spec,
)
from inception.oci.runtime import DeviceRule as Rule
from inception.record import encode, replace
from inception.runtime import defaults, process
from inception.runtime.mounts import option_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from inception.runtime.cli import Call

_KEPT = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
_HOOKS = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]


def spec(call: Call) -> int:
    """`spec`"""
    made = _rootless(_default()) if call.on("rootless") else _default()
    path = os.path.join(call.text("bundle", "."), "config.json")
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(pretty(_document(made), "\t") + "\n")
    except FileExistsError:
        raise InvalidArgument(f"File {path} exists. Remove it first") from None
    return 0


def _document(made: Spec) -> dict[str, Any]:
    """With what is a default, but what people and their scripts look for."""
    document = encode(made)
    document["process"]["user"] = {"uid": 0, "gid": 0}
    for rule in document["linux"].get("resources", {}).get("devices", []):
        rule.setdefault("access", "rwm")
    return {"ociVersion": made.oci_version, **document}


def _default() -> Spec:
    kinds = ["pid", "network", "ipc", "uts", "mount"]
    if Cgroups.detect().layout == "v2":  # elsewhere whoever is in one can't mount its hierarchies' roots
        kinds.append("cgroup")
    return Spec(
        process=Process(
            terminal=True,
            cwd="/",
            args=["sh"],
            env=["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            capabilities=Capabilities(bounding=_KEPT, effective=_KEPT, permitted=_KEPT),
            rlimits=[Rlimit(type="RLIMIT_NOFILE", soft=1024, hard=1024)],
            no_new_privileges=True,
        ),
        root=Root(path="rootfs", readonly=True),
        hostname="inception",
        mounts=defaults.default_mounts(),
        linux=Linux(
            namespaces=[Namespace(type=kind) for kind in kinds],
            resources=Resources(devices=[Rule(allow=False, access="rwm")]),
            masked_paths=defaults.MASKED_PATHS,
            readonly_paths=defaults.READONLY_PATHS,
        ),
    )


def _rootless(made: Spec) -> Spec:
    """For an ordinary user: a namespace with one id, the host's network, no limits.

    /sys is the host's, read-only in depth: cgroups below it may belong to the user (CVE-2023-25809).
    """
    assert made.linux is not None
    uids = [IdMapping(container_id=0, host_id=os.geteuid(), size=1)]
    gids = [IdMapping(container_id=0, host_id=os.getegid(), size=1)]
    kinds = [space for space in made.linux.namespaces if space.type != "network"]
    mounts = [
        Mount(destination="/sys", type="none", source="/sys", options=["rbind", "nosuid", "noexec", "nodev", "rro"])
        if mount.destination == "/sys"
        else replace(mount, options=[option for option in mount.options if not option.startswith(("gid=", "uid="))])
        for mount in made.mounts
        if mount.type != "cgroup"
    ]
    linux = replace(
        made.linux, namespaces=[*kinds, Namespace(type="user")], uid_mappings=uids, gid_mappings=gids, resources=None
    )
    return replace(made, mounts=mounts, linux=linux)


def features(call: Call) -> int:
    """`features`: what the runtime knows, whatever the machine can do. Source: runtime-spec features.md, features-linux.md."""
    flags = sorted(process.SECCOMP_FLAGS)
    linux = {
        "namespaces": sorted(KINDS),
        "capabilities": list(capabilities.NAMES),
        "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
        "seccomp": {
            "enabled": True,
            "actions": sorted(seccomp.ACTIONS),
            "operators": sorted(seccomp.OPERATORS),
            "archs": sorted(seccomp.ARCHITECTURES),
            "knownFlags": flags,
            "supportedFlags": flags,
        },
        "apparmor": {"enabled": True},
        "selinux": {"enabled": True},
        "memoryPolicy": {"modes": sorted(process.MEMORY_MODES), "flags": sorted(process.MEMORY_FLAGS)},
        "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
        "mountExtensions": {"idmap": {"enabled": True}},
        "netDevices": {"enabled": True},
    }
    document = {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC_VERSION,
        "hooks": _HOOKS,
        "mountOptions": option_names(),
        "linux": linux,
        "annotations": {
            "org.opencontainers.runc.checkpoint.enabled": "true",
            "org.opencontainers.runc.version": inception.__version__,
        },
        # With these a container reaches beyond itself: who takes annotations from strangers must not hand them on.
        "potentiallyUnsafeConfigAnnotations": ["org.criu.config", "org.systemd.property.", "run.oci.keep_original_groups"],
    }
    print(pretty(document))
    return 0
