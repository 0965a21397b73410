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
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

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


class Machine:
    """Boots on entering. *disks* are more images, writable: /dev/vde and on. *append* is more of the kernel's command line."""

    def __init__(
        self, *, systemd: bool = False, memory_mb: int = 2048, disks: Sequence[Path] = (), append: str = "", accel: str = ""
    ) -> None:
        self.systemd = systemd
        self.memory_mb = memory_mb
        self.disks = disks
        self.append = append
        self.accel = accel or os.environ.get("INCEPTION_VM_ACCEL", "")

    def __enter__(self) -> Machine:
        root, venv = open_root(), open_venv()
        self.folder = Path(tempfile.mkdtemp(prefix="inception-vm-"))
        try:
            make_project(self.folder / "project.ext4")
            make_disk(self.folder / "scratch.ext4", None, megabytes=8192)
            (self.folder / "initramfs").write_bytes(root.initramfs())
            self._start(root.kernel, self.folder / "initramfs", [root.disk, self.folder / "project.ext4", venv])
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.cut()
        shutil.rmtree(self.folder)

    def run(
        self,
        argv: Sequence[str],
        *,
        env: dict[str, str] | None = None,
        cwd: str = str(PROJECT),
        timeout_s: float = 600,
        on_output: Callable[[str], None] | None = None,
    ) -> Result:
        """Runs *argv* to its end. Raises MachineError when it can't be started, takes longer, or the machine dies."""
        self.send(argv, env=env, cwd=cwd, timeout_s=timeout_s)
        return self.receive(timeout_s=timeout_s + 30, on_output=on_output)

    def send(
        self,
        argv: Sequence[str],
        *,
        env: dict[str, str] | None = None,
        cwd: str = str(PROJECT),
        timeout_s: float = 600,
    ) -> None:
        """Starts *argv* and doesn't wait; `receive` does."""
        request = {"argv": list(argv), "env": env or {}, "cwd": cwd, "timeout_s": timeout_s}
        self._port.sendall(json.dumps(request).encode() + b"\n")

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

    def python(self, *argv: str, timeout_s: float = 600) -> Result:
        """The checkout's interpreter inside, with *argv*."""
        return self.run([f"{PROJECT}/.venv/bin/python", *argv], timeout_s=timeout_s)

    def cut(self) -> None:
        """The power is gone: no byte reaches a disk from now on but what the guest had already sent to it."""
        process = getattr(self, "_process", None)
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        port = getattr(self, "_port", None)
        if port is not None:
            port.close()

    def monitor(self, command: str, **arguments: object) -> object:
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
        append += " vm.systemd" if self.systemd else ""
        command = ["qemu-system-x86_64", "-M", "pc", "-cpu", "max", "-smp", "2", "-m", str(self.memory_mb), "-nodefaults"]
        command += ["-display", "none", "-no-reboot", "-kernel", str(kernel), "-initrd", str(initramfs)]
        command += ["-append", f"{append} {self.append}".strip()]
        command += ["-accel", self.accel or ("kvm" if has_kvm() else "tcg,thread=multi")]
        command += ["-serial", f"file:{self.folder}/console", "-qmp", f"unix:{self.folder}/qmp,server=on,wait=off"]
        command += ["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]
        command += ["-chardev", f"socket,id=agent,path={self.folder}/agent,server=on,wait=off"]
        command += ["-device", "virtserialport,chardev=agent,name=agent"]
        for image in readonly:
            command += ["-drive", f"file={image},format=raw,if=virtio,readonly=on"]
        # What is written there is gone with the machine: the host need not sync it.
        command += ["-drive", f"file={self.folder}/scratch.ext4,format=raw,if=virtio,cache=unsafe"]
        for image in self.disks:
            command += ["-drive", f"file={image},format=raw,if=virtio,cache=writeback"]
        return command

    def _start(self, kernel: Path, initramfs: Path, readonly: Sequence[Path]) -> None:
        started = time.monotonic()
        command = self.command_line(kernel, initramfs, readonly)
        with open(self.folder / "qemu.log", "wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = started + 300
        self._port = self._connect(deadline)
        self._rest = b""
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

    def _answer(self, deadline: float) -> dict[str, object]:
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
        return json.loads(line)
