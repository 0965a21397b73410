"""`linux.intelRdt`: the class of service and the monitoring group of a container, in a mounted resctrl filesystem.

    CLOS/              made by mkdir; its `schemata` say how much of caches and memory bandwidth it gets
    CLOS/tasks         a pid written here is in the class, and so is whatever it starts
    CLOS/mon_groups/ID a group of tasks of the class that is measured by itself

rmdir takes a group away with its files, and gives its tasks back to the one above. No machine with the hardware was there to
try this on: the tests use a folder in its place. Source: runtime-spec config-linux.md, "IntelRdt"; kernel
Documentation/arch/x86/resctrl.rst.
"""

from __future__ import annotations

import os

from inception.errors import Conflict, InvalidArgument, NotFound, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.oci.runtime import IntelRdt

_OWN = ("info", "mon_groups", "mon_data")  # the filesystem's own folders
_DEFAULT = "/"


def mounted() -> str | None:
    """Where the machine has resctrl."""
    with open("/proc/mounts", encoding="utf-8", errors="surrogateescape") as mounts:
        return next((line.split(" ")[1] for line in mounts if line.split(" ")[2] == "resctrl"), None)


def check_intel_rdt(rdt: IntelRdt, root: str | None) -> None:
    """Raises InvalidArgument for what can't be a class or a schema, or without resctrl at *root*."""
    name = rdt.clos_id
    if name != _DEFAULT and ("/" in name or "\0" in name or "\n" in name or name in (".", "..", *_OWN)):
        raise InvalidArgument(f"linux.intelRdt.closID: {name!r} is no name of a class")
    texts = [("l3CacheSchema", rdt.l3_cache_schema), ("memBwSchema", rdt.mem_bw_schema)]
    texts += [(f"schemata[{index}]", line) for index, line in enumerate(rdt.schemata)]
    for key, text in texts:
        if "\n" in text:
            raise InvalidArgument(f"linux.intelRdt.{key}: is more than one line")
    if rdt.mem_bw_schema and not rdt.mem_bw_schema.startswith("MB:"):
        raise InvalidArgument(f"linux.intelRdt.memBwSchema: {rdt.mem_bw_schema!r} does not start with MB:")
    if root is None:
        raise InvalidArgument("linux.intelRdt: this machine has no resctrl filesystem mounted")


def enter(rdt: IntelRdt, id: str, pid: int, root: str) -> list[str]:
    """Put *pid* in its class and monitoring group: the folders that go with the container, in the order of their removal.

    Raises NotFound for a class that should be there, Conflict for one with another schema, Unavailable with the kernel's words;
    then nothing that was made here is left.
    """
    name = rdt.clos_id or id
    clos = root if name == _DEFAULT else f"{root}/{name}"
    lines = [line for line in (rdt.l3_cache_schema, rdt.mem_bw_schema, *rdt.schemata) if line]
    made: list[str] = []
    try:
        if os.path.isdir(clos):
            _compare(clos, [line for line in (rdt.l3_cache_schema, rdt.mem_bw_schema) if line])
        elif rdt.clos_id and not lines:
            raise NotFound(f"linux.intelRdt.closID: there is no class {rdt.clos_id!r}, and no schema to make it with")
        else:
            _mkdir(clos, root)
            made.append(clos)
        for line in lines:
            _write(f"{clos}/schemata", line + "\n", root)
        _write(f"{clos}/tasks", str(pid), root)
        if rdt.enable_monitoring:
            group = f"{clos}/mon_groups/{id}"
            _mkdir(group, root)
            made.insert(0, group)
            _write(f"{group}/tasks", str(pid), root)
    except BaseException:
        remove(made)
        raise
    return [folder for folder in made if folder != clos or not rdt.clos_id]  # a class with a name stays for others


def update(rdt: IntelRdt, id: str, lines: list[str], root: str | None) -> None:
    """Other schemata for the class of a container. Raises Unavailable."""
    if root is None:
        raise Unavailable("this machine has no resctrl filesystem mounted")
    name = rdt.clos_id or id
    for line in lines:
        _write(f"{root if name == _DEFAULT else f'{root}/{name}'}/schemata", line + "\n", root)


def remove(folders: list[str]) -> None:
    """Take groups away; again is harmless."""
    for folder in folders:
        try:
            rmdir(folder)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise Unavailable(f"linux.intelRdt: {folder}: {error.strerror}") from error


rmdir = os.rmdir


def parse_schema(line: str) -> tuple[str, dict[str, int]]:
    """What is shared, and how much of it by domain.

    >>> parse_schema("   L3:0=7f0;1=1f")
    ('L3', {'0': 2032, '1': 31})
    >>> parse_schema("MB:0=20;1=70")
    ('MB', {'0': 20, '1': 70})
    """
    kind, _, rest = line.strip().partition(":")
    base = 10 if kind.startswith("MB") else 16  # percents; masks of bits
    found = {}
    for part in rest.split(";"):
        domain, _, value = part.partition("=")
        try:
            found[domain.strip()] = int(value, base)
        except ValueError:
            raise InvalidArgument(f"linux.intelRdt: {line.strip()!r} is no schema like L3:0=ff;1=f") from None
    return kind, found


def _compare(clos: str, lines: list[str]) -> None:
    """That a class which is there already has what is asked for."""
    if not lines:
        return
    with open(f"{clos}/schemata", encoding="utf-8") as file:
        there = dict(parse_schema(line) for line in file if line.strip())
    for line in lines:
        kind, wanted = parse_schema(line)
        has = there.get(kind, {})
        if any(has.get(domain) != value for domain, value in wanted.items()):
            raise Conflict(f"linux.intelRdt: the class {clos} is there with another schema than {line!r}")


def _mkdir(folder: str, root: str) -> None:
    try:
        os.mkdir(folder)
    except OSError as error:
        raise Unavailable(f"linux.intelRdt: {folder}: {error.strerror}{_reason(root)}") from error


def _write(path: str, text: str, root: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise Unavailable(f"linux.intelRdt: {path}: {error.strerror}{_reason(root)}") from error


def _reason(root: str) -> str:
    """What the kernel says of the last request that it refused."""
    try:
        with open(f"{root}/info/last_cmd_status", encoding="utf-8") as file:
            text = file.read().strip()
    except OSError:
        return ""
    return f" ({text})" if text and text != "ok" else ""
