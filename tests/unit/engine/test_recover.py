"""Who counts as alive."""

from __future__ import annotations

import os

from tests.waiting import wait_until

from inception.engine.recover import _exists


def test_a_process_that_nobody_has_collected_yet_is_gone():
    pid = os.posix_spawn("/bin/true", ["true"], {})
    wait_until(lambda: not _exists(pid))
    os.kill(pid, 0)  # it still has its place in the table of processes
    os.waitpid(pid, 0)
    assert not _exists(pid)
    assert _exists(os.getpid()) and not _exists(-1)
