"""What goes on at the same time in one build, and ends together: a thread a stage, and the commands of their steps.

The first failure kills the commands of the others; a thread that waits for another's result wakes and finds it cancelled.
"""

from __future__ import annotations

import threading
import time

from inception.errors import InceptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from inception.engine.exec import ExecProcess

_END_S = 10.0  # how long an interrupted build waits for its other stages to clean up; a killed command takes milliseconds


class Cancelled(InceptionError):
    """Another stage failed."""


class Abandoned(InceptionError):
    """Whoever wanted the build has gone."""


class Running:
    """`failure` is the first one, if any; `lock` is for whatever several threads note."""

    def __init__(self) -> None:
        self.failure: BaseException | None = None
        self.lock = threading.Lock()
        self._done: dict[int, threading.Event] = {}
        self._processes: set[ExecProcess] = set()

    def run_together(self, jobs: dict[int, Callable[[], None]]) -> None:
        """Until all have ended; the last one runs in this thread. What went wrong is in `failure`."""
        self._done = {number: threading.Event() for number in jobs}
        *others, last = jobs
        threads = [
            threading.Thread(target=self._run, args=(number, jobs[number]), name=f"build-stage-{number}", daemon=True)
            for number in others
        ]
        for thread in threads:
            thread.start()
        self._run(last, jobs[last])
        interrupted = isinstance(self.failure, KeyboardInterrupt)
        deadline = time.monotonic() + _END_S
        for thread in threads:
            # What a stage that hangs in a download leaves behind then, the next build removes.
            thread.join(max(0.0, deadline - time.monotonic()) if interrupted else None)

    def _run(self, number: int, job: Callable[[], None]) -> None:
        try:
            job()
        except Cancelled:
            pass
        except BaseException as error:  # for the thread that waits for all
            self.stop(error)
        finally:
            self._done[number].set()

    def stop(self, error: BaseException) -> None:
        """Nothing that is still going on is of use: its commands are killed, and with them all that they started. From any
        thread."""
        with self.lock:
            self.failure = self.failure or error
            for process in self._processes:
                try:
                    process.kill()
                except OSError:
                    pass  # it has ended and was let go of
        for done in self._done.values():
            done.set()

    def check(self) -> None:
        """Raises Cancelled when the build has failed."""
        if self.failure is not None:
            raise Cancelled("another stage failed")

    def await_job(self, number: int) -> None:
        """Raises Cancelled."""
        self._done[number].wait()
        self.check()

    def watch(self, process: ExecProcess) -> None:
        """From here on a failure elsewhere kills *process*."""
        with self.lock:
            self._processes.add(process)
            if self.failure is not None:
                process.kill()

    def unwatch(self, processes: Iterable[ExecProcess]) -> None:
        """They have ended."""
        with self.lock:
            self._processes.difference_update(processes)
