"""criu, asked over its RPC: messages of protobuf, one a packet, on a pair of sockets.

    we                               criu swrk 3
    request: type, options   ───▶
                             ◀───    NOTIFY: what is about to happen, a pid, perhaps a descriptor      any number of times
    NOTIFY: go on            ───▶
                             ◀───    the answer: success, or an errno and words
    its log has the reason of a failure

criu is our child, and so is what it restores.
Source: criu's images/rpc.proto (/usr/include/criu/rpc.proto of its package), whose numbers are below; criu.org, "RPC".
"""

from __future__ import annotations

import fcntl
import os
import select
import socket

from inception.errors import InvalidArgument, Unavailable
from inception.linux.files import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Notified = Callable[[str, int, list[int]], None]

DUMP, RESTORE, _PRE_DUMP, _NOTIFY, _FEATURE_CHECK, _VERSION, _SINGLE_PRE_DUMP = 1, 2, 4, 6, 9, 10, 13
CGROUP_MODES = {"": 6, "ignore": 0, "none": 1, "props": 2, "soft": 3, "full": 4, "strict": 5}
LOG_LEVEL = 3  # with 4 damaged images can make it write a gigabyte of log in half a minute
_TICK_S = 1.0
PROGRAM = "INCEPTION_CRIU"  # in the environment: a criu of another place
# Fixed places: a PATH that a caller set must not choose what runs as root. criu finds its own helpers (tar, ip) in them too.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SOCKET, IMAGES, WORK, INHERITED = 3, 4, 5, 6  # descriptors in criu
_HIGH = 256  # above every number that a descriptor gets in criu
_MAX_BYTES = 1 << 16
_SHOWN = 3  # lines of criu's log
_EFFECTS = (
    "Restoring FAILED",
    "Dumping FAILED",
    "Dump files (pid: ",
    "cg: cgroupd: recv req error",
)  # of another, which says more
_HARMLESS = ("tun: ", "rlimit: ")  # what it looks for, or would like, and can do without
CHECK_HINT = "`criu check -v4` tells whether criu and this kernel work together"

# name -> its number, and what its fields are if it is a message.
_PAIR = {"key": 1, "val": 2}
_OPTIONS: dict[str, Any] = {
    "images_dir_fd": 1,
    "pid": 2,
    "leave_running": 3,
    "ext_unix_sk": 4,
    "tcp_established": 5,
    "evasive_devices": 6,
    "shell_job": 7,
    "file_locks": 8,
    "log_level": 9,
    "log_file": 10,
    "ps": (11, {"address": 1, "port": 2}),
    "notify_scripts": 12,
    "root": 13,
    "parent_img": 14,
    "track_mem": 15,
    "auto_dedup": 16,
    "work_dir_fd": 17,
    "link_remap": 18,
    "ext_mnt": (23, _PAIR),
    "manage_cgroups": 24,
    "cg_root": (25, {"ctrl": 1, "path": 2}),
    "rst_sibling": 26,
    "inherit_fd": (27, {"key": 1, "fd": 2}),
    "manage_cgroups_mode": 34,
    "external": 37,
    "empty_ns": 38,
    "join_ns": (39, {"ns": 1, "ns_file": 2}),
    "freeze_cgroup": 44,
    "tcp_skip_in_flight": 46,
    "lazy_pages": 48,
    "orphan_pts_master": 50,
    "config_file": 51,
    "lsm_profile": 53,
    "lsm_mount_context": 63,
}
_FEATURES = {"mem_track": 1, "lazy_pages": 2}
_REQUEST = {"type": 1, "opts": (2, _OPTIONS), "notify_success": 3, "features": (5, _FEATURES)}
_ANSWER = {
    "type": 1,
    "success": 2,
    "restore": (4, {"pid": 1}),
    "notify": (5, {"script": 1, "pid": 2}),
    "cr_errno": 7,
    "features": (8, _FEATURES),
    "cr_errmsg": 9,
    "version": (10, {"major": 1, "minor": 2, "sublevel": 4}),
}


class Stuck(Unavailable):
    """Damaged images can make criu wait for ever, or spin."""


