"""`inception-runc`: the runtime as a command, with runc's command line, so that containerd and others can use it.

Exit codes: the program's own for `run` and `exec`, 127 and 126 for one that is missing or can't be executed, else 0, or 1
for errors (one line on stderr, and in --log as JSON or text).
"""

from __future__ import annotations

import os
import signal
import sys

from inception.errors import InceptionError, InvalidArgument, StartFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from inception.oci.runtime import Process
    from inception.runtime.child import Child
    from inception.runtime.lifecycle import Container
    from inception.runtime.plan import Plan

DEFAULT_ROOT = "/run/inception-runc"

# name -> (options that take a value, switches, short forms, summary)
_GLOBAL = ({"root", "log", "log-format", "rootless", "criu"}, {"debug", "systemd-cgroup", "version", "help"}, {"v": "version"})
_Options = tuple[set[str], set[str], dict[str, str], str]
_CREATE = {"bundle", "pid-file", "console-socket", "preserve-fds"}
_VERBS: dict[str, _Options] = {
    "create": (_CREATE, {"no-pivot", "no-new-keyring"}, {"b": "bundle"}, "create a container that waits for start"),
    "start": (set(), set(), {}, "run the program of a created container"),
    "run": (_CREATE, {"detach", "keep", "no-pivot", "no-new-keyring"}, {"b": "bundle", "d": "detach"}, "create and start"),
    "exec": (
        {"console-socket", "cwd", "env", "user", "additional-gids", "process", "pid-file", "cap", "preserve-fds"},
        {"tty", "detach", "no-new-privs", "ignore-paused"},
        {"t": "tty", "d": "detach", "u": "user", "e": "env", "p": "process", "c": "cap", "g": "additional-gids"},
        "run another program in a container",
    ),
    "state": (set(), set(), {}, "print a container's state as JSON"),
    "kill": (set(), {"all"}, {"a": "all"}, "send a signal to a container's init"),
    "delete": (set(), {"force"}, {"f": "force"}, "remove a stopped container"),
    "list": ({"format"}, {"quiet"}, {"f": "format", "q": "quiet"}, "list containers"),
    "ps": ({"format"}, set(), {"f": "format"}, "list the processes of a container"),
    "pause": (set(), set(), {}, "freeze every process of a container"),
    "resume": (set(), set(), {}, "thaw them"),
    "spec": ({"bundle"}, {"rootless"}, {"b": "bundle"}, "write a config.json to start from"),
    "features": (set(), set(), {}, "print what this runtime supports as JSON"),
}
_REFUSED = {"no-pivot", "preserve-fds", "systemd-cgroup", "rootless", "criu", "ignore-paused"}


class Arguments:
    """Options and the rest of a command line."""

    def __init__(self, words: list[str], valued: set[str], switches: set[str], short: dict[str, str]) -> None:
        self.values: dict[str, list[str]] = {}
        self.rest: list[str] = []
        words = list(words)
        while words:
            word = words.pop(0)
            if word == "--":
                break
            if not word.startswith("-") or word == "-":
                words.insert(0, word)
                break
            name, equals, value = word.lstrip("-").partition("=")
            name = short.get(name, name)
            if name in valued:
                if not equals:
                    if not words:
                        raise InvalidArgument(f"flag needs an argument: {word}")
                    value = words.pop(0)
            elif name in switches:
                if equals and value in ("false", "0"):
                    continue
                value = "true"
            else:
                raise InvalidArgument(f"flag provided but not defined: {word}")
            if name in _REFUSED and value not in ("0", "false", "auto"):
                raise InvalidArgument(f"--{name}: is not supported")
            self.values.setdefault(name, []).append(value)
        self.rest = words

    def get(self, name: str, default: str = "") -> str:
        return self.values.get(name, [default])[-1]

    def on(self, name: str) -> bool:
        return name in self.values

    def id(self, *more: str) -> str:
        """The container id, the only argument but those named in *more*."""
        if not self.rest or len(self.rest) > 1 + len(more):
            raise InvalidArgument(f"expected {' '.join(['CONTAINER-ID', *more])}")
        return self.rest[0]


