"""`inception-runc`: the runtime as a command, with runc's command line, so that podman, containerd and dockerd can use it.

This module knows the commands and their options; `cli_help` shows them, `cli_create`, `cli_process`, `cli_control`, `cli_show`
and `cli_spec` run them and are imported by the one command that needs them. Exit codes: 0; the program's own for `run` and
`exec`; 1 for errors, 255 for those of `exec`, 3 for a command that does not exist. An error is one line on stderr and, with
--log, one in the log, where engines look for it.
"""

from __future__ import annotations

import gc
import os
import sys

from inception.errors import InceptionError, InvalidArgument, StartFailed
from inception.preload import preload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[["Call"], int]

NAME = "inception-runc"
_STARTED, _KEPT = "--started=", "--kept="  # for _shortcut.c alone
DEFAULT_ROOT = "/run/inception-runc"
_PREFIXED = {"create": f"{NAME} create failed: ", "run": f"{NAME} run failed: ", "exec": "exec failed: "}


class Verb:
    """One command: options that take a value, switches, one-letter names, and where its function is."""

    __slots__ = ("function", "module", "most", "ordered", "short", "summary", "switches", "usage", "valued")

    def __init__(
        self,
        place: str,
        usage: str,
        summary: str,
        *,
        valued: str = "",
        switches: str = "",
        short: str = "",
        most: int = 1,
        ordered: bool = False,
    ) -> None:
        self.module, _, self.function = place.partition(":")
        self.usage = usage
        self.summary = summary
        self.valued = frozenset(valued.split())
        self.switches = frozenset(switches.split()) | {"help"}
        self.short = {"h": "help", **dict(pair.split("=") for pair in short.split())}
        self.most = most  # arguments; the container's id is the first
        self.ordered = ordered  # what follows the first argument is not ours to read


_CREATE = "bundle config pid-file console-socket pidfd-socket preserve-fds"
_LIMITS = (
    "resources blkio-weight cpu-period cpu-quota cpu-burst cpu-share cpu-rt-period cpu-rt-runtime cpuset-cpus cpuset-mems "
    "cpu-idle kernel-memory kernel-memory-tcp memory memory-reservation memory-swap pids-limit l3-cache-schema mem-bw-schema"
)
_EXEC = (
    "console-socket pidfd-socket cwd env user additional-gids process pid-file process-label apparmor cap preserve-fds cgroup"
)
_CRIU = "tcp-established ext-unix-sk shell-job file-locks auto-dedup lazy-pages"
VERBS: dict[str, Verb] = {
    "create": Verb(
        "cli_create:create",
        "CONTAINER-ID",
        "create a container that waits for start",
        valued=_CREATE,
        switches="no-pivot no-new-keyring",
        short="b=bundle f=config",
    ),
    "start": Verb("cli_process:start", "CONTAINER-ID", "run the program of a created container"),
    "run": Verb(
        "cli_create:run",
        "CONTAINER-ID",
        "create and start a container",
        valued=_CREATE,
        switches="detach keep no-subreaper no-pivot no-new-keyring",
        short="b=bundle f=config d=detach",
    ),
    "exec": Verb(
        "cli_process:exec_",
        "CONTAINER-ID COMMAND [ARGUMENT...]",
        "run another program in a container",
        valued=_EXEC,
        switches="tty detach no-new-privs ignore-paused",
        short="t=tty d=detach u=user e=env p=process c=cap g=additional-gids",
        most=1 << 16,
        ordered=True,
    ),
    "state": Verb("cli_show:state", "CONTAINER-ID", "print a container's state as JSON"),
    "list": Verb("cli_show:list_", "", "list containers", valued="format", switches="quiet", short="f=format q=quiet", most=0),
    "ps": Verb(
        "cli_show:ps",
        "CONTAINER-ID [PS-OPTION...]",
        "list the processes of a container",
        valued="format",
        short="f=format",
        most=64,
        ordered=True,
    ),
    "kill": Verb(
        "cli_control:kill",
        "CONTAINER-ID [SIGNAL]",
        "send a signal (TERM) to a container's first process",
        switches="all regex",
        short="a=all r=regex",
        most=2,
    ),
    "delete": Verb("cli_control:delete", "CONTAINER-ID", "remove a container", switches="force regex", short="f=force r=regex"),
    "pause": Verb("cli_control:pause", "CONTAINER-ID", "freeze every process of a container"),
    "resume": Verb("cli_control:resume", "CONTAINER-ID", "let them go on"),
    "update": Verb("cli_control:update", "CONTAINER-ID", "change a container's limits", valued=_LIMITS, short="r=resources"),
    "events": Verb(
        "cli_show:events", "CONTAINER-ID", "print statistics and out-of-memory events", valued="interval", switches="stats"
    ),
    "spec": Verb(
        "cli_spec:spec", "", "write a config.json to start from", valued="bundle", switches="rootless", short="b=bundle", most=0
    ),
    "features": Verb("cli_spec:features", "", "print what this runtime supports as JSON", most=0),
    "checkpoint": Verb(
        "cli_checkpoint:checkpoint",
        "CONTAINER-ID",
        "save a running container to files, by criu",
        valued="image-path work-path parent-path page-server status-fd manage-cgroups-mode empty-ns",
        switches=f"leave-running pre-dump tcp-skip-in-flight link-remap {_CRIU}",
    ),
    "restore": Verb(
        "cli_checkpoint:restore",
        "CONTAINER-ID",
        "go on with a container that was saved, by criu",
        valued="bundle pid-file console-socket image-path work-path manage-cgroups-mode empty-ns lsm-profile lsm-mount-context",
        switches=f"detach no-subreaper no-pivot {_CRIU}",
        short="b=bundle d=detach",
    ),
}
GLOBAL = Verb(
    "",
    "COMMAND",
    "",
    valued="root log log-format rootless criu cgroup-manager",
    switches="debug systemd-cgroup version",
    short="v=version",
    ordered=True,
)
REFUSED = {
    "process-label": "the kernel has no SELinux",
    "kernel-memory": "no kernel that this runs on has the limit",
}


