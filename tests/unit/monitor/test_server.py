"""What clients of a monitor can cost it: a bounded number of them, and of bytes for each."""

from __future__ import annotations

import contextlib

import pytest

from inception.monitor import client, server


def test_more_clients_than_it_serves_are_turned_away_and_those_before_stay(fake, monkeypatch):
    monkeypatch.setattr(server, "CLIENTS", 3)
    container = fake("sleep 60").start()
    with contextlib.ExitStack() as stack:
        served = [stack.enter_context(client.watch(container.run_dir)) for _ in range(3)]
        with pytest.raises(client.MonitorGone):
            client.watch(container.run_dir)
        client_again = served[0].request(b"W")
    assert client_again == {}


def test_a_client_that_does_not_read_is_dropped_with_its_queue(fake, monkeypatch):
    monkeypatch.setattr(server.protocol, "QUEUE_BYTES", 1 << 20)
    container = fake("head -c 20000000 /dev/zero; echo end >&2; sleep 60").start()
    with container.attach() as stalled, container.attach(stdout=False) as other:
        assert next(iter(other)) == ("stderr", b"end\n")  # nobody waited for the first
        heard = 0
        with pytest.raises(client.MonitorGone):
            while (piece := stalled.read(timeout_s=20)) is not None:
                heard += len(piece[1])
        assert heard < 20000000
