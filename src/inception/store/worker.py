"""The confined process that unpacks what strangers wrote.

    caller                                       python -I -m inception.store.worker
    opens the target folder; spawns      ───▶    imports what it needs, then gives everything up:
    stdin: the archive (a file or a pipe)          a mount namespace of its own, chroot into the target folder,
                                                   capabilities down to those of chown, mknod and xattrs,
                                                   no new files beyond a size, no core, bounded memory,
                                                   and of system calls those that unpacking needs (seccomp)
                                                 decompresses, hashes, extracts (extract.py)
    reads the outcome                    ◀───    one JSON line on stdout

A mistake in a decompressor or in the extractor is then a mistake in a process that sees one folder. It gets an empty
environment and no fd but those that are handed over. Whatever way it dies, the caller throws the half-made tree away.
"""

from __future__ import annotations

import errno
import os
import signal
from array import array
from functools import cache

from inception import errors, jsontext
from inception.errors import InceptionError, Unavailable
from inception.preload import command_of
from inception.record import decode, encode
from inception.store.content import chunks_of, write_all
from inception.store.extract import Extracted, ExtractOptions, Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import IO, Any, BinaryIO

_MEMORY = 1 << 30
_NEWS_MS = 100
# What decompression imports when it meets it; by then the file system of the host is out of reach.
_NEEDED_LATER = ("bz2", "lzma", "zlib", "zstandard", "isal.isal_zlib")
# What is left when all is imported and opened: files beneath one folder, memory, time, the end. No sockets, no processes, no
# mounts, no ptrace, no keys, no other fds than files. A call that isn't listed does not exist (ENOSYS).
_SYSTEM_CALLS = (
    "read readv pread64 write writev lseek close dup fcntl ftruncate fallocate fstat newfstatat statx fstatfs statfs "
    "getdents64 openat openat2 mkdirat mknodat symlinkat linkat unlinkat renameat2 fchown fchownat fchmod fchmodat chmod "
    "utimensat getcwd fsetxattr fgetxattr flistxattr lsetxattr setxattr readlinkat mmap munmap mremap mprotect madvise brk "
    "futex sched_yield getrandom clock_gettime clock_nanosleep gettimeofday getpid gettid getuid geteuid getgid getegid "
    "umask rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack restart_syscall exit exit_group"
)
# chown, dac_override, fowner, fsetid, mknod, setfcap and sys_admin (for trusted.*) by their numbers in linux/capability.h
_KEPT_CAPABILITIES = (0, 1, 3, 4, 21, 27, 31)


def unpack(
    source: BinaryIO | Iterable[bytes],
    root_fd: int,
    options: ExtractOptions = ExtractOptions(),
    limits: Limits = Limits(),
    tell: Callable[[int], None] | None = None,
) -> Extracted:
    """Extracts *source* (a file at its position, or chunks), compressed or not, into the folder *root_fd* in a process of
    its own. `diff_id` of the result is the digest of the uncompressed stream. *tell* hears how far a file has been read.

    Raises InvalidArgument for a bad archive, Unavailable for a full disk or when the process died.
    """
    import subprocess  # unpacking costs far more than this import

    request = {
        "parent": os.getpid(),
        "root": root_fd,
        "options": encode(options),
        "limits": encode(limits),
        "filter": _filter(),
    }
    file = _descriptor(source)
    process = subprocess.Popen(
        [*command_of("inception.store.worker", site=True), jsontext.dumps(request)],
        stdin=subprocess.PIPE if file is None else file,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[root_fd],
        env={},
        cwd="/",
    )
    try:
        if file is None and process.stdin is not None:
            _feed(process.stdin, _chunks(source))
        assert process.stdout is not None and process.stderr is not None
        if file is not None and tell is not None:
            _watch(process.stdout, file, tell)
        answer, complaint = process.stdout.read(), process.stderr.read()
        process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    return _outcome(answer, complaint, process.returncode)


@cache
def _filter() -> str:
    """The compiled filter, as hex digits: its tables are read once here instead of once a layer there."""
    from inception.linux.seccomp import compile_filter
    from inception.oci.runtime import Seccomp, SeccompSyscall

    allowed = SeccompSyscall(names=_SYSTEM_CALLS.split(), action="SCMP_ACT_ALLOW")
    description = Seccomp(default_action="SCMP_ACT_ERRNO", default_errno_ret=errno.ENOSYS, syscalls=[allowed])
    return compile_filter(description).hex()


def _descriptor(source: Any) -> int | None:
    """The descriptor that *source* reads from; None for chunks, and for streams that are in memory alone."""
    try:
        return int(source.fileno())
    except (AttributeError, OSError):
        return None


