"""Who counts as alive."""

from __future__ import annotations

import os
import time

from inception.engine.recover import _exists


def test_a_process_that_nobody_has_collected_yet_is_gone():
    pid = os.posix_spawn("/bin/true", ["true"], {})
    deadline = time.monotonic() + 10
    while _exists(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(pid, 0)  # it still has its place in the table of processes
    assert not _exists(pid)
    os.waitpid(pid, 0)
    assert not _exists(pid)
    assert _exists(os.getpid()) and not _exists(-1)
