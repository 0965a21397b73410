"""What a test machine boots from: kernel, initramfs, and a Debian of the same release as this machine's, as one disk image.

Made once from packages, kept in `.vm/` (git ignores it), and made again when what it is made of changes. The checkout and its
virtual environment are images of their own, laid over the same paths as here, so that one made here works there: the guest's
/usr/bin/python3 is of the same packages.

    .vm/KEY/vmlinuz modules/ root.ext4      from the lists in this file and the machine's package sources
    .vm/venv-KEY.ext4                       from .venv, until it is installed again
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from inception.store.bootstrap import Recipe, machine_settings, machine_sources

PROJECT = Path(__file__).resolve().parents[2]
CACHE = PROJECT / ".vm"

#: What the tests of tests/{kernel,oci,engine,peers} want of a machine, an init for the plain machine and systemd for the other.
PACKAGES = [
    *("python3", "busybox-static", "kmod", "udev", "dbus", "systemd-sysv", "apparmor", "iproute2", "nftables", "iptables"),
    *("procps", "util-linux", "strace", "e2fsprogs", "git", "ca-certificates", "openssl", "curl", "uidmap"),
    *("runc", "crun", "criu", "podman", "conmon", "netavark", "containerd", "docker.io", "docker-registry"),
]
#: Not in every release.
OPTIONAL = ("criu",)
#: What must be there before modprobe is: the disks, the root, and the port that the agent listens on.
EARLY_MODULES = ("virtio_pci", "virtio_blk", "virtio_console", "virtio_rng", "overlay")

_QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

# The kernel without its package's scripts, which would make an initramfs and want a boot loader.
_KERNEL_HOOK = """set -e; chroot "$1" sh -ec '
cd /var/tmp
apt-get download -qq $(apt-cache depends linux-image-cloud-$(dpkg --print-architecture) | sed -n "s/.*Depends: //p")
dpkg-deb -x linux-image-*.deb kernel
mkdir -p /usr/lib/modules
mv kernel/lib/modules/* /usr/lib/modules/ 2>/dev/null || mv kernel/usr/lib/modules/* /usr/lib/modules/
mv kernel/boot/vmlinuz-* /boot/vmlinuz
rm -rf kernel linux-image-*.deb
depmod $(ls /usr/lib/modules)
'"""

_INIT = """#!/bin/busybox sh
# Finds the disks, lays the writable one over the read-only ones, and hands over to the root's own init.
B=/bin/busybox
$B mkdir -p /proc /sys /dev /ro /rw /new
$B mount -t devtmpfs dev /dev; $B mount -t proc proc /proc; $B mount -t sysfs sys /sys
while read module; do $B insmod /modules/$module; done </modules/order
value() { for word in $($B cat /proc/cmdline); do case $word in $1=*) echo "${word#*=}";; esac; done; }
project=$(value vm.project) init=$(value vm.init)
$B mount -t ext4 -o ro /dev/vda /ro || $B sh
case " $($B cat /proc/cmdline) " in
    *" vm.volatile "*) $B mount -t tmpfs -o size=90% rw /rw;;
    *) $B mount -t ext4 -o noatime /dev/vdd /rw || $B sh;;
esac
over() { # name, read-only folder, where
    $B mkdir -p /rw/$1/upper /rw/$1/work "$3"
    $B mount -t overlay -o lowerdir=$2,upperdir=/rw/$1/upper,workdir=/rw/$1/work over "$3"
}
over root /ro /new
$B mkdir -p /ro-project /ro-venv
$B mount -t ext4 -o ro /dev/vdb /ro-project && over project /ro-project "/new$project" || $B sh
$B mount -t ext4 -o ro /dev/vdc /ro-venv && over venv /ro-venv "/new$project/.venv" || $B sh
# What containers lie in can't be an overlay itself.
for folder in tmp var/tmp var/lib/inception var/lib/containerd var/lib/containers var/lib/docker root; do
    $B mkdir -p /rw/data/$folder /new/$folder; $B mount --bind /rw/data/$folder /new/$folder
done
$B chmod 1777 /new/tmp /new/var/tmp
$B mount --move /dev /new/dev; $B mount --move /proc /new/proc; $B mount --move /sys /new/sys
exec $B switch_root /new "$init"
"""


class Root:
    """The pieces, which `open_root` makes where they are missing."""

    def __init__(self, folder: Path) -> None:
        self.kernel = folder / "vmlinuz"
        self.modules = folder / "modules"
        self.disk = folder / "root.ext4"

    def initramfs(self) -> bytes:
        """Busybox, the early modules in the order of their needs, and `_INIT`."""
        files: dict[str, bytes | None] = {"bin": None, "modules": None, "init": _INIT.encode()}
        files["bin/busybox"] = Path("/bin/busybox").read_bytes()
        files.update({f"modules/{path.name}": path.read_bytes() for path in self.modules.iterdir()})
        return _cpio(files)


def open_root() -> Root:
    """Makes what is missing; the first time a minute or two of packages. Raises RuntimeError with the maker's words."""
    recipe = Recipe(distribution=_release("ID"), suite=_release("VERSION_CODENAME"))
    sources = machine_sources(recipe)
    key = _digest(sources, *_packages(), *EARLY_MODULES, _KERNEL_HOOK)
    folder = CACHE / key
    if not (folder / "root.ext4").exists():
        for stale in CACHE.glob("*/root.ext4"):
            shutil.rmtree(stale.parent)
        _make_root(folder, recipe, sources)
    return Root(folder)