def main(words: list[str] | None = None) -> int:
    """The command; the exit code."""
    words = sys.argv[1:] if words is None else words
    log = ("", "text")
    try:
        options = Arguments(words, *_GLOBAL)
        log = (options.get("log"), options.get("log-format", "text"))
        if options.on("version"):
            import inception

            print(f"inception-runc version {inception.__version__}\nspec: 1.3.0")
            return 0
        if options.on("help") or not options.rest or options.rest[0] in ("help", "-h"):
            print(_help())
            return 0
        verb, *rest = options.rest
        if verb not in _VERBS:
            raise InvalidArgument(f"no such command: {verb}")
        valued, switches, short, summary = _VERBS[verb]
        arguments = Arguments(rest, valued, switches | {"help"}, {**short, "h": "help"})
        if arguments.on("help"):
            print(f"inception-runc {verb}: {summary}\noptions: {' '.join(f'--{name}' for name in sorted(valued | switches))}")
            return 0
        return _RUN[verb](os.path.abspath(options.get("root", DEFAULT_ROOT)), arguments)
    except StartFailed as error:
        _report(str(error), error.hint, log)
        return error.exit_code if error.exit_code in (126, 127) else 1
    except InceptionError as error:
        return _report(str(error), error.hint, log)
    except OSError as error:
        return _report(str(error), "", log)


def _report(message: str, hint: str, log: tuple[str, str]) -> int:
    print(f"inception-runc: {message}" + (f"\nhint: {hint}" if hint else ""), file=sys.stderr)
    path, form = log
    if path:
        from inception.jsontext import dumps

        line = dumps({"level": "error", "msg": message}) if form == "json" else f"level=error msg={dumps(message)}"
        with open(path, "a", encoding="utf-8") as file:
            file.write(line + "\n")
    return 1


def _help() -> str:
    lines = ["usage: inception-runc [--root DIR] [--log FILE] [--log-format text|json] COMMAND ...", ""]
    return "\n".join([*lines, *(f"  {name:<10} {options[3]}" for name, options in _VERBS.items())])


def _container(root: str, id: str) -> Container:
    from inception.runtime.lifecycle import Container  # what every verb but spec and features needs

    return Container(root, id)


def _write_pid(path: str, pid: int) -> None:
    if path:
        scratch = f"{path}.{os.getpid()}"
        with open(scratch, "w", encoding="ascii") as file:
            file.write(str(pid))
        os.rename(scratch, path)


def _create(root: str, arguments: Arguments) -> int:
    container = _container(root, arguments.id())
    console = _console(arguments)
    child, _ = container.create(os.path.abspath(arguments.get("bundle", ".")), console_socket=console)
    try:
        _write_pid(arguments.get("pid-file"), child.pid)
    except OSError:
        container.delete(force=True)
        raise
    return 0


def _console(arguments: Arguments) -> int | None:
    if not arguments.on("console-socket"):
        return None
    from inception.runtime.lifecycle import connect_console

    return connect_console(arguments.get("console-socket")).detach()


def _start(root: str, arguments: Arguments) -> int:
    _container(root, arguments.id()).start()
    return 0


def _run(root: str, arguments: Arguments) -> int:
    from inception.runtime.lifecycle import load_bundle
    from inception.runtime.terminal import Terminal

    container = _container(root, arguments.id())
    bundle = os.path.abspath(arguments.get("bundle", "."))
    spec = load_bundle(bundle)
    terminal = None
    console = _console(arguments)
    if console is None and spec.process is not None and spec.process.terminal:
        if arguments.on("detach"):
            raise InvalidArgument("cannot allocate tty if runc will detach without setting console socket")
        terminal = Terminal()
        console = terminal.socket
    child, plan = container.create(bundle, console_socket=console)
    try:
        _write_pid(arguments.get("pid-file"), child.pid)
        container.start()
        _follow(child, plan)
        if arguments.on("detach"):
            return 0
        code = _wait(child, terminal)
    except BaseException:
        container.delete(force=True)
        raise
    if not arguments.on("keep"):
        container.delete(force=True)
    return code


def _follow(child: Child, plan: Plan) -> None:
    """Until the program runs; what fails on the way is told here."""
    from inception._spawn import SpawnError
    from inception.runtime.child import resume

    try:
        resume(child)
    except SpawnError as error:
        raise plan.failure(error) from None


def _wait(child: Child, terminal: object | None) -> int:
    """Forward signals and the terminal until the process ends; its exit code."""
    from inception.linux import process
    from inception.runtime.terminal import Terminal

    def forward(number: int, _frame: object) -> None:
        process.pidfd_send_signal(child.pidfd, number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, forward)
    if isinstance(terminal, Terminal):
        terminal.relay(child.pidfd)
    try:
        return process.reap(child.pidfd)
    finally:
        os.close(child.pidfd)


