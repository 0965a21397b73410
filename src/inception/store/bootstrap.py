"""Base images from a distribution's own packages, for when no registry answers.

`debian:bookworm`, `debian:bookworm-slim`, `ubuntu:noble`: mmdebstrap puts the minimal system into a scratch folder, which is
then made as plain as the official images are and becomes a layer without a copy. `busybox:latest` is this machine's static
busybox and its links.

Reproducible: the same package versions give the same digest. Nothing of this run survives (logs, caches, lists, the machine's
name, random ids), and every time later than the newest file that a package brought is set to that file's.

mmdebstrap runs as root of a mount namespace of its own, with an empty environment and the system's PATH; its mounts can't
leak. The target is bound to one fixed path, so that apt's own unprivileged user can reach it and no path of ours is recorded.

The mirrors, proxies and date checks are this machine's (/etc/apt), when it runs the same distribution: what works here is
what will work in a container. Otherwise the distribution's own mirror is asked.
"""

from __future__ import annotations

import os
import stat
import time

from inception.errors import InvalidArgument, NotFound, Unavailable
from inception.oci.image import History, ImageConfig, ImageDocument, RootFs, host_platform
from inception.oci.reference import Reference
from inception.preload import command_of
from inception.record import Record
from inception.store.content import write_all
from inception.store.progress import Progress, silent
from inception.store.scratch import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.store import Store
    from inception.store.images import Image
    from inception.store.layers import Staged
    from inception.store.progress import OnProgress
    from inception.store.scratch import Scratch

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MMDEBSTRAP = "/usr/bin/mmdebstrap"
_BUSYBOX = ("/bin/busybox", "/usr/bin/busybox")
_TARGET = "/mnt"
_TIMEOUT_S = 1800.0
# shadow(5) counts days since a password change from it; a fixed one keeps /etc/shadow the same on every run.
_EPOCH = "1640995200"

# Tag -> suite. Numbers are the releases' own.
_SUITES = {
    "debian": {"bullseye": "bullseye", "11": "bullseye", "bookworm": "bookworm", "12": "bookworm", "trixie": "trixie",
               "13": "trixie", "latest": "trixie", "stable": "trixie", "forky": "forky", "sid": "sid", "unstable": "sid"},
    "ubuntu": {"focal": "focal", "20.04": "focal", "jammy": "jammy", "22.04": "jammy", "noble": "noble", "24.04": "noble",
               "latest": "noble"},
}  # fmt: skip
_COMPONENTS = {"debian": "main", "ubuntu": "main universe"}
_KEYRINGS = {
    "debian": "the package debian-archive-keyring",
    "ubuntu": "Ubuntu's package ubuntu-keyring (Debian's own archive may not have it)",
}
_SLIM = ("doc", "groff", "info", "linda", "lintian", "locale", "man")

# What the official images set, so that Dockerfiles behave: no daemon starts while packages are installed, no package stays in
# apt's cache, dpkg doesn't sync each file of a layer that is synced as a whole.
_FILES = {
    "usr/sbin/policy-rc.d": (
        0o755,
        "#!/bin/sh\n# No service starts while packages are being installed in an image.\nexit 101\n",
    ),
    "etc/dpkg/dpkg.cfg.d/docker-apt-speedup": (0o644, "# An image layer is kept or dropped as a whole.\nforce-unsafe-io\n"),
    "etc/apt/apt.conf.d/docker-clean": (
        0o644,
        'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };\n'
        'APT::Update::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };\n'
        'Dir::Cache::pkgcache "";\nDir::Cache::srcpkgcache "";\n',
    ),
    "etc/apt/apt.conf.d/docker-no-languages": (0o644, 'Acquire::Languages "none";\n'),
    "etc/apt/apt.conf.d/docker-gzip-indexes": (0o644, 'Acquire::GzipIndexes "true";\n'),
    "etc/apt/apt.conf.d/docker-autoremove-suggests": (0o644, 'Apt::AutoRemove::SuggestsImportant "false";\n'),
    "etc/hostname": (0o644, ""),
    "etc/hosts": (0o644, ""),
    "etc/resolv.conf": (0o644, ""),
}
# What this run left behind and no container needs.
_LEFTOVERS = ("var/log", "var/cache/apt", "var/cache/ldconfig", "var/lib/apt/lists", "tmp", "var/tmp", "dev")
_LEFTOVER_FILES = ("etc/machine-id", "var/lib/dbus/machine-id", "etc/apt/sources.list", "etc/apt/apt.conf.d/99mmdebstrap",
                   "etc/dpkg/dpkg.cfg.d/99mmdebstrap", "var/lib/systemd/random-seed", "etc/.pwd.lock")  # fmt: skip


