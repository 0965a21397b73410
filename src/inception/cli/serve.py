"""`serve` and `system dial-stdio`: the Docker Engine API, and a way to it over ssh."""

from __future__ import annotations

import os
import signal
import sys

from inception.cli.call import Call
from inception.cli.flags import Command
from inception.errors import Forbidden, InvalidArgument, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl

    from inception.api.server import Listener

#: Where systemd's descriptors begin. Source: sd_listen_fds(3).
_FIRST_FD = 3


def serve(call: Call) -> int:
    import asyncio  # with aiohttp 300 ms, which only the server pays

    from inception.api.server import Server

    listeners = _inherited() or [_open(call, address) for address in _addresses(call)]
    names = tuple(name for listener in listeners for name in listener.names)
    server = Server(call.local_engine("serve"), names, experimental=call.flags.on("experimental"))

    async def run() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.stop)
        await server.run(listeners, lambda: _ready(listeners))

    try:
        asyncio.run(run())
    finally:
        for listener in listeners:
            _unlink(listener)
    return 0


def _addresses(call: Call) -> list[str]:
    return call.flags.list("host") or [f"unix://{call.local_engine('serve').run_root}/docker.sock"]


def _open(call: Call, address: str) -> Listener:
    from inception.api.server import Listener, listen_unix

    scheme, separator, rest = address.partition("://")
    if scheme == "unix" and rest.startswith("/"):
        return Listener(listen_unix(rest), ours=True)
    if scheme == "tcp" and separator:
        return _open_tcp(call, address, rest)
    raise InvalidArgument(f"invalid host {address!r}: expected unix:///PATH or tcp://HOST:PORT")


def _open_tcp(call: Call, address: str, rest: str) -> Listener:
    import socket

    from inception.api.server import Listener

    host, _, port = rest.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise InvalidArgument(f"invalid host {address!r}: expected tcp://HOST:PORT")
    if not call.flags.on("tlsverify"):
        raise Forbidden(
            f"serve on {address}: whoever reaches this port would be root here",
            "give --tlsverify with --tlscacert, --tlscert and --tlskey, or use ssh://",
        )
    context = _tls(call)
    host = host.strip("[]")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, int(port)), family=family, backlog=512)
    except OSError as error:
        raise Unavailable(f"listen on {address}: {error.strerror}") from error
    return Listener(listening, context, (host, socket.gethostname().lower(), socket.getfqdn().lower()))


def _tls(call: Call) -> ssl.SSLContext:
    """Mutual: the server shows its certificate and takes only clients with one of the authority's."""
    import ssl

    paths = {name: call.flags.text(name) for name in ("tlscacert", "tlscert", "tlskey")}
    for name, path in paths.items():
        if not path:
            raise InvalidArgument(f"--{name} is needed with --tlsverify")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(paths["tlscert"], paths["tlskey"])
        context.load_verify_locations(paths["tlscacert"])
    except (OSError, ssl.SSLError) as error:
        raise InvalidArgument(f"read TLS files: {error}") from error
    return context


def _inherited() -> list[Listener]:
    """Sockets that systemd opened for us. Only unix ones: their folder's mode is the unit's to set."""
    import socket

    from inception.api.server import Listener

    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(os.environ.pop("LISTEN_FDS", "0"))
    for name in ("LISTEN_PID", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    found = []
    for fd in range(_FIRST_FD, _FIRST_FD + count):
        os.set_inheritable(fd, False)
        listening = socket.socket(fileno=fd)
        if listening.family != socket.AF_UNIX:
            raise Forbidden("serve: a socket from systemd that is no unix socket", "TCP is served with --host and --tlsverify")
        found.append(Listener(listening))
    return found


def _ready(listeners: list[Listener]) -> None:
    """Say so to systemd (sd_notify(3)) and on standard error."""
    import socket

    for listener in listeners:
        print(f"inception: serving the Docker Engine API on {listener.name}", file=sys.stderr, flush=True)
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
            try:
                notify.connect("\0" + address[1:] if address.startswith("@") else address)
                notify.send(b"READY=1")
            except OSError as error:
                print(f"inception: tell systemd: {error.strerror}", file=sys.stderr)


def _unlink(listener: Listener) -> None:
    """Take the socket's name away, unless it is systemd's."""
    import socket

    listener.socket.close()
    if listener.socket.family == socket.AF_UNIX and listener.ours:
        try:
            os.unlink(listener.name)
        except OSError:
            pass


SERVE = Command(
    serve,
    "[OPTIONS]",
    "Serve the Docker Engine API for docker, docker compose and Docker's libraries",
    """\
      --experimental       Say so to clients: Docker's command line shows `docker checkpoint` then
  -H, --host list          Address to listen on: unix:///PATH or tcp://HOST:PORT (default: docker.sock in the run root)
      --tlscacert string   Trust clients with certificates signed by this authority
      --tlscert string     Path to the server's TLS certificate
      --tlskey string      Path to the server's TLS key
      --tlsverify          Serve TCP with mutual TLS
""",
    maximum=0,
)


def dial_stdio(call: Call) -> int:
    """Standard input and output joined to the server's socket: what `docker -H ssh://HOST` runs on the other side."""
    import socket
    import threading

    path = call.flags.text("socket") or f"{call.local_engine('system dial-stdio').run_root}/docker.sock"
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        connection.connect(path)
    except OSError as error:
        raise Unavailable(f"connect to {path}: {error.strerror}", "is `inception serve` running?") from error

    def send() -> None:
        try:
            while data := os.read(0, 1 << 16):
                connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the server has gone; the other direction tells

    threading.Thread(target=send, daemon=True).start()
    while data := connection.recv(1 << 16):
        view = memoryview(data)
        while view:
            view = view[os.write(1, view) :]
    return 0


DIAL_STDIO = Command(
    dial_stdio,
    "[OPTIONS]",
    "Proxy standard input and output to the API's socket, for docker -H ssh://",
    "      --socket string   The socket to connect to (default: docker.sock in the run root)\n",
    maximum=0,
)
