"""`RUN --mount=type=ssh`: a socket for the step that leads to the caller's ssh-agent, for two questions only.

The step may ask which keys there are and have something signed; adding, removing and locking keys, and every extension, are
answered with a failure here, so a Dockerfile can use the caller's keys while it runs and change nothing about them.

A message is its length, big endian, a byte for its type, and the rest. Source: draft-ietf-sshm-ssh-agent.
"""

from __future__ import annotations

import os
import socket
import threading

from inception.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_REQUEST_IDENTITIES = 11
_SIGN_REQUEST = 13
_FAILURE = b"\x00\x00\x00\x01\x05"
_MAX_MESSAGE = 256 << 10
_MAX_CLIENTS = 16


def parse_ssh(text: str) -> tuple[str, str]:
    """`--ssh default`, `--ssh id=SOCKET`: the id, and the path of the agent's socket. Raises InvalidArgument."""
    name, _, path = text.partition("=")
    path = path or os.environ.get("SSH_AUTH_SOCK", "")
    if not path:
        raise InvalidArgument(f"invalid empty ssh agent socket: --ssh {text}", "start an ssh-agent: SSH_AUTH_SOCK is not set")
    try:
        agent = connect(path)
    except OSError as error:
        raise InvalidArgument(f"--ssh {text}: {path} is not the socket of an agent: {error.strerror}") from None
    agent.close()
    return name or "default", path


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
            with self._reach() as agent:
                while message := _read(client):
                    if message[4] in (_REQUEST_IDENTITIES, _SIGN_REQUEST):
                        agent.sendall(message)
                        client.sendall(_read(agent) or _FAILURE)
                    else:
                        client.sendall(_FAILURE)
        except OSError:
            pass  # one of the two went away: so does the connection
        finally:
            with self._lock:
                self._open.discard(client)
            client.close()


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
