"""A booted machine, as a value: commands go in, output and exit codes come out, and its power can be cut.

    caller                              QEMU                             guest
    Machine(...)  ── kernel, disks ──▶  SeaBIOS, kernel, initramfs ──▶   init, agent.py
    run(argv)     ── a line of JSON ──▶ virtio-serial port         ──▶   a process; its output comes back
    cut()         ── SIGKILL ────────▶  gone, with every page the guest had not sent to its disk

KVM is used where it works, else the processor is emulated (TCG): slower by far, the same otherwise.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from tests.vm.root import PROJECT, make_disk, make_project, open_root, open_venv

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def has_kvm() -> bool:
    """Whether the processor can be lent out. /dev/kvm alone says little: inside of some clouds it opens and no guest runs."""
    flags = next((line.split() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), [])
    return os.access("/dev/kvm", os.R_OK | os.W_OK) and bool({"vmx", "svm"} & set(flags))


class Result:
    def __init__(self, code: int, output: str) -> None:
        self.code = code
        self.output = output

    def __repr__(self) -> str:
        return f"exit {self.code}\n{self.output}"


class MachineError(Exception):
    """The machine did not boot, died, or could not start a command; with the end of its console."""


class Saved(NamedTuple):
    """A machine that was stopped in the middle and can go on any number of times, each in a memory of its own."""

    folder: Path
    memory_mb: int


class Machine:
    """Boots on entering, or goes on from what was *saved*. *append* is more of the kernel's command line.

    With *volatile* what is written lies in the machine's memory instead of on a scratch disk, so that it can be saved.
    """

    def __init__(
        self,
        *,
        systemd: bool = False,
        memory_mb: int = 2048,
        append: str = "",
        volatile: bool = False,
        saved: Saved | None = None,
    ) -> None:
        self.systemd = systemd
        self.memory_mb = saved.memory_mb if saved else memory_mb
        self.append = append
        self.volatile = volatile or saved is not None
        self.saved = saved

    def __enter__(self) -> Machine:
        root, venv = open_root(), open_venv()
        self.folder = Path(tempfile.mkdtemp(prefix="inception-vm-"))
        try:
            pieces = self.saved.folder if self.saved else self.folder
            if not self.saved:
                make_project(pieces / "project.ext4")
                (pieces / "initramfs").write_bytes(root.initramfs())
            if not self.volatile:
                make_disk(self.folder / "scratch.ext4", None, megabytes=8192)
            self._start(root.kernel, pieces / "initramfs", [root.disk, pieces / "project.ext4", venv])
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.cut()
        shutil.rmtree(self.folder)

    def save(self) -> Saved:
        """Stops here for good; the pieces stay in this machine's folder as long as it is open."""
        self.monitor("migrate", uri=f"exec:cat >{shlex.quote(str(self.folder / 'state'))}")
        while (status := self.monitor("query-migrate")["status"]) != "completed":
            if status in ("failed", "cancelled"):
                raise MachineError("the machine's state could not be saved")
            time.sleep(0.05)
        self.cut()
        return Saved(self.folder, self.memory_mb)

    def attach(self, image: Path, log: Path | None = None) -> None:
        """Plugs in another disk: /dev/vdb or the next that is free, named by its serial number in /dev/disk or /sys/block.

        With a *log* (an empty file) all that reaches the disk is written there too, in order, for `tests.vm.disklog`.
        """
        name = image.stem
        cache = {"direct": False, "no-flush": False}
        self.monitor("blockdev-add", **{"node-name": name, "driver": "file", "filename": str(image), "cache": cache})
        if log:
            self.monitor("blockdev-add", **{"node-name": f"{name}-log", "driver": "file", "filename": str(log)})
            logged = {"node-name": f"{name}-logged", "driver": "blklogwrites", "file": name, "log": f"{name}-log"}
            self.monitor("blockdev-add", **logged)
            name = f"{name}-logged"
        self.monitor("device_add", driver="virtio-blk-pci", drive=name, id=image.stem, serial=image.stem)

    def run(
        self,
        argv: Sequence[str],
        *,
        env: dict[str, str] | None = None,
        timeout_s: float = 600,
        on_output: Callable[[str], None] | None = None,
    ) -> Result:
        """Runs *argv* to its end. Raises MachineError when it can't be started, takes longer, or the machine dies."""
        self._send(argv=list(argv), env=env or {}, cwd=str(PROJECT), timeout_s=timeout_s)
        return self.receive(timeout_s=timeout_s + 30, on_output=on_output)

    def call(self, function: str, *, timeout_s: float = 600, **arguments: object) -> Result:
        """Calls `module:function` in a fork of the agent, which may have its imports (`preload`)."""
        self.start_call(function, timeout_s=timeout_s, **arguments)
        return self.receive(timeout_s=timeout_s + 30)

    def start_call(self, function: str, *, timeout_s: float = 600, **arguments: object) -> None:
        """`call` that doesn't wait; `receive` does."""
        self._send(call=function, arguments=arguments, env={}, cwd="/", timeout_s=timeout_s)

    def preload(self, *modules: str) -> None:
        self._send(preload=modules)
        self.receive(timeout_s=120)

    def receive(self, *, timeout_s: float, on_output: Callable[[str], None] | None = None) -> Result:
        """The rest of what the sent command does."""
        deadline = time.monotonic() + timeout_s
        parts: list[str] = []
        while True:
            answer = self._answer(deadline)
            if "out" in answer:
                parts.append(answer["out"])
                if on_output:
                    on_output(answer["out"])
            elif "error" in answer:
                raise MachineError(f"{''.join(parts)[-2000:]}\n{answer['error']}")
            elif "exit" in answer:
                return Result(answer["exit"], "".join(parts))

    def cut(self) -> None:
        """The power is gone: no byte reaches a disk from now on but what the guest had already sent to it."""
        process = getattr(self, "_process", None)
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        port = getattr(self, "_port", None)
        if port is not None:
            port.close()

    def monitor(self, command: str, **arguments: object) -> Any:
        """A command of QEMU's machine protocol. Raises MachineError with its words."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(60)
            control.connect(str(self.folder / "qmp"))
            with control.makefile("rwb", buffering=0) as stream:
                stream.readline()
                for name, values in (("qmp_capabilities", {}), (command, arguments)):
                    stream.write(json.dumps({"execute": name, "arguments": values}).encode() + b"\n")
                    while "event" in (answer := json.loads(stream.readline())):
                        continue
        if "error" in answer:
            raise MachineError(f"{command}: {answer['error']['desc']}")
        return answer["return"]

    @property
    def console(self) -> str:
        return (self.folder / "console").read_text(errors="replace")

    def command_line(self, kernel: Path, initramfs: Path, readonly: Sequence[Path]) -> list[str]:
        append = f"console=ttyS0 quiet loglevel=4 panic=-1 tsc=reliable vm.project={PROJECT} vm.init={PROJECT}/tests/vm/init"
        append += (" vm.systemd" if self.systemd else "") + (" vm.volatile" if self.volatile else "")
        command = ["qemu-system-x86_64", "-M", "pc", "-cpu", "max", "-smp", "2", "-m", str(self.memory_mb), "-nodefaults"]
        command += ["-display", "none", "-no-reboot", "-kernel", str(kernel), "-initrd", str(initramfs)]
        command += ["-append", f"{append} {self.append}".strip()]
        command += ["-accel", os.environ.get("INCEPTION_VM_ACCEL") or ("kvm" if has_kvm() else "tcg,thread=multi")]
        command += ["-serial", f"file:{self.folder}/console", "-qmp", f"unix:{self.folder}/qmp,server=on,wait=off"]
        command += ["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]
        command += ["-chardev", f"socket,id=agent,path={self.folder}/agent,server=on,wait=off"]
        command += ["-device", "virtserialport,chardev=agent,name=agent"]
        for image in readonly:
            command += ["-drive", f"file={image},format=raw,if=virtio,readonly=on"]
        if not self.volatile:
            # What is written there is gone with the machine: the host need not sync it.
            command += ["-drive", f"file={self.folder}/scratch.ext4,format=raw,if=virtio,cache=unsafe"]
        if self.saved:
            command += ["-incoming", f"exec:cat {shlex.quote(str(self.saved.folder / 'state'))}"]
        return command

    def _send(self, **request: object) -> None:
        self._port.sendall(json.dumps(request).encode() + b"\n")

    def _start(self, kernel: Path, initramfs: Path, readonly: Sequence[Path]) -> None:
        started = time.monotonic()
        command = self.command_line(kernel, initramfs, readonly)
        with open(self.folder / "qemu.log", "wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = started + 300
        self._port = self._connect(deadline)
        self._rest = b""
        if self.saved:
            while self.monitor("query-status")["status"] != "running":
                time.sleep(0.02)
        else:
            while "ready" not in self._answer(deadline):
                continue
        self.boot_s = time.monotonic() - started

    def _connect(self, deadline: float) -> socket.socket:
        while True:
            port = socket.socket(socket.AF_UNIX)
            try:
                port.connect(str(self.folder / "agent"))
                return port
            except (FileNotFoundError, ConnectionRefusedError):
                port.close()
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise MachineError(f"qemu: {(self.folder / 'qemu.log').read_text().strip()}") from None
                time.sleep(0.02)

    def _answer(self, deadline: float) -> dict[str, Any]:
        while b"\n" not in self._rest:
            self._port.settimeout(max(0.1, deadline - time.monotonic()))
            try:
                data = self._port.recv(65536)
            except TimeoutError:
                raise MachineError(
                    f"the machine gave no answer in time; its console ends with:\n{self.console[-2000:]}"
                ) from None
            except ConnectionError:
                data = b""
            if not data:
                raise MachineError(f"the machine is gone; its console ends with:\n{self.console[-2000:]}")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found
