"""How each operation changes the files of its snapshot: commands in a sandbox, copies, archives, downloads, folders."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager

from inception.build.copy import Writer
from inception.build.inputs import files_copy
from inception.build.mounting import StepMounts
from inception.build.operations import Copy, MakeFolder, Run
from inception.build.remote import Remote, fetch, file_name
from inception.build.runstep import SCRIPT_FOLDER
from inception.build.selection import Selection, Source, select
from inception.build.source import CommandFailed
from inception.build.tree import Tree
from inception.engine.config import ContainerConfig, MountConfig, ResourceConfig
from inception.errors import InceptionError, InvalidArgument, StartFailed, Unavailable
from inception.linux import abi
from inception.linux.path import RootDir, openat2
from inception.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from inception.build.cache import BuildCache
    from inception.build.config import BuildConfig
    from inception.build.git import Repository
    from inception.build.inputs import Stack
    from inception.build.session import Session
    from inception.engine.exec import ExecProcess
    from inception.engine.sandbox import StepExtras

# What every sandbox mounts something on.
_STUBS = ("etc/resolv.conf", "etc/hosts", "etc/hostname", "etc", "dev", "proc", "sys")
_BENEATH: int = abi.RESOLVE_BENEATH | abi.RESOLVE_NO_SYMLINKS | abi.RESOLVE_NO_MAGICLINKS
# Of a failing command's output this much is kept for the report.
_TAIL_BYTES = 32 << 10
DOWNLOAD_MODE = 0o600


def run(build: Session, step: Run, snapshot_id: str, stack: Stack, on_output: Callable[[bytes, int], None]) -> None:
    """Raises CommandFailed, StartFailed."""
    tail = bytearray()

    def keep(stream: int, data: bytes) -> None:
        tail.extend(data)
        del tail[:-_TAIL_BYTES]
        on_output(data, stream)

    try:
        with StepMounts(build, step) as mounts:
            exit_code = _run(build, step, snapshot_id, mounts.extras, keep)
    except StartFailed as error:
        if error.exit_code == 126 and "xec format error" in str(error):
            error.hint = f"programs for {build.plan.platform} run where binfmt_misc knows qemu: install qemu-user-static"
        raise
    with build.store.snapshots.open_layers(stack.layer_ids) as lower:
        remove_stubs(build.store.snapshots.writable(snapshot_id), lower, [*mounts.targets, *_device_places(step)])
    if exit_code != 0:
        raise CommandFailed(step.args, exit_code, bytes(tail))


def _device_places(step: Run) -> list[str]:
    if not step.devices:
        return []
    from inception.engine.cdi import inject
    from inception.engine.spec import Surroundings

    around = Surroundings()
    inject(step.devices, around)
    return [mount.destination for mount in around.mounts]


@contextmanager
def open_shell(build: Session, step: Run, snapshot_id: str) -> Iterator[ExecProcess]:
    """A shell with a terminal where *step* has run, with all that it had."""
    from inception.engine.sandbox import open_step

    config = _container(build.config, step, build.scratch.path, f"{snapshot_id}.look")
    with StepMounts(build, step) as mounts:
        mounts.extras.env += step.uncached_env
        with open_step(build.engine, snapshot_id, replace(config, command=["/bin/sh"], tty=True), mounts.extras) as process:
            yield process


def _run(build: Session, step: Run, snapshot_id: str, extras: StepExtras, on_output: Callable[[int, bytes], None]) -> int:
    from inception.engine.sandbox import run_step

    extras.env += step.uncached_env
    watched: list[ExecProcess] = []

    def watch(process: ExecProcess) -> None:
        watched.append(process)
        build.watch(process)

    try:
        return run_step(
            build.engine,
            snapshot_id,
            _container(build.config, step, build.scratch.path, snapshot_id),
            on_output=on_output,
            extras=extras,
            on_process=watch,
        )
    finally:
        build.unwatch(watched)


def _container(config: BuildConfig, step: Run, scratch: str, snapshot_id: str) -> ContainerConfig:
    mounts = []
    if step.script is not None:
        name, text = step.script
        path = f"{scratch}/{snapshot_id}.script"
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o755)
        mounts.append(MountConfig(type="bind", source=path, target=f"{SCRIPT_FOLDER}/{name}", read_only=True))
    return ContainerConfig(
        image="",
        command=step.args,
        entrypoint=[],
        env=step.env,
        user=step.user,
        working_dir=step.working_dir,
        network_mode="bridge" if step.network == "default" else step.network,
        extra_hosts=config.extra_hosts,
        resources=replace(config.resources or ResourceConfig(), cdi_devices=step.devices),
        mounts=mounts,
        privileged=step.insecure,
    )


def remove_stubs(upper: str, lower: RootDir, targets: Sequence[str] = ()) -> None:
    """Takes away the empty files and folders that a sandbox's mounts (at *targets*, and its own) needed to stand on and that
    *lower* doesn't have, and copies of its folders that were made for nothing else.

    The step saw a mount in their place, so whatever lies there in *upper* is none of its work. It may have put links where
    they were (CVE-2024-23652): nothing here follows one.
    """
    paths = {*_STUBS}
    for target in targets:
        parts = [part for part in target.split("/") if part not in ("", ".")]
        paths |= {"/".join(parts[:end]) for end in range(1, len(parts) + 1)}
    with RootDir.open_host(upper) as root:
        # Inner paths first.
        for path in sorted(paths, key=lambda path: (-path.count("/"), path)):
            head, _, name = path.rpartition("/")
            try:
                parent = openat2(root.fd, head or ".", abi.O_PATH | os.O_DIRECTORY, 0, _BENEATH)
            except OSError:
                continue  # the step put something else there
            try:
                _remove_stub(parent, name, _stat(lower, path))
            except OSError:
                continue  # not there, or a folder that holds something
            finally:
                os.close(parent)


def _remove_stub(parent: int, name: str, below: os.stat_result | None) -> None:
    found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if stat.S_ISDIR(found.st_mode):
        if below is None or _is_plain_copy(parent, name, found, below):
            os.rmdir(name, dir_fd=parent)
    elif below is None and stat.S_ISREG(found.st_mode) and found.st_size == 0:
        os.unlink(name, dir_fd=parent)


def _is_plain_copy(parent: int, name: str, found: os.stat_result, below: os.stat_result) -> bool:
    """Whether a folder says nothing that the one below it doesn't: the kernel copied it up to make a stub in it."""
    if (found.st_mode, found.st_uid, found.st_gid) != (below.st_mode, below.st_uid, below.st_gid):
        return False
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        # An opaque folder hides what is below it: then it was removed and made again.
        return not any(each.endswith((".opaque", ".redirect")) for each in os.listxattr(fd))
    finally:
        os.close(fd)