def _watch(answer: IO[bytes], file: int, tell: Callable[[int], None]) -> None:
    """Until the answer comes. The file is open once for both of us, so its position is how far the other has come."""
    import select

    poll = select.poll()
    poll.register(answer, select.POLLIN | select.POLLHUP)
    while not poll.poll(_NEWS_MS):
        try:
            tell(os.lseek(file, 0, os.SEEK_CUR))
        except OSError:
            return  # a pipe


def _chunks(source: Any) -> Iterable[bytes]:
    return iter(lambda: source.read(1 << 16), b"") if hasattr(source, "read") else source


def _feed(pipe: IO[bytes], chunks: Iterable[bytes]) -> None:
    try:
        for chunk in chunks:
            write_all(pipe.fileno(), chunk)
    except BrokenPipeError:
        pass  # it gave up on the archive, and says why
    finally:
        pipe.close()


def _outcome(answer: bytes, complaint: bytes, status: int) -> Extracted:
    try:
        value = jsontext.loads(answer)
    except ValueError:
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        last = complaint.decode(errors="replace").strip().rpartition("\n")[2]
        raise Unavailable(f"the process that unpacks archives {how}" + (f": {last}" if last else "")) from None
    if "error" in value:
        kind = getattr(errors, value["error"], InceptionError)
        raise kind(value["message"], value["hint"])
    return decode(Extracted, value["extracted"])


def main(arguments: list[str]) -> None:
    request = jsontext.loads(arguments[0])
    from inception.linux import process

    # Whoever spawned us sweeps up behind us; with it gone nobody would wait for what we write.
    process.set_pdeathsig(signal.SIGKILL)
    if os.getppid() != request["parent"]:
        return
    try:
        result = {"extracted": encode(_run(request))}
    except InceptionError as error:
        result = {"error": type(error).__name__, "message": str(error), "hint": error.hint}
    except MemoryError:
        result = {"error": "InvalidArgument", "message": "archive needs too much memory to unpack", "hint": ""}
    write_all(1, jsontext.dumps(result).encode())


def _run(request: dict[str, Any]) -> Extracted:
    import hashlib

    from inception.linux.path import RootDir
    from inception.store.compression import decompress
    from inception.store.extract import Extractor
    from inception.store.tar import TarReader

    for module in _NEEDED_LATER:
        __import__(module)
    options, limits = decode(ExtractOptions, request["options"]), decode(Limits, request["limits"])
    root = RootDir(request["root"])
    _confine(request["root"], limits)
    _filter_system_calls(bytes.fromhex(request["filter"]))
    hasher = hashlib.sha256()
    length = 0

    def hashed() -> Iterable[bytes]:
        nonlocal length
        for piece in decompress(chunks_of(open(0, "rb", buffering=0, closefd=False)), limits.max_ratio):
            hasher.update(piece)
            length += len(piece)
            yield piece

    reader = TarReader(hashed())
    extracted = Extractor(root, options, limits).run(reader)
    reader.drain()
    extracted.diff_id = f"sha256:{hasher.hexdigest()}"
    extracted.tar_bytes = length
    return extracted


def _confine(root_fd: int, limits: Limits) -> None:
    import resource

    from inception.linux import abi, namespaces, process

    os.umask(0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.max_bytes, limits.max_bytes))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    if os.geteuid() == 0:
        namespaces.unshare(abi.CLONE_NEWNS | abi.CLONE_NEWNET | abi.CLONE_NEWIPC)
        os.fchdir(root_fd)
        os.chroot(".")
        _keep_capabilities()
    process.set_no_new_privs()


def _filter_system_calls(program: bytes) -> None:
    """seccomp(2); struct sock_fprog is a length in instructions of eight bytes and a pointer."""
    import struct

    from inception.linux import abi
    from inception.linux.call import syscall

    code = array("B", program)  # it knows its address, for a hundredth of what ctypes costs
    header = struct.pack("=H6xQ", len(program) // 8, code.buffer_info()[0])
    syscall(abi.SYS_seccomp, abi.SECCOMP_SET_MODE_FILTER, 0, header)


def _keep_capabilities() -> None:
    """capset(2), version 3: effective, permitted and inheritable sets as two words each."""
    import struct

    from inception.linux import abi
    from inception.linux.call import syscall

    kept = sum(1 << number for number in _KEPT_CAPABILITIES)
    syscall(abi.SYS_capset, struct.pack("=Ii", 0x20080522, 0), struct.pack("=6I", kept, kept, 0, 0, 0, 0))