class Recipe(Record):
    """What a name means here: a distribution's suite, slim or not."""

    distribution: str
    suite: str
    slim: bool = False


def find_recipe(name: str) -> Recipe | None:
    """How *name* can be made on this machine, or None when it is none of ours. Does not look for mmdebstrap."""
    reference = Reference.parse(name)
    if reference.digest:
        return None
    distribution = reference.familiar_repository
    if distribution == "busybox":
        return Recipe(distribution="busybox", suite=reference.tag) if reference.tag == "latest" else None
    tag = reference.tag
    suite = _SUITES.get(distribution, {}).get(tag.removesuffix("-slim"))
    if suite is None or (tag.endswith("-slim") and distribution != "debian"):
        return None
    return Recipe(distribution=distribution, suite=suite, slim=tag.endswith("-slim"))


def bootstrap(store: Store, name: str, progress: OnProgress = silent) -> Image:
    """Makes the base image *name* and gives it that name.

    Raises NotFound when there is no recipe for it, Unavailable when mmdebstrap or its mirror fails.
    """
    recipe = find_recipe(name)
    if recipe is None:
        raise NotFound(
            f"bootstrap {name}: no recipe for it",
            f"there are recipes for busybox:latest and {', '.join(f'{d}:SUITE' for d in _SUITES)}",
        )
    familiar = Reference.parse(name).familiar
    with store.lease(), store.scratch() as scratch:
        if recipe.distribution == "busybox":
            progress(Progress(status=f"{familiar}: made from this machine's static busybox"))
            staged, created = _stage_busybox(store, scratch)
            config = ImageConfig(cmd=["sh"], env=[f"PATH={PATH}"])
        else:
            progress(
                Progress(status=f"{familiar}: made from the packages of {recipe.distribution} {recipe.suite} by mmdebstrap")
            )
            staged, created = _stage_distribution(store, scratch, recipe)
            config = ImageConfig(cmd=["bash" if recipe.distribution == "debian" else "/bin/bash"], env=[f"PATH={PATH}"])
        platform = host_platform()
        document = ImageDocument(
            created=created,
            architecture=platform.architecture,
            os=platform.os,
            variant=platform.variant,
            config=config,
            rootfs=RootFs(diff_ids=[staged.diff_id]),
            history=[History(created=created, created_by=f"inception image bootstrap {familiar}")],
        )
        return store.images.create(document, [staged], names=[familiar])


def _stage_distribution(store: Store, scratch: Scratch, recipe: Recipe) -> tuple[Staged, str]:
    if os.geteuid() != 0:
        raise Unavailable("bootstrap: making a base image from packages needs root", "pull or load an image instead")
    if not os.access(_MMDEBSTRAP, os.X_OK):
        raise Unavailable(f"bootstrap: {_MMDEBSTRAP} is not there", "apt-get install mmdebstrap")
    check_keyring(recipe)
    root = f"{scratch.path}/root"
    os.mkdir(root, 0o755)
    os.chmod(root, 0o755)
    started_ns = time.time_ns()
    sources, settings = machine_sources(recipe) or own_sources(recipe), machine_settings()
    _run_mmdebstrap(root, recipe, sources, settings)
    tidy(root, recipe, sources, settings)
    newest_ns = _newest_before(root, started_ns)
    return store.layers.stage_folder(root, clamp_mtime_ns=newest_ns), _timestamp(newest_ns)