def open_venv() -> Path:
    """The image of `.venv` as it is installed now."""
    venv = PROJECT / ".venv"
    python = os.path.realpath(venv / "bin/python")
    if not python.startswith("/usr/bin/python3"):
        raise RuntimeError(f"{venv} is of {python}; the machine has the distribution's /usr/bin/python3 alone")
    stamps = [f"{path.name} {path.stat().st_mtime_ns}" for path in sorted(venv.glob(".installed*"))]
    image = CACHE / f"venv-{_digest(str(PROJECT), *stamps)}.ext4"
    if not image.exists():
        for stale in CACHE.glob("venv-*.ext4"):
            stale.unlink()
        make_disk(image, venv, megabytes=1024)
    return image


def make_project(image: Path) -> None:
    """Writes the checkout as it is now, changes included, without what git ignores but for what was compiled."""
    folder = image.with_suffix(".tree")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = [name for name in _run(listed, cwd=PROJECT).split("\0") if name and (PROJECT / name).exists()]
    # What was compiled too: an emulated machine takes its time for it.
    for pattern in ("src/**/*.so", "src/*.egg-info/*", "src/**/*.pyc", "tests/**/*.pyc"):
        names += [str(path.relative_to(PROJECT)) for path in PROJECT.glob(pattern)]
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, target, follow_symlinks=False)
    make_disk(image, folder, megabytes=256)
    shutil.rmtree(folder)


def make_disk(image: Path, folder: Path | None, *, megabytes: int) -> None:
    """An ext4 image with what lies in *folder*; under its name only when it is whole. Space is taken as it is used."""
    partial = image.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    with open(partial, "wb") as file:
        file.truncate(megabytes << 20)
    content = ["-d", str(folder)] if folder else []
    _run(["mke2fs", "-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=1,nodiscard", *content, str(partial)])
    partial.rename(image)


def _packages() -> list[str]:
    """Those of PACKAGES that the distribution has."""
    return [
        name for name in PACKAGES if name not in OPTIONAL or not subprocess.call(["apt-cache", "show", "-q", name], **_QUIET)
    ]


def _make_root(folder: Path, recipe: Recipe, sources: str) -> None:
    print(f"making the test machine's root from the packages of {recipe.distribution} {recipe.suite}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tree = folder / "tree"
    command = ["mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory", "--quiet"]
    command += [f"--aptopt={setting}" for setting in machine_settings()]
    command += ["--dpkgopt=force-unsafe-io"]
    command += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")]
    command += [f"--include={','.join(_packages())}", f"--customize-hook={_KERNEL_HOOK}", recipe.suite, str(tree)]
    _run([*command, "-"] if sources else command, sources)
    try:
        shutil.move(tree / "boot/vmlinuz", folder / "vmlinuz")
        _keep_modules(tree, folder / "modules")
        make_disk(folder / "root.ext4", tree, megabytes=4096)
    finally:
        shutil.rmtree(tree)


def _keep_modules(tree: Path, folder: Path) -> None:
    """The early modules and those that they need, and `order`, in which they can be inserted."""
    (modules,) = (tree / "usr/lib/modules").iterdir()
    needs: dict[str, list[str]] = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, others = line.partition(":")
        needs[path] = others.split()
    order: dict[str, None] = {}
    for name in EARLY_MODULES:
        for path in needs:
            if re.fullmatch(rf"{name}\.ko(\..*)?", path.rpartition("/")[2].replace("-", "_")):
                order.update(dict.fromkeys([*reversed(needs[path]), path]))
    folder.mkdir()
    for path in order:
        (folder / path.rpartition("/")[2]).write_bytes(_inflate((modules / path).read_bytes()))
    (folder / "order").write_text("".join(f"{path.rpartition('/')[2]}\n" for path in order))


def _inflate(module: bytes) -> bytes:
    """Releases after bookworm compress their modules; the kernel's insmod call wants them plain."""
    if module.startswith(b"\xfd7zXZ"):
        import lzma

        return lzma.decompress(module)
    return module


def _cpio(files: dict[str, bytes | None]) -> bytes:
    """An archive in the `newc` form, all files executable; None is a folder.

    Source: kernel driver-api/early-userspace/buffer-format.rst.
    """
    out = bytearray()
    for number, (name, data) in enumerate([*files.items(), ("TRAILER!!!", b"")]):
        mode = 0o040755 if data is None else 0o100755
        content = data or b""
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        out += bytes(-len(out) % 4)
        out += content
        out += bytes(-len(out) % 4)
    return bytes(out)


def _release(field: str) -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        key, _, value = line.partition("=")
        if key == field:
            return value.strip('"')
    raise RuntimeError(f"/etc/os-release has no {field}: the test machine is made of Debian's or Ubuntu's packages")


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _run(command: list[str], text: str = "", cwd: Path | None = None) -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, cwd=cwd, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]}: {done.stderr.strip() or f'status {done.returncode}'}")
    return done.stdout