def _exec(root: str, arguments: Arguments) -> int:
    from inception.runtime.terminal import Terminal

    if not arguments.rest:
        raise InvalidArgument("expected CONTAINER-ID COMMAND [ARGUMENT...]")
    container = _container(root, arguments.rest[0])
    value = _exec_process(container, arguments)
    terminal = None
    console = _console(arguments)
    if value.terminal and console is None:
        if arguments.on("detach"):
            raise InvalidArgument("cannot allocate tty if runc will detach without setting console socket")
        terminal = Terminal()
        console = terminal.socket
    child = container.exec(value, (0, 1, 2), console)
    _write_pid(arguments.get("pid-file"), child.pid)
    return 0 if arguments.on("detach") else _wait(child, terminal)


def _exec_process(container: Container, arguments: Arguments) -> Process:
    """The process from --process, or the container's own with what the flags change."""
    from inception.jsontext import loads
    from inception.oci.runtime import Process
    from inception.record import decode, replace
    from inception.runtime.users import MAX_ID

    if arguments.on("process"):
        with open(arguments.get("process"), "rb") as file:
            return decode(Process, loads(file.read()))
    container.folder.load()
    own = container.folder.load_spec().process
    assert own is not None
    if len(arguments.rest) < 2:
        raise InvalidArgument("process args cannot be empty")
    user = own.user
    changes: dict[str, object] = {"args": arguments.rest[1:], "terminal": arguments.on("tty"), "console_size": None}
    if arguments.on("cwd"):
        changes["cwd"] = arguments.get("cwd")
    changes["env"] = own.env + arguments.values.get("env", [])
    if arguments.on("no-new-privs"):
        changes["no_new_privileges"] = True
    if arguments.on("user"):
        ids = arguments.get("user").split(":")
        if not all(part.isascii() and part.isdigit() and int(part) <= MAX_ID for part in ids) or len(ids) > 2:
            raise InvalidArgument(f"--user: {arguments.get('user')!r}: expected UID[:GID]")
        user = replace(user, uid=int(ids[0]), gid=int(ids[-1]) if len(ids) > 1 else user.gid)
    if arguments.on("additional-gids"):
        user = replace(user, additional_gids=[int(gid) for gid in arguments.values["additional-gids"]])
    changes["user"] = user
    if arguments.on("cap") and own.capabilities is not None:
        extra = arguments.values["cap"]
        caps = own.capabilities
        changes["capabilities"] = replace(
            caps, bounding=caps.bounding + extra, effective=caps.effective + extra, permitted=caps.permitted + extra
        )
    return replace(own, **changes)


def _state(root: str, arguments: Arguments) -> int:
    import json  # indented, as runc prints it

    from inception.record import encode

    state = _container(root, arguments.id()).state()
    print(json.dumps(encode(state, keep_defaults=True), indent=2))
    return 0


def _kill(root: str, arguments: Arguments) -> int:
    container = _container(root, arguments.id("SIGNAL"))
    text = arguments.rest[1] if len(arguments.rest) > 1 else "SIGTERM"
    container.kill(parse_signal(text), all=arguments.on("all"))
    return 0


def parse_signal(text: str) -> int:
    """`KILL`, `SIGKILL`, `kill` or `9`."""
    if text.isascii() and text.isdigit() and 0 < int(text) <= 64:
        return int(text)
    name = text.upper()
    number = getattr(signal, name if name.startswith("SIG") else f"SIG{name}", None)
    if not isinstance(number, signal.Signals):
        raise InvalidArgument(f"unknown signal {text!r}")
    return int(number)


def _delete(root: str, arguments: Arguments) -> int:
    for warning in _container(root, arguments.id()).delete(force=arguments.on("force")):
        print(f"inception-runc: {warning}", file=sys.stderr)
    return 0


def _list(root: str, arguments: Arguments) -> int:
    from inception.jsontext import dumps
    from inception.runtime.state import list_ids

    form = arguments.get("format", "table")
    if form not in ("table", "json"):
        raise InvalidArgument(f"invalid format option: {form}")
    ids = list_ids(root)
    if arguments.on("quiet"):
        print("\n".join(ids)) if ids else None
        return 0
    rows = []
    for id in ids:
        container = _container(root, id)
        kept, state = container.folder.load(), container.state()
        rows.append(
            {
                "ociVersion": state.oci_version,
                "id": id,
                "pid": state.pid,
                "status": state.status,
                "bundle": state.bundle,
                "created": kept.created,
                "owner": "root",
            }
        )
    if form == "json":
        print(dumps(rows) if rows else "null")
        return 0
    heads = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")
    lines = [heads, *(tuple(str(row[head.lower()]) for head in heads) for row in rows)]
    widths = [max(len(line[column]) for line in lines) + 3 for column in range(6)]
    for line in lines:
        print("".join(f"{word:<{width}}" for word, width in zip(line, widths, strict=True)).rstrip())
    return 0


