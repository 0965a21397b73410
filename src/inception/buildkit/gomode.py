"""st_mode as Go writes it (io/fs.FileMode), which is how Docker's and BuildKit's protocols say what a file is."""

from __future__ import annotations

import stat

DIR, LINK, DEVICE, PIPE, SOCKET, CHAR = 1 << 31, 1 << 27, 1 << 26, 1 << 25, 1 << 24, 1 << 21
IRREGULAR = 1 << 19
KINDS = DIR | LINK | DEVICE | PIPE | SOCKET | CHAR | IRREGULAR
_OF_KIND = {
    stat.S_IFDIR: DIR,
    stat.S_IFLNK: LINK,
    stat.S_IFBLK: DEVICE,
    stat.S_IFCHR: DEVICE | CHAR,
    stat.S_IFIFO: PIPE,
    stat.S_IFSOCK: SOCKET,
}
_BITS = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22, stat.S_ISVTX: 1 << 20}


def go_mode(mode: int) -> int:
    """*mode* is an st_mode."""
    return _OF_KIND.get(stat.S_IFMT(mode), 0) | sum(go for bit, go in _BITS.items() if mode & bit) | (mode & 0o777)


def permissions(mode: int) -> int:
    """Go's *mode* as chmod(2) takes it."""
    return mode & 0o777 | sum(bit for bit, go in _BITS.items() if mode & go)