def check_keyring(recipe: Recipe, etc: str = "/etc", keyrings: str = "/usr/share/keyrings") -> None:
    """Raises Unavailable where nothing on this machine could say that a package is the distribution's own."""
    path = f"{keyrings}/{recipe.distribution}-archive-keyring.gpg"
    if not os.path.exists(path) and not machine_sources(recipe, etc):
        raise Unavailable(
            f"bootstrap {recipe.distribution}:{recipe.suite}: the keys of its archive are not on this machine: no {path}",
            f"install {_KEYRINGS[recipe.distribution]}, or pull or load the image",
        )


def _run_mmdebstrap(root: str, recipe: Recipe, sources: str, settings: list[str]) -> None:
    import subprocess  # twenty seconds of packages follow

    command = [_MMDEBSTRAP, "--mode=root", "--variant=minbase", "--format=directory", "--quiet"]
    command += [f"--aptopt={setting}" for setting in settings]
    if recipe.slim:
        command += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _SLIM]
        command += ["--dpkgopt=path-include=/usr/share/doc/*/copyright"]
    if recipe.distribution == "ubuntu":  # where apt and the keys that it asks for are not of the smallest system
        command.append("--include=apt,ubuntu-keyring")
    command += [recipe.suite, _TARGET]
    if sources:
        command.append("-")
    proxies = {key: value for key, value in os.environ.items() if key in ("http_proxy", "https_proxy", "no_proxy")}
    environment = {"PATH": PATH, "LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": _EPOCH, "HOME": "/root", "TMPDIR": "/tmp", **proxies}
    try:
        done = subprocess.run(
            [*command_of("inception.store.bootstrap"), root, *command],
            input=sources.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd="/",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"bootstrap {recipe.suite}: mmdebstrap gave no end in {_TIMEOUT_S:.0f} s") from None
    if done.returncode != 0:
        lines = done.stdout.decode(errors="replace").splitlines()
        causes = [line for line in lines if line.startswith("E:")] or lines[-1:]
        raise Unavailable(
            f"bootstrap {recipe.suite}: mmdebstrap: {'; '.join(causes) or f'status {done.returncode}'}",
            "is the package mirror of this machine reachable (/etc/apt), and the distribution's keyring installed?",
        )


def tidy(root: str, recipe: Recipe, sources: str, settings: list[str]) -> None:
    """Takes away what belongs to this run or this machine, and writes what the official images have."""
    for name in _LEFTOVERS:
        _empty(f"{root}/{name}")
    for name in _LEFTOVER_FILES:
        remove_tree(f"{root}/{name}")
    for folder, endings in (("var/cache/debconf", "-old"), ("var/lib/dpkg", "-old"), ("etc", "-")):
        for name in os.listdir(f"{root}/{folder}"):
            if name.endswith(endings):
                remove_tree(f"{root}/{folder}/{name}")
    files = dict(_FILES)
    if sources:
        _empty(f"{root}/etc/apt/sources.list.d")
        files[f"etc/apt/sources.list.d/{recipe.distribution}.sources"] = (0o644, sources)
    if settings:
        files["etc/apt/apt.conf.d/99machine"] = (0o644, "".join(f"{setting};\n" for setting in settings))
    if recipe.slim:
        lines = [f"path-exclude=/usr/share/{name}/*\n" for name in _SLIM]
        files["etc/dpkg/dpkg.cfg.d/docker-slim"] = (0o644, "".join(lines) + "path-include=/usr/share/doc/*/copyright\n")
    for name, (mode, text) in files.items():
        _write(f"{root}/{name}", mode, text)


def own_sources(recipe: Recipe, machine: str = os.uname().machine) -> str:
    """The package sources that the distribution gives its own images."""
    suite, keyring = recipe.suite, f"/usr/share/keyrings/{recipe.distribution}-archive-keyring.gpg"
    if recipe.distribution == "ubuntu":
        mirror = "archive.ubuntu.com/ubuntu" if machine == "x86_64" else "ports.ubuntu.com/ubuntu-ports"
        places = [(f"http://{mirror}", f"{suite} {suite}-updates {suite}-security")]
    elif suite == "sid":
        places = [("http://deb.debian.org/debian", suite)]
    else:
        places = [
            ("http://deb.debian.org/debian", f"{suite} {suite}-updates"),
            ("http://deb.debian.org/debian-security", f"{suite}-security"),
        ]
    rest = f"Components: {_COMPONENTS[recipe.distribution]}\nSigned-By: {keyring}\n"
    return "\n".join(f"Types: deb\nURIs: {uri}\nSuites: {suites}\n{rest}" for uri, suites in places)


