"""The seccomp listener: handed to the agent at `linux.seccomp.listenerPath`, with the state of the process it is about.

Source: runtime-spec config-linux.md, "The Container Process State".
"""

from __future__ import annotations

import _socket
import os

from inception.errors import Unavailable
from inception.jsontext import dumps
from inception.record import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.oci.runtime import Seccomp, State
    from inception.runtime.child import Child


def pass_listener(child: Child, seccomp: Seccomp | None, state: State) -> None:
    """Send what came with the pause to the agent, and close it. Raises Unavailable; the process is ended then."""
    assert seccomp is not None
    document = {
        "ociVersion": state.oci_version,
        "fds": ["seccompFd"],
        "pid": child.pid,
        "metadata": seccomp.listener_metadata,
        "state": {"pid": state.pid, **encode(state), "ociVersion": state.oci_version},
    }
    agent = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        agent.connect(seccomp.listener_path)
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, child.passed.to_bytes(4, "little"))
        data = dumps(document).encode()
        sent = agent.sendmsg([data], [rights])
        if sent < len(data):
            agent.sendall(data[sent:])
    except OSError as error:
        from inception.linux import process

        process.pidfd_send_signal(child.pidfd, 9)
        os.close(child.channel)
        cause = f"failed to connect with seccomp agent: {error.strerror}"
        raise Unavailable(f"linux.seccomp.listenerPath: {seccomp.listener_path}: {cause}") from error
    finally:
        agent.close()
        os.close(child.passed)