def _ps(root: str, arguments: Arguments) -> int:
    from inception.jsontext import dumps

    if not arguments.rest:
        raise InvalidArgument("expected CONTAINER-ID [PS OPTIONS]")
    container = _container(root, arguments.rest[0])
    kept = container.folder.load()
    pids = sorted({*container.cgroup().pids(), *([kept.pid] if container.folder.is_alive(kept) else [])})
    if arguments.get("format", "table") == "json":
        print(dumps(pids))
        return 0
    options = arguments.rest[1:] or ["-ef"]
    program = next((path for path in ("/bin/ps", "/usr/bin/ps") if os.path.exists(path)), "")
    if not program:
        raise InvalidArgument("ps: the host has no ps; use --format json")
    import subprocess

    lines = subprocess.run([program, *options], capture_output=True, text=True, check=True).stdout.splitlines()
    column = lines[0].split().index("PID")
    print(lines[0])
    for line in lines[1:]:
        if int(line.split()[column]) in pids:
            print(line)
    return 0


def _pause(root: str, arguments: Arguments) -> int:
    _container(root, arguments.id()).cgroup().freeze()
    return 0


def _resume(root: str, arguments: Arguments) -> int:
    _container(root, arguments.id()).cgroup().thaw()
    return 0


def _spec(root: str, arguments: Arguments) -> int:
    import json

    from inception.oci.runtime import Capabilities, Linux, Namespace, Process, Resources, Rlimit, Root, Spec
    from inception.record import encode
    from inception.runtime import defaults

    caps = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
    spec = Spec(
        process=Process(
            terminal=True,
            cwd="/",
            args=["sh"],
            env=["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            capabilities=Capabilities(bounding=caps, effective=caps, permitted=caps),
            rlimits=[Rlimit(type="RLIMIT_NOFILE", soft=1024, hard=1024)],
            no_new_privileges=True,
        ),
        root=Root(path="rootfs", readonly=True),
        hostname="inception",
        mounts=defaults.default_mounts(),
        linux=Linux(
            namespaces=[Namespace(type=kind) for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
            resources=Resources(devices=defaults.default_device_rules()),
            masked_paths=defaults.masked_paths(),
            readonly_paths=defaults.READONLY_PATHS,
        ),
    )
    path = os.path.join(arguments.get("bundle", "."), "config.json")
    try:
        with open(path, "x", encoding="utf-8") as file:
            json.dump({"ociVersion": spec.oci_version, **encode(spec)}, file, indent=4)
            file.write("\n")
    except FileExistsError:
        raise InvalidArgument(f"File {path} exists. Remove it first") from None
    return 0


def _features(root: str, arguments: Arguments) -> int:
    import json

    from inception.linux import capabilities, seccomp
    from inception.runtime import mounts

    print(
        json.dumps(
            {
                "ociVersionMin": "1.0.0",
                "ociVersionMax": "1.3.0",
                "hooks": ["prestart", "createRuntime", "startContainer", "poststart", "poststop"],
                "mountOptions": mounts.option_names(),
                "linux": {
                    "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "uts"],
                    "capabilities": list(capabilities.NAMES),
                    "cgroup": {"v1": True, "v2": True, "systemd": False, "systemdUser": False},
                    "seccomp": {
                        "enabled": True,
                        "actions": sorted(seccomp.ACTIONS),
                        "operators": sorted(seccomp.OPERATORS),
                        "archs": sorted(seccomp.ARCHITECTURES),
                        "knownFlags": [],
                        "supportedFlags": [],
                    },
                    "apparmor": {"enabled": os.path.exists("/sys/module/apparmor")},
                    "selinux": {"enabled": os.path.exists("/sys/fs/selinux/enforce")},
                    "intelRdt": {"enabled": False},
                    "mountExtensions": {"idmap": {"enabled": False}},
                },
            },
            indent=2,
        )
    )
    return 0


_RUN: dict[str, Callable[[str, Arguments], int]] = {
    "create": _create,
    "start": _start,
    "run": _run,
    "exec": _exec,
    "state": _state,
    "kill": _kill,
    "delete": _delete,
    "list": _list,
    "ps": _ps,
    "pause": _pause,
    "resume": _resume,
    "spec": _spec,
    "features": _features,
}

if __name__ == "__main__":
    sys.exit(main())