class Call:
    """One command as it was typed: options and arguments."""

    def __init__(self, words: list[str], verb: Verb) -> None:
        self.root = DEFAULT_ROOT
        self.log = Log()
        self.verb = ""  # by its name
        self.criu = ""  # the program of --criu
        self.systemd = False  # the cgroup driver of --systemd-cgroup
        self.rootless: bool | None = None  # of --rootless; None: auto
        self.kept = ""  # where `_shortcut.c` would find what this command does, if it were kept: runtime/kept.py
        self.started: tuple[int, int] | None = None  # what `_shortcut.c` hands over: a connection to init, and its pidfd
        self.values: dict[str, list[str]] = {}
        self.arguments: list[str] = []
        at = 0
        while at < len(words):
            word = words[at]
            at += 1
            if word == "--":
                self.arguments += words[at:]
                break
            if not word.startswith("-") or word == "-":
                self.arguments.append(word)
                if verb.ordered:
                    self.arguments += words[at:]
                    break
                continue
            at += self._option(word, words[at : at + 1], verb)

    def again(self, words: list[str]) -> Call:
        """The same command with other words."""
        return Call(words, VERBS[self.verb])

    def _option(self, word: str, following: list[str], verb: Verb) -> int:
        """Take one option; how many of the words after it were its value."""
        name, equals, value = word.lstrip("-").partition("=")
        name = verb.short.get(name, name)
        if name in verb.switches:
            if value not in ("", "true", "1", "false", "0"):
                raise InvalidArgument(f"invalid boolean value {value!r} for -{name}")
            if value in ("", "true", "1"):
                self.values[name] = ["true"]
        elif name not in verb.valued:
            raise InvalidArgument(f"flag provided but not defined: -{name}")
        elif equals:
            self.values.setdefault(name, []).append(value)
        elif not following:
            raise InvalidArgument(f"flag needs an argument: -{name}")
        else:
            self.values.setdefault(name, []).append(following[0])
        self._check(name)
        return 1 if name in verb.valued and not equals else 0

    def choose_cgroup_manager(self) -> None:
        """crun's way to say --systemd-cgroup. Raises InvalidArgument."""
        manager = self.text("cgroup-manager", "cgroupfs")
        if manager not in ("cgroupfs", "systemd"):
            raise InvalidArgument(f"invalid value {manager!r} for flag -cgroup-manager: expected cgroupfs or systemd")
        if manager == "systemd":
            self.values["systemd-cgroup"] = ["true"]

    def _check(self, name: str) -> None:
        if name in REFUSED and name in self.values:
            raise InvalidArgument(f"--{name}: {REFUSED[name]}")

    def text(self, name: str, default: str = "") -> str:
        """The last value of an option."""
        return self.values.get(name, [default])[-1]

    def on(self, name: str) -> bool:
        """Whether an option was given."""
        return name in self.values

    def number(self, name: str) -> int | None:
        """The value of a numeric option. Raises InvalidArgument."""
        if name not in self.values:
            return None
        text = self.text(name)
        try:
            return int(text, 0)
        except ValueError:
            raise InvalidArgument(f"invalid value {text!r} for flag -{name}: expected a number") from None

    def choice(self, name: str) -> bool | None:
        """The value of an option that is true, false or auto (None). Raises InvalidArgument."""
        text = self.text(name, "auto").lower()
        if text in ("", "auto"):
            return None
        if text not in ("1", "t", "true", "0", "f", "false"):
            raise InvalidArgument(f"invalid value {text!r} for flag -{name}: expected true, false or auto")
        return text in ("1", "t", "true")

    @property
    def id(self) -> str:
        """The container's."""
        return self.arguments[0]


