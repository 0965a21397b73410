"""What a monitor waits for: one epoll set, and the streams in it."""

from __future__ import annotations

import os

from inception.monitor.loop import EPOLLIN, Loop
from inception.monitor.output import CHUNK_BYTES, FULL_BYTES, Output


def test_what_takes_the_number_of_one_that_was_closed_in_this_round_is_not_called_for_it():
    """A pidfd with that number was taken for ended, and the monitor waited for that process: for ever, perhaps."""
    loop, called = Loop(), []
    pipes = [os.pipe() for _ in range(2)]
    for _, writer in pipes:
        os.write(writer, b"x")

    def close_the_other(mine: int) -> None:
        called.append("first")
        (reader, _) = pipes[1 - mine]
        loop.forget(reader)
        os.close(reader)
        fresh, _ = os.pipe()
        assert fresh == reader  # the lowest free number, and nothing in it
        loop.watch(fresh, EPOLLIN, lambda _events: called.append("fresh"))
        loop.forget(pipes[mine][0])

    for number, (reader, _) in enumerate(pipes):
        loop.watch(reader, EPOLLIN, lambda _events, number=number: close_the_other(number))
    for _ in range(3):
        loop.run_once(longest_wait_s=0)
    loop.close()
    assert called == ["first"]


def test_another_handler_of_one_round_does_not_keep_a_descriptor_waiting():
    loop, called = Loop(), []
    pipes = [os.pipe() for _ in range(2)]

    def watch(number: int) -> None:
        loop.watch(pipes[number][0], EPOLLIN, lambda _events: serve(number))

    def serve(number: int) -> None:
        called.append(number)
        watch(1 - number)

    for number, (_, writer) in enumerate(pipes):
        os.write(writer, b"x")
        watch(number)
    loop.run_once()
    loop.close()
    assert sorted(called) == [0, 1]


def test_a_stream_that_somebody_still_writes_to_ends_with_what_it_can_hold():
    loop, heard = Loop(), []
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def listen(_stream: str, data: bytes) -> None:
        heard.append(len(data))
        os.write(writer, bytes(CHUNK_BYTES))  # the writer is always as fast as the reader

    output = Output(loop, reader, "stdout", listen)
    os.write(writer, bytes(CHUNK_BYTES))
    output.drain(lambda: False)
    assert not output.open and sum(heard) == FULL_BYTES


def test_a_held_stream_stays_open_until_it_is_drained_again():
    loop, held = Loop(), []
    reader, writer = os.pipe()
    output = Output(loop, reader, "stdout", lambda _stream, data: held.append(data))
    os.write(writer, bytes(3))
    output.drain(lambda: bool(held))
    assert output.open
    os.write(writer, b"rest")
    held.clear()
    output.drain(lambda: False)
    assert held == [b"rest"] and not output.open
