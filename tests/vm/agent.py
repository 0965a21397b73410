"""Inside the machine: runs what comes down the port, one command at a time, and sends back what it prints.

A request is a line of JSON: `argv`, `env`, `cwd`, `timeout_s`. The answer is lines: `{"out": "…"}` as it is printed, then
`{"exit": 0}`; -1 with `"error"` where nothing was started or the time was up.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from typing import BinaryIO

PORT = "/dev/vport{0}p1"


def serve(port: BinaryIO) -> None:
    """Until the port is closed from outside."""
    while True:
        line = port.readline()
        if not line:
            time.sleep(0.05)  # nobody is connected
            continue
        request = json.loads(line)
        try:
            code = run(port, **request)
        except (OSError, TimeoutError) as error:
            answer(port, exit=-1, error=str(error))
        else:
            answer(port, exit=code)


def run(port: BinaryIO, argv: list[str], env: dict[str, str], cwd: str, timeout_s: float) -> int:
    deadline = time.monotonic() + timeout_s
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=cwd, env={**os.environ, **env},
        start_new_session=True,
    ) as child, selectors.DefaultSelector() as selector:  # fmt: skip
        assert child.stdout
        os.set_blocking(child.stdout.fileno(), False)
        selector.register(child.stdout, selectors.EVENT_READ)
        # What the command left in the background may hold the pipe: the end of the command is the end.
        while True:
            over = child.poll() is not None
            if selector.select(0 if over else 0.2):
                text = child.stdout.read(65536)
                if text:
                    answer(port, out=text.decode("utf-8", "replace"))
                    continue
                if text == b"":
                    return child.wait(max(0.1, deadline - time.monotonic()))
            if over:
                return child.returncode
            if time.monotonic() > deadline:
                os.killpg(child.pid, signal.SIGKILL)
                raise TimeoutError(f"no end in {timeout_s:.0f} s")


def answer(port: BinaryIO, **fields: object) -> None:
    port.write(json.dumps(fields).encode() + b"\n")
    port.flush()


def main() -> None:
    path = next(path for number in range(4) if os.path.exists(path := PORT.format(number)))
    with open(path, "r+b", buffering=0) as raw:
        reader = open(raw.fileno(), "rb", closefd=False)

        class Both:
            readline = reader.readline
            write = raw.write
            flush = raw.flush

        answer(Both, ready=True)  # type: ignore[arg-type]
        serve(Both)  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main())