class Criu:
    """The program, found and asked for its version."""

    def __init__(self, program: str = "") -> None:
        """*program* is a path, or empty for `$INCEPTION_CRIU` or where packages put it.

        Raises InvalidArgument when that isn't there, Unavailable when there is none.
        """
        named = f"--criu {program}" if program else f"INCEPTION_CRIU={os.environ.get(PROGRAM, '')}"
        self.program = program or os.environ.get(PROGRAM, "")
        if self.program and not os.access(self.program, os.X_OK):
            raise InvalidArgument(f"{named}: there is no such program")
        self.program = self.program or next(
            (path for folder in _PATH.split(":") if os.access(path := f"{folder}/criu", os.X_OK)), ""
        )
        if not self.program:
            raise Unavailable("criu isn't installed", hint="apt install criu")
        self._version = 0

    @property
    def version(self) -> int:
        """31701 is 3.17.1."""
        if not self._version:
            found = self._ask({"type": _VERSION})["version"]
            self._version = found["major"] * 10000 + found["minor"] * 100 + found.get("sublevel", 0)
        return self._version

    @property
    def pre_dump(self) -> int:
        """The request for one dump of the memory alone; an older criu waits for the next, and grumbles when none comes."""
        return _SINGLE_PRE_DUMP if self.version >= 31700 else _PRE_DUMP

    def need(self, version: int, what: str) -> None:
        """Raises Unavailable when criu is older than *version*, which *what* needs."""
        if self.version < version:
            raise Unavailable(f"{what} needs criu {_dotted(version)} or newer; this is {_dotted(self.version)}")

    def need_feature(self, name: str, option: str) -> None:
        """Raises Unavailable when *name* can't be had of this criu and kernel; *option* asked for it."""
        try:
            found = self._ask({"type": _FEATURE_CHECK, "features": {name: True}}).get("features", {})
        except Unavailable as error:
            raise Unavailable(f"{option}: {error}", hint=CHECK_HINT) from None
        if not found.get(name):
            raise Unavailable(f"{option}: this kernel or criu {_dotted(self.version)} can't ({name})")

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        worker = Worker(self.program)
        try:
            return worker.ask(request)
        finally:
            worker.close()


class Worker:
    """One process of criu's, with the folders that *opened* gives as `IMAGES` and `WORK`, and *fds* from `INHERITED` on.

    *opened* is called in it before it is criu. The socket is made there too: criu looks for the folders among the
    descriptors of whoever made it, and must find them in the mount namespace that *opened* may have made.
    """

    def __init__(
        self,
        program: str,
        opened: Callable[[], list[int]] = list,
        fds: list[int] | None = None,
    ) -> None:
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            _become(program, opened, fds or [], theirs)
        theirs.close()
        _, handed, _, _ = socket.recv_fds(ours, 1, 1)
        self._socket = socket.socket(fileno=handed[0]) if handed else ours
        failure = ours.recv(1 << 12).decode(errors="replace")  # nothing, once it is criu
        if failure or not handed:
            self.close()
            raise Unavailable(f"{program}: {failure or 'did not start'}")
        ours.close()

    def ask(self, request: dict[str, Any], notified: Notified | None = None, patience_s: float | None = None) -> dict[str, Any]:
        """The answer to *request*. Raises Unavailable with criu's words when it says no, or ends without a word.

        *notified* gets what criu is about to do, a pid, and descriptors that it need not close. Raises Stuck when for
        *patience_s* nothing is heard of criu and nothing read by it or what it restores.
        """
        self._send(request)
        while True:
            try:
                data, fds = self._receive(patience_s)
            except ConnectionResetError:
                data, fds = b"", []
            try:
                if not data:
                    raise Unavailable("criu ended without an answer")
                answer = decode(data, _ANSWER)
                if answer.get("type") != _NOTIFY:
                    break
                told = answer.get("notify", {})
                if notified is not None:
                    notified(told.get("script", ""), told.get("pid", 0), fds)
            finally:
                for fd in fds:
                    os.close(fd)
            self._send({"type": _NOTIFY, "notify_success": True})
        if not answer.get("success"):
            raise Unavailable(_refusal(answer))
        return answer

    def _receive(self, patience_s: float | None) -> tuple[bytes, list[int]]:
        done, left = _bytes_read(), patience_s or 0.0
        while patience_s is not None and not select.select([self._socket], [], [], _TICK_S)[0]:
            done, before = _bytes_read(), done
            left = left - _TICK_S if done == before else patience_s
            if left <= 0:
                raise Stuck(f"criu has read nothing for {patience_s:.0f} s; the images may be damaged, or of another container")
        data, fds, _, _ = socket.recv_fds(self._socket, _MAX_BYTES, 4)
        return data, fds

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._socket.sendall(encode(message, _REQUEST))
        except OSError:
            raise Unavailable("criu ended without an answer") from None

    def close(self, *, kill: bool = False) -> None:
        """Let it end, which it does when nobody asks more; *kill* it when it was interrupted."""
        self._socket.close()
        if kill:
            os.kill(self.pid, 9)  # ours, and not reaped yet
        os.waitpid(self.pid, 0)