def _stat(root: RootDir, path: str) -> os.stat_result | None:
    try:
        return root.stat(path, follow=False)
    except OSError:
        return None


def make_folder(root: RootDir, step: MakeFolder) -> None:
    """Raises InvalidArgument when something else is in the way."""
    owner = (0, 0)
    if step.user and not root.exists(step.path):  # a user that nobody knows matters only when something is made for it
        owner = _owner(root, step.user)
    try:
        os.close(root.mkdirs(step.path, 0o755, *owner))
    except NotADirectoryError:
        raise InvalidArgument(f"{step.path}: a part of it is not a directory") from None
    except OSError as error:
        raise Unavailable(f"mkdir {step.path}: {error.strerror}") from error


def copy(
    root: RootDir, step: Copy, selection: Selection | None, remotes: list[Remote], cache: BuildCache, scratch: str
) -> None:
    """COPY or ADD into *root*. Raises InvalidArgument, NotFound, Unavailable with Docker's words."""
    writer = Writer(root, step, _owner(root, step.chown) if step.chown else None)
    try:
        if selection is not None:
            rest = [source for source in selection.sources if not _unpacked(writer, step, selection.tree, source)]
            writer.copy(Selection(selection.tree, rest, selection.kept_owners))
        for name, text in step.files:
            writer.put(name, text.encode())
        for remote in remotes:
            _add_download(writer, step, fetch(remote, step.checksum, cache, scratch))
    finally:
        writer.close()