def machine_sources(recipe: Recipe, etc: str = "/etc") -> str:
    """This machine's package sources for *recipe*'s suite in apt's deb822 form; empty when it runs another distribution."""
    release = dict(line.strip().split("=", 1) for line in _lines(f"{etc}/os-release") if "=" in line)
    if release.get("ID", "").strip('"') != recipe.distribution:
        return ""
    own = release.get("VERSION_CODENAME", "").strip('"')
    stanzas: list[str] = []
    for stanza in _stanzas(etc):
        suites = [suite for suite in stanza["suites"] if suite == own or suite.startswith(f"{own}-")]
        wanted = [suite.replace(own, recipe.suite, 1) for suite in suites if not suite.endswith("-backports")]
        if recipe.suite == "sid":
            wanted = [suite for suite in wanted if suite == "sid"]
        if wanted and _COMPONENTS[recipe.distribution].split()[0] in stanza["components"]:
            text = f"Types: deb\nURIs: {' '.join(stanza['uris'])}\nSuites: {' '.join(wanted)}\n"
            text += f"Components: {_COMPONENTS[recipe.distribution]}\n"
            stanzas.append(text + (f"Signed-By: {stanza['signed-by'][0]}\n" if stanza["signed-by"] else ""))
    return "\n".join(stanzas)


