"""`checkpoint` and `restore`: a container's processes to files and back, by criu."""

from __future__ import annotations

import functools
import os

from inception.errors import Conflict, InvalidArgument, Unavailable
from inception.record import replace
from inception.runtime.checkpoint import CriuOptions
from inception.runtime.cli_create import finish, load, options_of
from inception.runtime.cli_process import console_socket, own_terminal
from inception.runtime.create import create
from inception.runtime.criu import CGROUP_MODES
from inception.runtime.lifecycle import Container
from inception.runtime.restore import Restoration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.runtime.cli import Call

_SWITCHES = (
    "leave-running",
    "pre-dump",
    "tcp-established",
    "tcp-skip-in-flight",
    "ext-unix-sk",
    "shell-job",
    "file-locks",
    "link-remap",
    "auto-dedup",
    "lazy-pages",
)


def checkpoint(call: Call) -> int:
    """`checkpoint`"""
    container = Container(call.root, call.id)
    _, status = container.load()
    if status in ("created", "creating", "stopped"):
        raise Conflict(f"container cannot be checkpointed in {status} state")
    with _named("checkpoint", call.id):
        for warning in container.checkpoint(criu_options(call)):
            call.log.warn(warning)
    return 0


def restore(call: Call) -> int:
    """`restore`"""
    container, spec, bundle = load(call)
    with _named("restore", call.id):
        images = criu_options(call)
    assert spec.process is not None
    terminal, console = None, console_socket(call)
    if console is None and spec.process.terminal and not call.on("detach"):
        terminal = own_terminal()
        console = terminal.socket
    making = functools.partial(Restoration, images)
    with _named("restore", call.id):
        child = create(container.folder, spec, bundle, options_of(call, console), making)
    return finish(call, container, child, terminal)


class _named:
    """Errors of criu and its options say what was done to which container."""

    def __init__(self, operation: str, id: str) -> None:
        self._what = f"{operation} {id}"

    def __enter__(self) -> None:
        if os.geteuid():
            raise Unavailable(f"{self._what}: criu needs root")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (InvalidArgument, Unavailable)):
            raise type(error)(f"{self._what}: {error}", hint=error.hint) from None


def criu_options(call: Call) -> CriuOptions:
    """From the command line. Raises InvalidArgument naming the option."""
    mode = call.text("manage-cgroups-mode")
    if mode not in CGROUP_MODES:
        raise InvalidArgument(f"--manage-cgroups-mode {mode!r}: expected soft, full, strict or ignore")
    for kind in call.values.get("empty-ns", []):
        if kind != "network":
            raise InvalidArgument(f"--empty-ns {kind}: namespace {kind!r} is not supported, only network")
    images = os.path.abspath(call.text("image-path") or "checkpoint")
    found = CriuOptions(
        program=call.criu,
        images=images,
        work=os.path.abspath(call.text("work-path")) if call.text("work-path") else "",
        parent=_parent(call.text("parent-path"), images),
        page_server=_page_server(call.text("page-server")),
        cgroups_mode=mode,
        status_fd=_status_fd(call),
        lsm_profile=call.text("lsm-profile"),
        lsm_mount_context=call.text("lsm-mount-context"),
    )
    found = replace(found, **{name.replace("-", "_"): call.on(name) for name in _SWITCHES})
    if found.page_server is None and found.lazy_pages and call.verb == "checkpoint":
        raise InvalidArgument("--lazy-pages: needs --page-server ADDRESS:PORT, from which the pages are fetched")
    return found


def _parent(path: str, images: str) -> str:
    if path.startswith("/"):
        raise InvalidArgument("--parent-path must be relative to --image-path")
    place = os.path.normpath(f"{os.path.realpath(images)}/{path}")  # the images' folder may not be there yet
    if path and not os.path.isdir(place):
        raise InvalidArgument(f"invalid --parent-path: {place}: no such directory")
    return path


def _page_server(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    address, _, port = text.rpartition(":")
    address = address.removeprefix("[").removesuffix("]")
    if not address or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise InvalidArgument(f"--page-server {text!r}: expected ADDRESS:PORT")
    return address, int(port)


def _status_fd(call: Call) -> int:
    import fcntl

    fd = call.number("status-fd")
    if fd is None or fd == -1:
        return -1
    if not call.on("lazy-pages"):
        raise InvalidArgument("--status-fd: is written to with --lazy-pages only")
    try:
        writable = fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_WRONLY | os.O_RDWR)
    except (OSError, ValueError, OverflowError):
        raise InvalidArgument(f"--status-fd {fd}: is not open") from None
    if not writable:
        raise InvalidArgument(f"--status-fd {fd}: is not writable")
    return fd
