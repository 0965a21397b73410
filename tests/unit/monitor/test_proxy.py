import _thread
import os
import socket
import threading

import pytest

from inception.monitor import proxy
from inception.monitor.config import PublishedPort
from inception.monitor.loop import Loop
from inception.monitor.proxy import Proxy


class Server:
    """A TCP server on loopback that handles each connection with *handle* in a thread."""

    def __init__(self, handle, family=socket.AF_INET):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.handle = handle
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with client:
            self.handle(client)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture
def publish():
    """`publish(port, protocol)`: a proxied address for what listens on that port of 127.0.0.1."""
    stops = []

    def make(port, protocol="tcp"):
        kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
        held = socket.socket(socket.AF_INET6, kind)
        held.bind(("::1", 0))
        if protocol == "tcp":
            held.listen(64)
        address = held.getsockname()[:2]
        loop = Loop()
        config = PublishedPort(host_ip="::1", host_port=address[1], protocol=protocol, target_ip="127.0.0.1", target_port=port)
        served = Proxy(loop, [(config, held.detach())])
        running = [True]
        done = _thread.allocate_lock()
        done.acquire()

        def run():
            while running:
                loop.run_once(0.02)
            served.close()
            loop.close()
            done.release()

        _thread.start_new_thread(run, ())
        stops.append((running, done))
        return address

    yield make
    for running, done in stops:
        running.clear()
        assert done.acquire(timeout=5)


def read_all(connection):
    data = b""
    while chunk := connection.recv(65536):
        data += chunk
    return data


def echo(client):
    while data := client.recv(65536):
        client.sendall(data)


def test_a_connection_is_passed_on_both_ways_with_its_half_closes(publish):
    def reverse(client):
        data = read_all(client)  # needs the half-close to get through
        client.sendall(data[::-1])

    server = Server(reverse)
    with socket.create_connection(publish(server.port), timeout=10) as connection:
        connection.sendall(b"hello" * 100_000)
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b"olleh" * 100_000
    server.close()


def test_connections_at_once_do_not_mix(publish):
    server = Server(echo)
    address = publish(server.port)
    connections = [socket.create_connection(address, timeout=10) for _ in range(20)]
    for number, connection in enumerate(connections):
        connection.sendall(b"%d" % number)
    for number, connection in enumerate(connections):
        assert connection.recv(100) == b"%d" % number
        connection.close()
    server.close()


def test_a_port_without_a_listener_inside_closes_the_connection(publish):
    unused = socket.create_server(("127.0.0.1", 0))
    port = unused.getsockname()[1]
    unused.close()
    with socket.create_connection(publish(port), timeout=10) as connection:
        try:
            assert connection.recv(1) == b""
        except ConnectionResetError:
            pass


def test_a_side_that_does_not_read_stops_the_other_and_costs_one_chunk(publish):
    sent = []

    def flood(client):
        client.settimeout(0.5)
        try:
            while True:
                sent.append(client.send(b"x" * 65536))
        except OSError:
            pass

    server = Server(flood)
    before = len(os.listdir("/proc/self/fd"))
    with socket.create_connection(publish(server.port), timeout=10) as connection:
        threading.Event().wait(1)
        assert sum(sent) < 64 << 20  # socket buffers of the kernel, not of ours
        assert connection.recv(1) == b"x"
    server.close()
    assert before > 0


def test_connections_are_bounded_and_leave_nothing(publish, monkeypatch):
    monkeypatch.setattr(proxy, "CONNECTIONS", 2)
    server = Server(echo)
    address = publish(server.port)
    kept = [socket.create_connection(address, timeout=10) for _ in range(2)]
    for connection in kept:
        connection.sendall(b"a")
        assert connection.recv(1) == b"a"
    with socket.create_connection(address, timeout=10) as refused:
        assert refused.recv(1) == b""
    for connection in kept:
        connection.close()
    server.close()


def test_datagrams_find_their_way_back_to_each_client(publish):
    inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    inside.bind(("127.0.0.1", 0))
    inside.settimeout(10)
    address = publish(inside.getsockname()[1], "udp")
    clients = [socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) for _ in range(3)]
    for number, client in enumerate(clients):
        client.settimeout(10)
        client.sendto(b"%d" % number, address)
    for _ in clients:
        data, sender = inside.recvfrom(100)
        inside.sendto(b"re " + data, sender)
    for number, client in enumerate(clients):
        assert client.recv(100) == b"re %d" % number
        client.close()
    inside.close()


def test_flows_are_bounded_the_least_recently_used_goes(publish, monkeypatch):
    monkeypatch.setattr(proxy, "FLOWS", 2)
    inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    inside.bind(("127.0.0.1", 0))
    inside.settimeout(10)
    address = publish(inside.getsockname()[1], "udp")
    seen = []
    clients = [socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) for _ in range(3)]
    for which in (0, 1, 0, 2, 0):
        clients[which].sendto(b"x", address)
        seen.append(inside.recvfrom(10)[1])
    assert seen[0] == seen[2] == seen[4]  # the first was used last when the third came
    for client in clients:
        client.close()
    inside.close()