def machine_settings() -> list[str]:
    """Proxies and date checks that this machine's apt is told, as apt.conf lines without the semicolon."""
    import subprocess

    try:
        done = subprocess.run(
            ["/usr/bin/apt-config", "dump", "Acquire"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": PATH, "LC_ALL": "C"},
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    wanted = ("Acquire::http::Proxy ", "Acquire::https::Proxy ", "Acquire::Check-Valid-Until ", "Acquire::Check-Date ")
    lines = done.stdout.decode(errors="replace").splitlines()
    return [line.rstrip(";") for line in lines if line.startswith(wanted) and not line.endswith('"";')]


def _stanzas(etc: str) -> list[dict[str, list[str]]]:
    """The `deb` entries of sources.list and sources.list.d, both forms. Source: sources.list(5)."""
    found: list[dict[str, list[str]]] = []
    folder = f"{etc}/apt/sources.list.d"
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    for path in [f"{etc}/apt/sources.list", *(f"{folder}/{name}" for name in names)]:
        if path.endswith(".list"):
            found += [entry for line in _lines(path) if (entry := _one_line(line))]
        elif path.endswith(".sources"):
            for block in "".join(line for line in _lines(path) if not line.startswith("#")).split("\n\n"):
                fields = {"uris": [], "suites": [], "components": [], "signed-by": [], "types": [], "enabled": []}  # type: dict[str, list[str]]
                for line in block.splitlines():
                    key, colon, value = line.partition(":")
                    if colon and key.lower() in fields:
                        fields[key.lower()] = value.split()
                if "deb" in fields["types"] and fields["enabled"] != ["no"]:
                    found.append(fields)
    return found


def _one_line(line: str) -> dict[str, list[str]] | None:
    words = line.partition("#")[0].split()
    if not words or words[0] != "deb":
        return None
    signed: list[str] = []
    if len(words) > 1 and words[1].startswith("["):
        end = next((i for i, word in enumerate(words) if word.endswith("]")), 0)
        options = " ".join(words[1 : end + 1]).strip("[]").split()
        signed = [option.partition("=")[2] for option in options if option.startswith("signed-by=")]
        words = words[:1] + words[end + 1 :]
    if len(words) < 4:
        return None
    return {"uris": [words[1]], "suites": [words[2]], "components": words[3:], "signed-by": signed}


def _stage_busybox(store: Store, scratch: Scratch) -> tuple[Staged, str]:
    import subprocess

    binary = next((path for path in _BUSYBOX if os.access(path, os.X_OK)), None)
    if binary is None:
        raise Unavailable("bootstrap busybox: no busybox on this machine", "apt-get install busybox-static")
    with open(binary, "rb") as file:
        program, modified_ns = file.read(), os.fstat(file.fileno()).st_mtime_ns
    if not is_static(program):
        raise Unavailable(f"bootstrap busybox: {binary} is not statically linked", "apt-get install busybox-static")
    listed = subprocess.run([binary, "--list-full"], stdout=subprocess.PIPE, env={}, timeout=30, check=True)
    root = f"{scratch.path}/root"
    for name, mode in (("", 0o755), *((n, 0o755) for n in ("bin", "sbin", "etc", "usr", "usr/bin", "usr/sbin", "home", "var")),
                       ("root", 0o700), ("tmp", 0o1777), ("dev", 0o755), ("proc", 0o755), ("sys", 0o755)):  # fmt: skip
        os.mkdir(f"{root}/{name}")
        os.chmod(f"{root}/{name}", mode)
    _write(f"{root}/bin/busybox", 0o755, program)
    for line in sorted(listed.stdout.decode().split()):
        path = line.strip("/")
        if path.rpartition("/")[0] in ("bin", "sbin", "usr/bin", "usr/sbin") and path != "bin/busybox":
            os.link(f"{root}/bin/busybox", f"{root}/{path}")
    _write(f"{root}/etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n")
    _write(f"{root}/etc/group", 0o644, "root:x:0:\nnogroup:x:65534:\n")
    for name in ("hostname", "hosts", "resolv.conf"):
        _write(f"{root}/etc/{name}", 0o644, "")
    return store.layers.stage_folder(
        root,
        clamp_mtime_ns=modified_ns,
    ), _timestamp(modified_ns)


def is_static(program: bytes) -> bool:
    """Whether an ELF file names no interpreter (PT_INTERP). Source: elf(5)."""
    import struct

    if program[:6] not in (b"\x7fELF\x02\x01",):  # 64 bit, little endian: every machine we run on
        raise InvalidArgument("not a 64-bit ELF program")
    (offset,) = struct.unpack_from("<Q", program, 32)
    size, count = struct.unpack_from("<HH", program, 54)
    return all(struct.unpack_from("<I", program, offset + i * size)[0] != 3 for i in range(count))


def _newest_before(root: str, before_ns: int) -> int:
    """The latest time of a file that a package brought: those that this run wrote are later than *before_ns*."""
    newest = 0
    for _, _, files, fd in os.fwalk(f"{root}/usr", follow_symlinks=False):
        for name in files:
            found = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mtime_ns
            if newest < found < before_ns:
                newest = found
    return newest


def _timestamp(time_ns: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time_ns // 1_000_000_000))


def _empty(path: str) -> None:
    """Removes all files beneath a folder and all folders that are not there for a package: those directly in it stay."""
    if not os.path.isdir(path) or os.path.islink(path):
        return
    for name in os.listdir(path):
        child = f"{path}/{name}"
        if stat.S_ISDIR(os.lstat(child).st_mode) and path.rpartition("/")[2] not in ("dev", "lists", "tmp"):
            _empty(child)
        else:
            remove_tree(child)


def _write(path: str, mode: int, data: str | bytes) -> None:
    remove_tree(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        write_all(fd, data.encode() if isinstance(data, str) else data)
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return list(file)
    except OSError:
        return []


def main(arguments: list[str]) -> None:
    """ROOT COMMAND...: the command in a mount namespace where ROOT is at `/mnt`."""
    from inception.linux import abi, mount, namespaces

    namespaces.unshare(abi.CLONE_NEWNS)
    mount.mount(None, "/", None, abi.MS_REC | abi.MS_PRIVATE)
    mount.mount(arguments[0], _TARGET, None, abi.MS_BIND)
    os.execve(arguments[1], arguments[1:], dict(os.environ))
