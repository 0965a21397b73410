"""`python -m tests.oci.report` runs every case on every runtime that is installed and writes docs/spec-conformance.md."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from .cases import Case
from .dropin_cases import CASES
from .harness import COMMANDS, Runtime

#: What a runtime is known not to do here, with the reason; everything else must pass.
DEVIATIONS: dict[str, dict[str, str]] = {
    "inception-runc": {},
    "runc": {
        "version": "takes any text",
        "mount_data": "the mode of a directory in the image wins over the option",
        "mount_idmap": "since 1.2",
        "mount_idmap_without_maps": "since 1.2",
        "rlimits": "takes a limit that is there twice",
        "capabilities_withheld": "fails with EPERM",
        "every_hierarchy": "without a path, below the cgroup that it was called in",
        "start_hook_filter": "names the kind of a hook since 1.2",
        "tmpfs_mode_shown": "since 1.3",
        "idmap_joined": "since 1.2",
        "scheduler": "since 1.2",
        "io_priority": "since 1.2",
        "exec_affinity": "since 1.3",
        "hostname": "no domainname before 1.2",
        "hooks_in_order": "poststart hooks run at create",
        "start_hook_fails": "start succeeds",
        "poststop_fails": "the hooks after the failing one don't run",
        "user_namespace": "needs a bundle path that the mapped root may walk",
        "user_namespace_owns": "needs a bundle path that the mapped root may walk",
        "user_namespace_exec": "needs a bundle path that the mapped root may walk",
        "time_offsets": "since 1.2",
        "device_in_the_way": "takes the file that is there",
        "rootfs_propagation": "`shared` does not make the root shared",
        "personality": "since 1.2",
        "memory_policy": "since 1.4",
        "hook_errors": "names the kind of a hook since 1.2",
        "mount_mode": "since 1.4; before, 755 where nothing is covered",
        "devices_in_user_namespace": "only nodes that the host has at the same path",
        "net_devices_kept": "since 1.4",
        "exec_personality": "since 1.2",
        "pidfd_socket": "since 1.2",
        "kill_shared_pids": "since 1.2 for a container whose init has ended",
        "delete_frozen_elsewhere": "waits for the freezer",
        "join_user_namespace": "needs a bundle path that the mapped root may walk",
        "affinity_reset": "since 1.3",
        "update_lifts": "no burst before 1.2",
        "seccomp_newer": "its own start needs more calls than the list has",
        "preserved_gaps": "all must be there",
        "mount_rro_tmpfs": "without effect",
        "mount_copy_symlink": "crun's option",
        "id_words": "other words",
        "features_annotations": "unsafe ones are named since 1.2",
        "no_root_inside": "refuses maps without a root",
        "memory_policy_words": "since 1.4",
        "seccomp_flags": "since 1.2",
        "exec_beside_init": "only where v2 has all controllers",
        "host_mounts_undone": "leaves them",
        "host_mounts_exec": "is in the host's root",
        "intel_rdt": "ignores it where there is no resctrl",
        "net_devices": "since 1.4",
    },
    "crun": {},
}
_PAGE = Path(__file__).resolve().parents[2] / "docs/spec-conformance.md"


def main() -> None:
    runtimes = [name for name in COMMANDS if name == "inception-runc" or (shutil.which(name) and _works(name))]
    lines = [
        "# Conformance with the OCI Runtime Specification",
        "",
        "Written by `python -m tests.oci.report`, which runs `tests/oci/cases.py`, `field_cases.py` and `dropin_cases.py` "
        + "on each runtime of this machine: "
        + ", ".join(f"{name} ({_version(name)})" for name in runtimes)
        + f"; Linux {os.uname().release}, cgroups in the hybrid layout. ✓ passes, ✗ does not.",
        "",
        f"| clause | what is checked | {' | '.join(runtimes)} |",
        f"| --- | --- | {' | '.join('---' for _ in runtimes)} |",
    ]
    notes = []
    for case in CASES:
        marks = []
        for name in runtimes:
            passed = _passes(name, case)
            marks.append("✓" if passed else "✗")
            reason = DEVIATIONS[name].get(case.id)
            if reason:
                notes.append(f"- {name}, {case.clause} ({case.title}): {reason}")
        lines.append(f"| {case.clause} | {case.title} | {' | '.join(marks)} |")
    if "crun" in runtimes:
        notes.append(
            "- crun runs with the v2 hierarchy out of its sight, since it takes no machine with cgroups in the hybrid layout."
            " The cases were written beside runc: a ✗ of crun's may be another wording or option, and is not looked into here."
        )
    lines += ["", "## Notes", "", *notes, *_LIMITS, ""]
    _PAGE.write_text("\n".join(lines))


_LIMITS = [
    "- inception-runc: refused by name with an error, never ignored: `linux.personality.flags`. `linux.mountLabel` and "
    "`process.selinuxLabel` are tested as plans: no machine with SELinux was there.",
    "- Without a mount namespace the mounts of a container are the host's, and stay after `delete`, as with runc; there is a "
    "warning.",
    "- `linux.intelRdt` is tested on a folder in resctrl's place: no machine with the hardware was there.",
    "- `delete` of a container that was created and never started removes it, as runc does and engines expect; the "
    "specification asks for an error.",
]


def _passes(name: str, case: Case) -> bool:
    with tempfile.TemporaryDirectory(prefix="oci-") as folder:
        runtime = Runtime(name, Path(folder))
        try:
            case.check(runtime)
            return True
        except Exception:
            return False
        finally:
            runtime.close()


def _works(name: str) -> bool:
    with tempfile.TemporaryDirectory(prefix="oci-") as folder:
        runtime = Runtime(name, Path(folder))
        try:
            return runtime.run("true").code == 0
        finally:
            runtime.close()


def _version(name: str) -> str:
    text = subprocess.run([*COMMANDS[name], "--version"], capture_output=True, text=True, check=True).stdout
    return text.splitlines()[0].split()[-1]


if __name__ == "__main__":
    main()
