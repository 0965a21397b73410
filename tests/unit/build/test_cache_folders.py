"""Folders of cache mounts: who has one alone, and who shares it."""

from __future__ import annotations

import threading

from inception.build import folders


def test_who_waited_for_a_shared_folder_to_be_filled_shares_it_with_the_one_that_filled_it(tmp_path):
    first = folders._open(str(tmp_path), 0, "shared", None)
    assert first is not None and first.fresh
    waits, found = threading.Event(), []
    waiter = threading.Thread(target=lambda: found.append(folders._open(str(tmp_path), 0, "shared", waits.set)))
    waiter.start()
    assert waits.wait(10)
    first.filled()
    first.share()
    waiter.join(10)
    assert not waiter.is_alive() and not found[0].fresh
    found[0].close()
    first.close()
