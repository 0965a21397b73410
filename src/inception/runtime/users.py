"""Who a container's process is: `user[:group]` and the image's own /etc/passwd and /etc/group.

The files are the image's, so hostile: they are opened beneath the root, only when regular, up to a bound, and parsed by us;
no library of the image is asked. A number is decimal and fits a uid, or it is a name; nothing turns into 0 by overflow
(CVE-2024-40635, CVE-2026-30892).
"""

from __future__ import annotations

from inception.errors import InvalidArgument, NotFound
from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from inception.linux.path import RootDir

# The kernel's ids are 32 bits; Docker takes 31, which keeps -1 and its neighbours out.
MAX_ID = (1 << 31) - 1
_MAX_BYTES = 4 << 20
_MAX_GROUPS = 65536


class ResolvedUser(Record):
    """`additional_gids` holds the user's groups from /etc/group, the primary one first, and those asked for."""

    uid: int
    gid: int
    additional_gids: list[int] = []
    home: str = "/"
    name: str = ""


def resolve_user(root: RootDir, user: str, group_add: list[str] | None = None) -> ResolvedUser:
    """Look up `user[:group]` (names or numbers; empty is root) in the image at *root*.

    A number needs no entry; a name does. Raises NotFound in Docker's words, InvalidArgument for what can't be an id.
    """
    user_part, colon, group_part = user.partition(":")
    if colon and not group_part:
        group_part = ""
    entry = _find_user(root, user_part or "0")
    uid = entry.uid if entry else _id(user_part)
    groups = list(_groups(root)) if group_part or group_add or entry else []
    gid = entry.gid if entry else 0
    extra: list[int] = []
    if group_part:
        gid = _find_group(groups, group_part)
    elif entry:
        extra = [group.gid for group in groups if entry.name in group.members]
    gids = dict.fromkeys([gid, *extra, *(_find_group(groups, name) for name in group_add or [])])
    if len(gids) > _MAX_GROUPS:
        raise InvalidArgument(f"user {user!r}: more than {_MAX_GROUPS} groups")
    return ResolvedUser(
        uid=uid,
        gid=gid,
        additional_gids=list(gids),
        home=(entry.home if entry else "") or "/",
        name=entry.name if entry else "",
    )


def home_of(root: RootDir, uid: int, passwd: str = "etc/passwd") -> str:
    """The home of the first user with this number, else `/`. Raises InvalidArgument for a file that is a trap."""
    return _home(_lines(root, passwd), uid)


def home_in(data: bytes, uid: int) -> str:
    """The same where *data* is what the file holds."""
    return _home(_split(data), uid)


def _home(lines: Iterator[list[str]], uid: int) -> str:
    for fields in lines:
        if len(fields) > 5 and _number(fields[2]) == uid:
            return fields[5] or "/"
    return "/"


class _User(Record):
    name: str
    uid: int
    gid: int
    home: str


class _Group(Record):
    name: str
    gid: int
    members: list[str]


def _find_user(root: RootDir, wanted: str) -> _User | None:
    """The entry of that name; without one, of that number. NotFound for a name without an entry."""
    number = _number(wanted)
    by_number: _User | None = None
    for fields in _lines(root, "etc/passwd"):
        if len(fields) < 4 or not fields[0]:
            continue
        uid, gid = _number(fields[2]), _number(fields[3])
        if uid is None or gid is None:
            continue  # a line that is no entry; a process never becomes root through it
        entry = _User(name=fields[0], uid=uid, gid=gid, home=fields[5] if len(fields) > 5 else "")
        # Digits are an id, also when someone has a name of digits: what is asked for is what runs.
        if number is None and fields[0] == wanted:
            return entry
        if number is not None and uid == number and by_number is None:
            by_number = entry
    if number is None:
        if wanted[:1] in "-+0123456789 \t":
            _id(wanted)  # raises: it was meant as a number
        raise NotFound(f"unable to find user {wanted}: no matching entries in passwd file")
    return by_number


def _find_group(groups: list[_Group], wanted: str) -> int:
    number = _number(wanted)
    if number is not None:
        return number
    for group in groups:
        if group.name == wanted:
            return group.gid
    if wanted[:1] in "-+0123456789 \t":
        _id(wanted)
    raise NotFound(f"unable to find group {wanted}: no matching entries in group file")


def _groups(root: RootDir) -> Iterator[_Group]:
    for fields in _lines(root, "etc/group"):
        gid = _number(fields[2]) if len(fields) > 2 else None
        if fields[0] and gid is not None:
            yield _Group(name=fields[0], gid=gid, members=fields[3].split(",") if len(fields) > 3 else [])


def _lines(root: RootDir, path: str) -> Iterator[list[str]]:
    try:
        data = root.read_bytes(path, _MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise InvalidArgument(f"/{path} of the image: {error.strerror}") from error
    yield from _split(data)


def _split(data: bytes) -> Iterator[list[str]]:
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        line = line.strip()
        if line and not line.startswith("#"):
            yield line.split(":")


def _number(text: str) -> int | None:
    """A decimal id in range; None for anything else."""
    if text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= MAX_ID:
        return int(text)
    return None


def _id(text: str) -> int:
    number = _number(text or "0")
    if number is None:
        raise InvalidArgument(f"user {text!r}: uids and gids must be in range 0-{MAX_ID}")
    return number
