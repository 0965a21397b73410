"""`RUN --mount=type=ssh`: a socket for the step that leads to the caller's ssh-agent, for two questions only.

The step may ask which keys there are and have something signed; adding, removing and locking keys, and every extension, are
answered with a failure here, so a Dockerfile can use the caller's keys while it runs and change nothing about them.

A message is its length, big endian, a byte for its type, and the rest. Source: draft-ietf-sshm-ssh-agent.
"""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import threading
import time

from inception.errors import InvalidArgument, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_REQUEST_IDENTITIES = 11
_SIGN_REQUEST = 13
_FAILURE = b"\x00\x00\x00\x01\x05"
_MAX_MESSAGE = 256 << 10
_MAX_CLIENTS = 16


_MAX_KEY = 64 << 10
_START_S = 5.0
_TOOLS = ("/usr/bin", "/usr/local/bin", "/bin")


def parse_ssh(text: str) -> tuple[str, str]:
    """`--ssh default`, `--ssh id=SOCKET`, `--ssh id=KEY,KEY`: the id, and the path of the agent's socket or those of the keys.
    Raises InvalidArgument."""
    name, _, path = text.partition("=")
    path = path or os.environ.get("SSH_AUTH_SOCK", "")
    if not path:
        raise InvalidArgument(f"invalid empty ssh agent socket: --ssh {text}", "start an ssh-agent: SSH_AUTH_SOCK is not set")
    if keys := key_files(path):
        for key in keys:
            _check_key(text, key)
        return name or "default", path
    try:
        agent = connect(path)
    except OSError as error:
        raise InvalidArgument(f"--ssh {text}: {path} is not the socket of an agent: {error.strerror}") from None
    agent.close()
    return name or "default", path


def key_files(path: str) -> list[str]:
    """The files that the value of `--ssh` names; none when it is a socket's."""
    if not path:
        return []
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            return []
    except OSError:
        pass
    return path.split(",")


def _check_key(text: str, path: str) -> None:
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_KEY + 1)
    except OSError as error:
        raise InvalidArgument(f"--ssh {text}: {path} is neither an agent's socket nor a key: {error.strerror}") from None
    if len(data) > _MAX_KEY or b"PRIVATE KEY-----" not in data:
        raise InvalidArgument(f"--ssh {text}: {path} is neither an agent's socket nor a private key")


class KeyAgent:
    """An ssh-agent of our own that has the keys of *files*, listening in *folder*. Keys with a passphrase are refused: nobody
    is asked for it.

    The kernel ends the agent with the thread that started it, so that nothing of it stays when this process is killed.
    """

    def __init__(self, files: list[str], folder: str) -> None:
        self._folder = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._cwd = folder
        self._name = f"{os.urandom(6).hex()}.agent"  # from that folder: a socket's path is short
        # Without new privileges its set-group-ID bit means nothing, which would undo the wish to die.
        bound = [_tool("setpriv"), "--no-new-privs", "--pdeathsig", "KILL"]
        self._process = subprocess.Popen(
            [*bound, _tool("ssh-agent"), "-D", "-a", self._name],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._await()
            for file in files:
                self._add(file)
        except BaseException:
            self.close()
            raise

    def reach(self) -> socket.socket:
        return connect(f"/proc/self/fd/{self._folder}/{self._name}")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        try:
            os.unlink(self._name, dir_fd=self._folder)
        except FileNotFoundError:
            pass  # it never came as far as that
        os.close(self._folder)

    def _await(self) -> None:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self.reach().close()
            except OSError:
                time.sleep(0.005)
            else:
                return
        raise Unavailable("ssh-agent did not start", "install the package openssh-client to forward keys")

    def _add(self, file: str) -> None:
        done = subprocess.run(
            [_tool("ssh-add"), "-q", os.path.abspath(file)],
            cwd=self._cwd,
            env={"PATH": "/usr/bin:/bin", "SSH_AUTH_SOCK": self._name, "SSH_ASKPASS_REQUIRE": "never", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            start_new_session=True,  # no terminal to ask on
            check=False,
        )
        if done.returncode != 0:
            said = done.stderr.decode("utf-8", "replace").strip().partition("\n")[0]
            raise InvalidArgument(
                f"ssh key {file}: {said or 'it could not be read'}", "a key with a passphrase needs an agent: --ssh NAME=SOCKET"
            )


def _tool(name: str) -> str:
    found = next((f"{place}/{name}" for place in _TOOLS if os.path.exists(f"{place}/{name}")), "")
    if not found:
        raise Unavailable(f"{name} is not installed", "install the package openssh-client to forward keys")
    return found


class AgentSocket:
    """Listens at *name* in the folder *folder_fd* until it is closed; *reach* connects to the agent."""

    def __init__(self, folder_fd: int, name: str, reach: Callable[[], socket.socket]) -> None:
        self._reach = reach
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(f"/proc/self/fd/{folder_fd}/{name}")
        self._listener.listen(_MAX_CLIENTS)
        self._thread = threading.Thread(target=self._accept, name="ssh-agent", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept(2), which close(2) alone does not
        self._thread.join()
        self._listener.close()
        with self._lock:
            for client in self._open:
                client.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if len(self._open) >= _MAX_CLIENTS:
                    client.close()
                    continue
                self._open.add(client)
            threading.Thread(target=self._serve, args=(client,), name="ssh-client", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            relay(client, self._reach)
        finally:
            with self._lock:
                self._open.discard(client)


def relay(client: socket.socket, reach: Callable[[], socket.socket]) -> None:
    """Two questions of *client*'s to the agent that *reach* connects to, until either goes away; *client* is closed then."""
    try:
        with client, reach() as agent:
            while message := _read(client):
                if message[4] in (_REQUEST_IDENTITIES, _SIGN_REQUEST):
                    agent.sendall(message)
                    client.sendall(_read(agent) or _FAILURE)
                else:
                    client.sendall(_FAILURE)
    except OSError:
        pass


def connect(path: str) -> socket.socket:
    """An agent of this machine. Raises OSError."""
    agent = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        agent.connect(path)
    except OSError:
        agent.close()
        raise
    return agent


def _read(stream: socket.socket) -> bytes:
    """One message, its length included; empty at the end, and for one that is none."""
    head = _exactly(stream, 4)
    size = int.from_bytes(head, "big")
    if len(head) < 4 or not 0 < size <= _MAX_MESSAGE:
        return b""
    body = _exactly(stream, size)
    return head + body if len(body) == size else b""


def _exactly(stream: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (piece := stream.recv(size - len(data))):
        data += piece
    return bytes(data)
