"""Inside the machine: runs what comes down the port, one request at a time, and sends back what it prints.

A request is a line of JSON: `argv`, or `call` (`module:function`, run in a fork of this process, whose imports are made
already: an emulated machine takes a second for ours) with `arguments`; `env`, `cwd`, `timeout_s`. `preload` names modules to
import. The answer is lines: `{"out": "…"}` as it is printed, then `{"exit": 0}`, or `{"error": "…"}` when the time was up.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any, BinaryIO

PORT = "/dev/vport{0}p1"


class Port:
    """Lines of JSON in and out of one file, which can't seek."""

    def __init__(self, path: str) -> None:
        self._file: BinaryIO = open(path, "r+b", buffering=0)
        self._rest = b""

    def receive(self) -> dict[str, Any]:
        while b"\n" not in self._rest:
            data = self._file.read(65536)
            if not data:
                time.sleep(0.02)  # nobody is connected
            self._rest += data or b""
        line, _, self._rest = self._rest.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def send(self, **fields: object) -> None:
        self._file.write(json.dumps(fields).encode() + b"\n")


def serve(port: Port) -> None:
    while True:
        request = port.receive()
        if "preload" in request:
            for name in request["preload"]:
                importlib.import_module(name)
            port.send(exit=0)
            continue
        try:
            port.send(exit=run(port, request))
        except (OSError, TimeoutError) as error:
            port.send(error=str(error))


def run(port: Port, request: dict[str, Any]) -> int:
    """The exit code, as a shell counts. Raises TimeoutError, having killed the session of processes."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        become(request, writer)
    os.close(writer)
    deadline = time.monotonic() + request["timeout_s"]
    code = None
    try:
        # What the command left in the background may hold the pipe: the end of the command is the end.
        while True:
            if code is None:
                ended, status = os.waitpid(pid, os.WNOHANG)
                code = os.waitstatus_to_exitcode(status) if ended else None
            if select.select([reader], [], [], 0.1 if code is None else 0)[0]:
                text = os.read(reader, 65536)
                if text:
                    port.send(out=text.decode("utf-8", "replace"))
                    continue
                if code is None:
                    time.sleep(0.01)
            if code is not None:
                return code if code >= 0 else 128 - code
            if time.monotonic() > deadline:
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise TimeoutError(f"no end in {request['timeout_s']:.0f} s")
    finally:
        os.close(reader)


def become(request: dict[str, Any], output: int) -> None:
    """The forked child: stdio, environment and folder of the request, then its program or function."""
    code = 127
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDONLY)
        for fd, source in ((0, null), (1, output), (2, output)):
            os.dup2(source, fd)
        os.closerange(3, 64)
        os.chdir(request["cwd"])
        os.environ.update(request["env"])
        if "call" in request:
            module, _, name = request["call"].partition(":")
            code = getattr(importlib.import_module(module), name)(**request["arguments"]) or 0
            sys.stdout.flush()
        else:
            os.execvp(request["argv"][0], request["argv"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    sys.path.append(str(Path(__file__).resolve().parents[2]))
    port = Port(next(path for number in range(4) if os.path.exists(path := PORT.format(number))))
    port.send(ready=True)
    serve(port)


if __name__ == "__main__":
    main()