class Log:
    """Where --log says, in the form that --log-format says; warnings and errors go to stderr without it."""

    def __init__(self, path: str = "", form: str = "text", *, debug: bool = False) -> None:
        if form not in ("text", "json"):
            raise InvalidArgument(f"invalid log-format: {form!r}: expected text or json")
        self.path = path
        self.form = form
        self.debug_on = debug
        self._fd = -1

    def open(self) -> None:
        """Raises InvalidArgument for one that can't be written: nothing is done of which nobody would learn how it went."""
        if self.path:
            try:
                self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            except OSError as error:
                path, self.path = self.path, ""
                raise InvalidArgument(f"open {path}: {(error.strerror or '').lower()}") from None

    def debug(self, message: str) -> None:
        if self.debug_on:
            self._write("debug", message)

    def warn(self, message: str) -> None:
        self._write("warning", message)

    def error(self, message: str, shown: str = "") -> None:
        """In the log; and on stderr, for people, or as *shown*."""
        if self.path:
            self._write("error", message)
        if self.path or self.form == "text":
            print(shown or message, file=sys.stderr)
        else:
            self._write("error", message)

    def _write(self, level: str, message: str) -> None:
        import time

        from inception.jsontext import compact

        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self.form == "json":
            line = compact({"level": level, "msg": message, "time": now})
        else:
            line = f'time="{now}" level={level} msg={compact(message)}'
        if self._fd < 0:
            print(line, file=sys.stderr)
        else:
            os.write(self._fd, (line + "\n").encode(errors="surrogateescape"))


def main() -> None:
    """The command. What lives for milliseconds need not be collected, nor taken apart at its end: 2 to 4 ms of 30."""
    gc.disable()
    words, started, kept = sys.argv[1:], None, ""
    if words and words[0].startswith(_STARTED):
        channel, _, pidfd = words.pop(0)[len(_STARTED) :].partition(",")
        started = int(channel), int(pidfd)
    elif words and words[0].startswith(_KEPT):
        kept = words.pop(0)[len(_KEPT) :]
    code = run(words, started, kept)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = code or 1  # nobody reads it
    os._exit(code)


def run(words: list[str], started: tuple[int, int] | None = None, kept: str = "") -> int:
    """Run the command line *words*; the exit code. *started* and *kept* are `Call`'s."""
    log, verb = Log(), ""
    try:
        options = Call(words, GLOBAL)
        log = Log(options.text("log"), options.text("log-format", "text"), debug=options.on("debug"))
        log.open()
        options.choose_cgroup_manager()
        if options.on("version"):
            return _version()
        if options.on("help") or not options.arguments or options.arguments[0] in ("help", "h"):
            return _help("".join(options.arguments[1:2]))
        verb, *rest = options.arguments
        if verb not in VERBS:
            log.error(f"No help topic for {verb!r}")
            return 3
        options.started, options.kept = started, kept
        return _run(verb, rest, options, log)
    except InceptionError as error:
        hint = f" ({error.hint})" if error.hint else ""
        log.error(f"{_PREFIXED.get(verb, '')}{error}{hint}", _as_init_says(error))
    except OSError as error:
        log.error(f"{_PREFIXED.get(verb, '')}{_words(error)}")
    except KeyboardInterrupt:
        return 130
    return 255 if verb == "exec" else 1


def _run(name: str, words: list[str], options: Call, log: Log) -> int:
    verb = VERBS[name]
    call = Call(words, verb)
    if call.on("help"):
        return _help(name)
    least = 1 if verb.usage.startswith("CONTAINER-ID") else 0
    if not least <= len(call.arguments) <= verb.most:
        raise InvalidArgument(f'"{name}" expects {verb.usage or "no arguments"}')
    call.rootless = options.choice("rootless")
    call.root = os.path.abspath(options.text("root") or default_root())
    call.verb, call.criu = name, options.text("criu")
    call.log, call.started, call.kept, call.systemd = log, options.started, options.kept, options.on("systemd-cgroup")
    preload(f"inception.runtime.{verb.module}")
    module = __import__(f"inception.runtime.{verb.module}", fromlist=[verb.function])
    function: Run = getattr(module, verb.function)
    return function(call)


def _as_init_says(error: InceptionError) -> str:
    """An execve that failed, for programs that read stderr: with runc it is init that says so, and nothing else."""
    return str(error) if isinstance(error, StartFailed) and str(error).startswith("exec /") and not os.isatty(2) else ""


def _words(error: OSError) -> str:
    """The error without Python's number in front; a system call of ours shows itself."""
    if error.filename is None or not error.strerror:
        return error.strerror if error.strerror and str(error).startswith("[Errno") else str(error)
    return f"{os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename}: {error.strerror}"


def default_root() -> str:
    """Below /run as the machine's root, else below the user's own run-time folder. `_shortcut.c` has the same rule."""
    if runtime_dir := os.environ.get("XDG_RUNTIME_DIR"):
        from inception.linux.namespaces import is_rootless

        if is_rootless():
            return f"{runtime_dir}/{NAME}"
    return DEFAULT_ROOT


def _version() -> int:
    import inception
    from inception.oci.runtime import SPEC_VERSION

    # Engines look for the commit; a release is one.
    print(f"{NAME} version {inception.__version__}\ncommit: v{inception.__version__}\nspec: {SPEC_VERSION}")
    return 0


def _help(verb: str) -> int:
    from inception.runtime.cli_help import show

    show(verb if verb in VERBS else "")
    return 0


if __name__ == "__main__":
    main()