def copy_repository(root: RootDir, step: Copy, repository: Repository, commit: str, scratch: str) -> None:
    """The files of a commit into *root*. They are the checkout's as git made them, and belong to root or `--chown`."""
    from inception.build.git import checkout

    path = f"{scratch}/{os.urandom(8).hex()}"
    checkout(repository, commit, path)
    taken = replace(files_copy(repository.folder or ".", step.destination), exclude=step.exclude)
    with RootDir.open_host(path) as top:
        writer = Writer(root, step, _owner(root, step.chown) if step.chown else None)
        try:
            writer.copy(select(Tree(top.fd), taken))
        finally:
            writer.close()


def _owner(root: RootDir, chown: str) -> tuple[int, int]:
    """`user[:group]`: numbers need no lookup, a lone number is user and group; names are those of the step's own files."""
    user, _, group = chown.partition(":")
    if all(part.isascii() and part.isdecimal() and int(part) < 1 << 31 for part in (user, group or user)):
        return int(user), int(group or user)
    from inception.runtime.users import resolve_user

    found = resolve_user(root, chown)
    return found.uid, found.uid if user.isdecimal() and not group else found.gid


# --- ADD ---


def _unpacked(writer: Writer, step: Copy, tree: Tree, source: Source) -> bool:
    """Unpacks *source* when it is a local archive that ADD should unpack."""
    if step.unpack is False or source.is_dir or not stat.S_ISREG(source.node.stat.st_mode):
        return False
    with open(tree.open_file(source.node), "rb", buffering=0) as file:
        if not is_archive(file.fileno()):
            return False
        unpack(writer, step, file.fileno())
        return True


def is_archive(fd: int) -> bool:
    """Whether a tar entry can be read from the file *fd*, compressed or not; its name means nothing. Leaves it at its start."""
    from inception.store.compression import decompress
    from inception.store.tar import TarReader

    def chunks() -> object:
        while chunk := os.read(fd, 1 << 16):
            yield chunk

    try:
        return next(iter(TarReader(decompress(chunks()))), None) is not None  # type: ignore[arg-type]
    except InceptionError:
        return False
    finally:
        os.lseek(fd, 0, os.SEEK_SET)


def unpack(writer: Writer, step: Copy, fd: int) -> None:
    """The archive *fd* into the destination, by the store's extractor in its confined process."""
    from inception.store.extract import ExtractOptions
    from inception.store.worker import unpack as extract

    folder = writer.make_folder(step.destination)
    before = os.fstat(folder)
    options = ExtractOptions(destination=step.destination)
    if writer.owner is not None:
        options.uid, options.gid = writer.owner
    try:
        with open(os.dup(fd), "rb", buffering=0) as file:
            extract(file, writer.root.fd, options)
        # What an archive says of its own top is not for a folder that is there.
        place = f"/proc/self/fd/{folder}"
        os.chown(place, before.st_uid, before.st_gid)
        os.chmod(place, stat.S_IMODE(before.st_mode))
    finally:
        os.close(folder)


def _add_download(writer: Writer, step: Copy, remote: Remote) -> None:
    with open(remote.path, "rb", buffering=0) as file:
        if step.unpack and is_archive(file.fileno()):
            unpack(writer, step, file.fileno())
            return
        name = file_name(remote.url) if step.destination.endswith("/") else remote.name
        writer.put_file(name, file.fileno(), DOWNLOAD_MODE, remote.mtime_ns)
