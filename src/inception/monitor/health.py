"""Health checks with Docker's meaning: a probe is an exec in the container; its exit code 0 is healthy.

    starting ──first success──▶ healthy ──`retries` failures in a row──▶ unhealthy ──a success──▶ healthy

Failures in the start period don't count, until a success ends it; probes come every `start_interval` in it, then every
`interval`, counted from the end of the last one. One probe runs at a time; it is killed at its timeout.

Where a start period but no start interval is given, the first probes come early, after 0.1 s and then at distances of a quarter
of the time that has passed, up to the default: a failure costs nothing there, and a service that is ready after 0.3 s should
not keep others waiting for 5 s (docs/decisions/0013-early-probes.md).
"""

from __future__ import annotations

import os

from inception.monitor.kernel import collect, kill
from inception.monitor.loop import EPOLLIN, Loop, Timer
from inception.monitor.status import HealthStatus, ProbeResult
from inception.monitor.times import timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from inception.oci.health import Healthcheck

OUTPUT_BYTES = 4096
RESULTS = 5
# Docker's defaults, for durations of 0 in an image or a flag.
INTERVAL_S = 30.0
TIMEOUT_S = 30.0
START_INTERVAL_S = 5.0
FIRST_PROBE_S = 0.1
EARLY_SHARE = 0.25
RETRIES = 3
TIMED_OUT = -1
_READ_BYTES = 16 << 10


class Probe:
    """One running probe: *spawn* starts it, *done* gets its exit code (-1: out of time or not started) and output."""

    def __init__(
        self,
        loop: Loop,
        spawn: Callable[[tuple[int, int, int]], tuple[int, int]],
        timeout_s: float,
        done: Callable[[int, bytes], None],
    ) -> None:
        self._loop = loop
        self._done = done
        self._output = b""
        self._timeout_s = timeout_s
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        self._read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(write_fd, True)
        try:
            _, self._pidfd = spawn((null, write_fd, write_fd))
        except BaseException:
            os.close(self._read_fd)
            raise
        finally:
            os.close(null)
            os.close(write_fd)
        loop.watch(self._read_fd, EPOLLIN, self._read)
        loop.watch(self._pidfd, EPOLLIN, self._exited)
        self._timer = loop.call_later(timeout_s, self._timed_out)

    def abort(self) -> None:
        """Kills the probe and forgets it."""
        kill(self._pidfd)
        self._finish()

    def _read(self, _events: int) -> None:
        try:
            data = os.read(self._read_fd, _READ_BYTES)
        except BlockingIOError:
            return
        self._output = (self._output + data)[: OUTPUT_BYTES + 1]
        if not data:
            self._loop.forget(self._read_fd)

    def _exited(self, _events: int) -> None:
        self._read(0)
        self._done(self._finish(), self._output)

    def _timed_out(self) -> None:
        kill(self._pidfd)
        self._finish()
        self._done(TIMED_OUT, b"Health check exceeded timeout (%s)" % _duration(self._timeout_s).encode())

    def _finish(self) -> int:
        """Collects the process; it is dead or was just killed, so this does not wait for long."""
        self._loop.cancel(self._timer)
        exit_code = collect(self._pidfd)
        for fd in (self._read_fd, self._pidfd):
            self._loop.forget(fd)
            os.close(fd)
        return exit_code


class HealthCheck:
    """*spawn* runs the compiled probe with the given stdio; *changed* gets the health after each probe."""

    def __init__(
        self,
        loop: Loop,
        check: Healthcheck,
        spawn: Callable[[tuple[int, int, int]], tuple[int, int]],
        changed: Callable[[HealthStatus], None],
    ) -> None:
        self._loop = loop
        self._spawn = spawn
        self._changed = changed
        self._interval_s = check.interval / 1e9 or INTERVAL_S
        self._timeout_s = check.timeout / 1e9 or TIMEOUT_S
        self._start_period_s = check.start_period / 1e9
        self._start_interval_s = check.start_interval / 1e9 or min(START_INTERVAL_S, self._interval_s)
        self._early = bool(self._start_period_s) and not check.start_interval
        self._retries = check.retries or RETRIES
        self._status = "starting"
        self._streak = 0
        self._results: list[ProbeResult] = []
        self._started_s = loop.clock()
        self._paused = False
        self._timer: Timer | None = None
        self._probe: Probe | None = None
        self._probe_started = ""

    @property
    def health(self) -> HealthStatus:
        return HealthStatus(status=self._status, failing_streak=self._streak, log=list(self._results))

    def start(self) -> None:
        self._changed(self.health)
        self._schedule()

    def stop(self) -> None:
        """Ends probing; a running probe is killed. The health stays as it was, as in Docker."""
        self._loop.cancel(self._timer)
        if self._probe:
            self._probe.abort()
            self._probe = None

    def set_paused(self, paused: bool) -> None:
        """A frozen container answers nothing, which says nothing about its health."""
        if paused == self._paused:
            return
        self._paused = paused
        self.stop()
        if not paused:
            self._schedule()

    @property
    def _in_start_period(self) -> bool:
        return self._status == "starting" and self._loop.clock() - self._started_s < self._start_period_s

    def _schedule(self) -> None:
        delay_s = self._interval_s
        if self._in_start_period:
            delay_s = self._start_interval_s
            if self._early:
                delay_s = min(max(FIRST_PROBE_S, EARLY_SHARE * (self._loop.clock() - self._started_s)), delay_s)
        self._timer = self._loop.call_later(delay_s, self._run)

    def _run(self) -> None:
        self._probe_started = timestamp()
        try:
            self._probe = Probe(self._loop, self._spawn, self._timeout_s, self._done)
        except Exception as error:  # SpawnError: the command is not there, say; as for Docker that is a failure
            self._done(TIMED_OUT, str(error).encode())

    def _done(self, exit_code: int, output: bytes) -> None:
        self._probe = None
        if exit_code == 0:
            self._status, self._streak = "healthy", 0
        elif not self._in_start_period:
            self._streak += 1
            if self._streak >= self._retries:
                self._status = "unhealthy"
        text = output[:OUTPUT_BYTES].decode("utf-8", "replace") + ("..." if len(output) > OUTPUT_BYTES else "")
        self._results.append(ProbeResult(start=self._probe_started, end=timestamp(), exit_code=exit_code, output=text))
        del self._results[:-RESULTS]
        self._changed(self.health)
        self._schedule()


def _duration(seconds: float) -> str:
    """As Go prints a duration of seconds.

    >>> _duration(30.0), _duration(0.5), _duration(90)
    ('30s', '500ms', '1m30s')
    """
    if seconds < 1:
        return f"{seconds * 1000:g}ms"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest:g}s"