def _bytes_read() -> dict[str, bytes]:
    """By pid, what this process and those below it have read so far: what is restored is below us, beside criu."""
    found: dict[str, bytes] = {}
    pids = [str(os.getpid())]
    while pids:
        pid = pids.pop()
        try:
            found[pid] = read_file(f"/proc/{pid}/io").partition(b"\n")[0]
            for thread in os.listdir(f"/proc/{pid}/task"):
                pids += read_file(f"/proc/{pid}/task/{thread}/children").decode().split()
        except OSError:
            continue  # it has ended
    return found | {str(os.getpid()): b""}  # but for these files


def _refusal(answer: dict[str, Any]) -> str:
    number = answer.get("cr_errno", 0)
    words = answer.get("cr_errmsg", "") or (os.strerror(number) if number else "")
    return f"criu: {words.strip()}" if words else "criu refused"


def open_folders(*paths: str) -> list[int]:
    """Descriptors of folders."""
    return [os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) for path in paths]


def _become(program: str, opened: Callable[[], list[int]], fds: list[int], teller: socket.socket) -> None:
    """The forked child."""
    try:
        folders = opened()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        socket.send_fds(teller, [b"+"], [theirs.fileno()])
        told = fcntl.fcntl(teller.fileno(), fcntl.F_DUPFD_CLOEXEC, _HIGH)
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH) for fd in (ours.fileno(), *folders, *fds)]
        os.closerange(_SOCKET, _HIGH)
        for number, fd in enumerate(high, _SOCKET):
            os.dup2(fd, number)
        teller = socket.socket(fileno=told)
        os.execve(program, [program, "swrk", str(_SOCKET)], {**os.environ, "PATH": _PATH})
    except OSError as error:
        teller.send(str(error).encode())
    finally:
        os._exit(127)


def _dotted(version: int) -> str:
    """
    >>> _dotted(31701)
    '3.17.1'
    """
    return f"{version // 10000}.{version // 100 % 100}" + (f".{version % 100}" if version % 100 else "")


def log_errors(path: str) -> str:
    """The first errors of criu's log, without its times and places: what came first is the cause."""
    found: list[str] = []
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                _, error, text = line.partition("Error (")
                text = text.partition("): ")[2].strip()
                if error and text and len(found) < _SHOWN and not text.startswith(_HARMLESS):
                    found.append(text)
    except OSError:
        return ""
    return "; ".join([text for text in found if not text.startswith(_EFFECTS)] or found)


# ---- protobuf -----------------------------------------------------------------------------------------------------------


def encode(values: dict[str, Any], fields: dict[str, Any]) -> bytes:
    r"""A message. Source: protobuf.dev, "Encoding": a key is number << 3 | wire type, 0 a varint, 2 counted bytes.

    >>> encode({"type": 10}, _REQUEST)
    b'\x08\n'
    >>> encode({"opts": {"root": "/r", "external": ["a", "b"]}}, _REQUEST)
    b'\x12\x0cj\x02/r\xaa\x02\x01a\xaa\x02\x01b'
    """
    out = bytearray()
    for name, value in values.items():
        number, inner = fields[name] if isinstance(fields[name], tuple) else (fields[name], {})
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, int):  # bool too
                out += _varint(number << 3) + _varint(one & (1 << 64) - 1)
                continue
            data = encode(one, inner) if isinstance(one, dict) else os.fsencode(one)
            out += _varint(number << 3 | 2) + _varint(len(data)) + data
    return bytes(out)


def decode(data: bytes, fields: dict[str, Any]) -> dict[str, Any]:
    r"""A message's fields that are known here.

    >>> decode(b'\x08\x0a\x10\x01R\x04\x08\x03\x10\x11', _ANSWER)
    {'type': 10, 'success': 1, 'version': {'major': 3, 'minor': 17}}
    """
    known = {place[0] if isinstance(place, tuple) else place: name for name, place in fields.items()}
    found: dict[str, Any] = {}
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        value: Any
        if key & 7 == 0:
            value, at = _read_varint(data, at)
        elif key & 7 == 2:
            length, at = _read_varint(data, at)
            value, at = data[at : at + length], at + length
        else:
            raise Unavailable(f"criu: an answer of wire type {key & 7} is not understood")
        name = known.get(key >> 3)
        if name is None:
            continue
        if isinstance(value, bytes):
            value = decode(value, fields[name][1]) if isinstance(fields[name], tuple) else os.fsdecode(value)
        found[name] = value
    return found


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
