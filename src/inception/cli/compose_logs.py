"""`compose logs`, and the attached mode of `compose up`: the output of many containers, a prefix before each line.

A thread a container reads its log and prints under one lock, so that lines never mix. In attached mode the same threads tell
of exits, and the main thread waits for the end, for Ctrl-C, or for what `--abort-on-container-exit` asks for.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` builds enums, 5 ms
import sys
import threading
from contextlib import contextmanager

from inception.cli.call import Call
from inception.cli.compose import colour, load_project
from inception.cli.flags import Command
from inception.cli.streams import write_all
from inception.compose import labels
from inception.compose.observe import RUNNING, containers_of, observe
from inception.compose.teardown import plan_stop
from inception.errors import InceptionError, InvalidArgument, NotFound
from inception.monitor.times import parse, timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from inception.compose.model import Project
    from inception.engine import Engine
    from inception.engine.container import Container
    from inception.monitor.logs import LogLine

# As Docker Compose: cyan, yellow, green, magenta, blue, then the intense ones.
_COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


class Printer:
    """Lines of several containers on stdout and stderr."""

    def __init__(self, project: str, names: list[str], *, colour: bool, prefix: bool, stamps: bool) -> None:
        self.stamps = stamps
        self._lock = threading.Lock()
        self._rest: dict[tuple[str, str], bytes] = {}
        self._project, self._colour, self._prefix = project, colour, prefix
        self._width = max((len(self._short(name)) for name in names), default=0)
        self._prefixes: dict[str, bytes] = {}
        self.know(names)

    def know(self, names: list[str]) -> None:
        """Lines of containers called *names* may come."""
        for name in names:
            if name in self._prefixes:
                continue
            column = f"{self._short(name).ljust(self._width)}  | "
            if self._colour:
                column = f"\x1b[{_COLOURS[len(self._prefixes) % len(_COLOURS)]}m{column}\x1b[0m"
            self._prefixes[name] = column.encode() if self._prefix else b""

    def _short(self, name: str) -> str:
        return name.removeprefix(f"{self._project}-")

    def line(self, name: str, line: LogLine) -> None:
        """One record; pieces of a long line are joined before they are shown."""
        data = self._rest.pop((name, line.stream), b"") + line.data
        if not data.endswith(b"\n") and len(data) < 1 << 20:
            self._rest[name, line.stream] = data
            return
        stamp = f"{line.time} ".encode() if self.stamps else b""
        self.write(2 if line.stream == "stderr" else 1, self._prefixes[name] + stamp + data.rstrip(b"\n") + b"\n")

    def end(self, name: str) -> None:
        """What a container said last without a newline."""
        for stream, fd in (("stdout", 1), ("stderr", 2)):
            rest = self._rest.pop((name, stream), b"")
            if rest:
                self.write(fd, self._prefixes[name] + rest + b"\n")

    def say(self, text: str) -> None:
        self.write(1, f"{text}\n".encode())

    def write(self, fd: int, data: bytes) -> None:
        with self._lock:
            write_all(fd, data)


# ---- up, attached -------------------------------------------------------------------------------------------------------


class Followed:
    """The containers of *services*, followed until all have ended, or until somebody wants those of *selected* stopped."""

    def __init__(
        self,
        engine: Engine,
        project: Project,
        services: list[str],
        *,
        selected: list[str],
        started: list[str],
        colour: bool,
        prefix: bool,
        stamps: bool,
        abort: str,
        exit_code_from: str,
        stop_timeout_s: float | None,
    ) -> None:
        self.engine, self.project = engine, project
        self.abort, self.exit_code_from, self.stop_timeout_s = abort, exit_code_from, stop_timeout_s
        self.started = set(started)
        everything = [
            each
            for each in containers_of(engine, project.name)
            if each.labels.get(labels.ONEOFF) != "True" and (each.name in started or each.record.state.status in RUNNING)
        ]
        everything.sort(key=lambda each: each.name)
        self.containers = [each for each in everything if each.labels.get(labels.SERVICE) in services]
        self.selected = selected
        self.watched = (
            [each for each in everything if each.labels.get(labels.SERVICE) in selected] if abort else self.containers
        )
        self.printer = Printer(
            project.name, [each.name for each in self.containers], colour=colour, prefix=prefix, stamps=stamps
        )
        self.beside: list[Callable[[], None]] = []  # what goes on at the same time, until this ends
        self.exit_code = 0
        self.aborted_by = ""
        self.services = services
        self._done = threading.Condition()
        self._left = 0
        self._active: set[str] = set()

    def run(self) -> int:
        """The exit code of `up`."""
        names = ", ".join(each.name.removeprefix(f"{self.project.name}-") for each in self.containers)
        if not self.watched:
            return 0
        self.printer.say(f"Attaching to {names}")
        previous = _signal.signal(_signal.SIGTERM, _interrupt)
        try:
            self._begin(self.watched)
            for beside in self.beside:
                threading.Thread(target=beside, daemon=True).start()
            with self._done:
                while self._left and not self.aborted_by:
                    self._done.wait()
            if self.aborted_by:
                self.printer.say("Aborting on container exit...")
                self._stop()
        except KeyboardInterrupt:
            return self._interrupted()
        finally:
            _signal.signal(_signal.SIGTERM, previous)
        return self.exit_code

    def _begin(self, containers: list[Container]) -> None:
        with self._done:
            self._left += len(containers)
            self._active.update(each.id for each in containers)
        for container in containers:
            threading.Thread(target=self._follow, args=(container,), daemon=True).start()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Whatever ends in the block is no end of all; what runs after it and was not there before is followed too."""
        with self._done:
            self._left += 1
        try:
            yield
            self._begin(self._news())
        finally:
            with self._done:
                self._left -= 1
                self._done.notify()

    def _news(self) -> list[Container]:
        found = [
            each
            for each in containers_of(self.engine, self.project.name)
            if each.labels.get(labels.SERVICE) in self.services
            and each.labels.get(labels.ONEOFF) != "True"
            and each.record.state.status in RUNNING
            and each.id not in self._active
        ]
        self.started.update(each.name for each in found)
        self.containers += found
        self.printer.know([each.name for each in found])
        return found

    def _follow(self, container: Container) -> None:
        try:
            self._follow_runs(container)
        except NotFound:
            pass  # removed by somebody else
        except (InceptionError, OSError) as error:
            self.printer.write(2, f"inception: {container.name}: {error}\n".encode())
        finally:
            with self._done:
                self._active.discard(container.id)
                self._left -= 1
                self._done.notify()

    def _follow_runs(self, container: Container) -> None:
        """Its output from its start, or from now when it ran before, over all its restarts."""
        shown = container in self.containers
        since = container.state.started_at if container.name in self.started else timestamp()
        while True:
            for line in container.logs(follow=True, since=since) if shown else _nothing(container):
                self.printer.line(container.name, line)
                since = line.time
            state = container.state
            self.printer.end(container.name) if shown else None
            if state.status in RUNNING:
                since = _after(since)
                container.wait("next-exit") if state.status == "restarting" else None
                continue
            short = container.name.removeprefix(f"{self.project.name}-")
            if shown:
                self.printer.say(f"{short} exited with code {state.exit_code}")
            self._ended(container, state.exit_code)
            return

    def _ended(self, container: Container, exit_code: int) -> None:
        service = container.labels.get(labels.SERVICE, "")
        with self._done:
            aborts = self.abort == "exit" or (self.abort == "failure" and exit_code != 0)
            if aborts and not self.aborted_by:
                self.aborted_by = service
                if not self.exit_code_from:
                    self.exit_code = exit_code
            if service == self.exit_code_from:
                self.exit_code = exit_code

    def _interrupted(self) -> int:
        self.printer.say("Gracefully Stopping... press Ctrl+C again to force")
        try:
            self._stop()
        except KeyboardInterrupt:
            for container in containers_of(self.engine, self.project.name):
                if container.record.state.status in RUNNING and container.labels.get(labels.SERVICE) in self.selected:
                    try:
                        container.kill()
                    except InceptionError:
                        continue  # it was on its way out
        return 0

    def _stop(self) -> None:
        from inception.compose.execute import Executor
        from inception.compose.progress import Plain

        observed = observe(self.engine, self.project)
        containers = [each for each in observed.containers if not each.oneoff and each.service in self.selected]
        Executor(self.engine, self.project, Plain(), stop_timeout_s=self.stop_timeout_s).run(plan_stop(observed, containers))
        if self.exit_code_from and self.exit_code_from != self.aborted_by:
            codes = [each.exit_code for each in observe(self.engine, self.project).of(self.exit_code_from)]
            self.exit_code = codes[0] if codes else 0


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _nothing(container: Container) -> Iterator[LogLine]:
    """Waits for the end of a container whose output nobody wants."""
    container.wait()
    return iter(())


def _after(time: str) -> str:
    """The moment after *time*: the line at *time* was shown already."""
    return timestamp(parse(time) + 1)


# ---- logs ---------------------------------------------------------------------------------------------------------------


def logs(call: Call) -> int:
    flags = call.flags
    project = load_project(call, call.arguments, without_file=True)
    for name in call.arguments:
        if name not in project.services:
            raise NotFound(f"no such service: {name}")
    containers = sorted(
        (
            each
            for each in containers_of(call.engine, project.name)
            if not call.arguments or each.labels.get(labels.SERVICE) in call.arguments
        ),
        key=lambda each: each.name,
    )
    index = flags.number("index")
    if index:
        containers = [each for each in containers if each.labels.get(labels.NUMBER) == str(index)]
    printer = Printer(
        project.name,
        [each.name for each in containers],
        colour=colour(call) and not flags.on("no-color"),
        prefix=not flags.on("no-log-prefix"),
        stamps=flags.on("timestamps"),
    )
    tail = flags.text("tail")
    if tail not in ("all", "") and not tail.isdecimal():
        raise InvalidArgument(f"invalid value for --tail: {tail!r}")
    options: dict[str, Any] = {
        "tail": int(tail) if tail.isdecimal() else None,
        "since": flags.text("since"),
        "until": flags.text("until"),
        "follow": flags.on("follow"),
    }
    if flags.on("follow"):
        return _follow_all(printer, containers, options)
    import heapq

    streams = [_timed(container, options) for container in containers]
    for _, name, line in heapq.merge(*streams, key=lambda entry: entry[:2]):
        printer.line(name, line)
    for container in containers:
        printer.end(container.name)
    return 0


def _timed(container: Container, options: dict[str, Any]) -> Iterator[tuple[int, str, LogLine]]:
    for line in container.logs(**options):
        yield line.time_ns, container.name, line


def _follow_all(printer: Printer, containers: list[Container], options: dict[str, Any]) -> int:
    threads = [threading.Thread(target=_print_all, args=(printer, container, options), daemon=True) for container in containers]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        return 130
    return 0


def _print_all(printer: Printer, container: Container, options: dict[str, Any]) -> None:
    try:
        for line in container.logs(**options):
            printer.line(container.name, line)
        printer.end(container.name)
    except (InceptionError, OSError) as error:
        print(f"inception: {container.name}: {error}", file=sys.stderr)


LOGS = Command(
    logs,
    "[OPTIONS] [SERVICE...]",
    "View output from containers",
    """\
      --dry-run         There is nothing to do for it: logs are only read
  -f, --follow          Follow log output
      --index int       index of the container if service has multiple replicas
      --no-color        Produce monochrome output
      --no-log-prefix   Don't print prefix in logs
      --since string    Show logs since timestamp (e.g. 2013-01-02T13:23:37Z) or relative (e.g. 42m for 42 minutes)
  -n, --tail string     Number of lines to show from the end of the logs for each container (default "all")
  -t, --timestamps      Show timestamps
      --until string    Show logs before a timestamp (e.g. 2013-01-02T13:23:37Z) or relative (e.g. 42m for 42 minutes)
""",
)
