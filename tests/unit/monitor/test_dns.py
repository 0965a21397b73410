import _thread
import os
import random
import socket
import threading
import time

import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inception.monitor import dns, dnswire
from inception.monitor.config import DnsConfig
from inception.monitor.dns import Resolver
from inception.monitor.loop import Loop


class Upstream:
    """A DNS server on loopback, UDP and TCP on one port; *behave* makes the answer to a parsed query, or None for silence."""

    def __init__(self, address, behave, port=0):
        self.behave = behave
        self.asked = []
        self.udp, self.tcp = self.listen(address, port)
        self.port = self.udp.getsockname()[1]
        self.threads = [threading.Thread(target=target, daemon=True) for target in (self.serve_udp, self.serve_tcp)]
        for thread in self.threads:
            thread.start()

    @staticmethod
    def listen(address, port):
        """A UDP and a TCP socket on the same port: a free UDP port may be taken for TCP, even by a connection that ends."""
        while True:
            tcp = socket.create_server((address, port))
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                udp.bind(tcp.getsockname())
                return udp, tcp
            except OSError:
                tcp.close()
                udp.close()
                if port:
                    raise

    def answer(self, data, tcp):
        query = dnslib.DNSRecord.parse(data)
        self.asked.append((str(query.q.qname), tcp))
        reply = self.behave(query, tcp)
        return reply.pack() if reply is not None else None

    def serve_udp(self):
        while True:
            try:
                data, client = self.udp.recvfrom(65535)
            except OSError:
                return
            if not data:
                return
            reply = self.answer(data, False)
            if reply:
                self.udp.sendto(reply, client)

    def serve_tcp(self):
        while True:
            try:
                client, _ = self.tcp.accept()
            except OSError:
                return
            with client:
                head = client.recv(2)
                if not head:
                    return
                reply = self.answer(client.recv(int.from_bytes(head, "big")), True)
                if reply:
                    client.sendall(len(reply).to_bytes(2, "big") + reply)

    def close(self):
        self.udp.sendto(b"", self.udp.getsockname())
        socket.create_connection(self.tcp.getsockname()).close()
        for thread in self.threads:
            thread.join(5)
        self.udp.close()
        self.tcp.close()


def says(address, count=1):
    def behave(query, tcp):
        reply = query.reply()
        for _ in range(count):
            reply.add_answer(dnslib.RR(query.q.qname, rdata=dnslib.A(address), ttl=60))
        if not tcp and len(reply.pack()) > 512:
            reply = query.reply()
            reply.header.tc = 1
        return reply

    return behave


def refuses(rcode):
    def behave(query, tcp):
        reply = query.reply()
        reply.header.rcode = rcode
        return reply

    return behave


class Served:
    """A resolver in a thread, asked over real sockets with dnslib as the other side."""

    def __init__(self, config, upstream_port=53):
        self.loop = Loop()
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        tcp = socket.create_server(("127.0.0.1", 0))
        self.udp, self.tcp = udp.getsockname(), tcp.getsockname()
        self.resolver = Resolver(self.loop, config, udp.detach(), tcp.detach(), upstream_port)
        self.stop = False
        self.done = _thread.allocate_lock()
        self.done.acquire()
        _thread.start_new_thread(self.run, ())

    def run(self):
        while not self.stop:
            self.loop.run_once(0.02)
        self.resolver.close()
        self.loop.close()
        self.done.release()

    def close(self):
        self.stop = True
        assert self.done.acquire(timeout=5)

    def ask(self, name, kind="A", tcp=False, edns=0):
        query = dnslib.DNSRecord.question(name, kind)
        if edns:
            query.add_ar(dnslib.EDNS0(udp_len=edns))
        answer = dnslib.DNSRecord.parse(self.send(query.pack(), tcp))
        assert answer.header.id == query.header.id
        assert answer.header.qr == 1
        return answer

    def send(self, data, tcp=False):
        if tcp:
            with socket.create_connection(self.tcp, timeout=10) as connection:
                connection.sendall(len(data).to_bytes(2, "big") + data)
                file = connection.makefile("rb")
                return file.read(int.from_bytes(file.read(2), "big"))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(10)
            asking.sendto(data, self.udp)
            return asking.recv(65535)


def put(table, name, *addresses):
    for address in addresses:
        os.makedirs(f"{table}/{name}", exist_ok=True)
        open(f"{table}/{name}/{address}", "w").close()


@pytest.fixture
def serve(tmp_path):
    """`serve(upstreams=[(address, behave)], **DnsConfig fields)`."""
    ended = []

    def make(upstreams=(), **config):
        port = 0
        servers = []
        for address, behave in upstreams:
            servers.append(Upstream(address, behave, port))
            port = servers[0].port
        served = Served(DnsConfig(upstream=[address for address, _ in upstreams], **config), port or 53)
        served.upstreams = servers
        ended.extend([served, *servers])
        return served

    yield make
    for one in ended:
        one.close()


def addresses(answer):
    return [str(record.rdata) for record in answer.rr]


def test_a_name_of_a_table_is_answered_with_all_its_addresses_in_turn(serve, tmp_path):
    put(tmp_path, "web", "172.18.0.2", "172.18.0.3", "172.18.0.4")
    served = serve(tables=[str(tmp_path)])
    answers = [addresses(served.ask("WEB.", tcp=tcp)) for tcp in (False, False, True)]
    assert {tuple(sorted(answer)) for answer in answers} == {("172.18.0.2", "172.18.0.3", "172.18.0.4")}
    assert len({answer[0] for answer in answers}) == 3


def test_tables_are_searched_in_order_and_read_afresh(serve, tmp_path):
    put(tmp_path / "one", "web", "10.0.0.1")
    put(tmp_path / "two", "web", "10.0.0.2")
    put(tmp_path / "two", "db", "10.0.0.3")
    served = serve(tables=[str(tmp_path / "one"), str(tmp_path / "missing"), str(tmp_path / "two")])
    assert addresses(served.ask("web")) == ["10.0.0.1"]
    assert addresses(served.ask("db")) == ["10.0.0.3"]
    put(tmp_path / "one", "db", "10.0.0.4")
    assert addresses(served.ask("db")) == ["10.0.0.4"]


def test_ipv6_addresses_answer_questions_of_their_type_and_lead_back_to_their_names(serve, tmp_path):
    for address in ("172.18.0.2", "fd00:1::2", "fd00:1::3"):
        put(tmp_path, "web", address)
    served = serve(tables=[str(tmp_path)])
    assert addresses(served.ask("web")) == ["172.18.0.2"]
    assert sorted(addresses(served.ask("web", "AAAA"))) == ["fd00:1::2", "fd00:1::3"]
    assert len(served.ask("web", "ANY").rr) == 3
    reverse = "2" + ".0" * 23 + ".1.0.0.0.0.0.d.f.ip6.arpa"
    assert str(served.ask(reverse, "PTR").rr[0].rdata) == "web."
    for name in ("2.0.ip6.arpa", "x" + reverse[1:], "22" + reverse[1:]):
        assert served.ask(name, "PTR").rr == []


def test_a_known_name_has_no_other_types_and_nobody_else_is_asked(serve, tmp_path):
    put(tmp_path, "web", "172.18.0.2")
    served = serve([("127.0.0.1", says("9.9.9.9"))], tables=[str(tmp_path)])
    for kind in ("AAAA", "MX", "TXT", "HTTPS"):
        answer = served.ask("web", kind)
        assert (answer.header.rcode, answer.rr) == (0, [])
    assert served.upstreams[0].asked == []


def test_an_address_of_a_table_has_its_name(serve, tmp_path):
    put(tmp_path, "0123456789ab", "172.18.0.2")
    put(tmp_path, "project-web-1", "172.18.0.2")
    put(tmp_path, "web", "172.18.0.2")
    served = serve(tables=[str(tmp_path)])
    assert addresses(served.ask("2.0.18.172.in-addr.arpa", "PTR")) == ["web."]


def test_other_names_are_forwarded_under_another_id(serve):
    served = serve([("127.0.0.1", says("9.9.9.9"))])
    assert addresses(served.ask("example.org")) == ["9.9.9.9"]
    assert addresses(served.ask("example.org", tcp=True)) == ["9.9.9.9"]
    assert served.upstreams[0].asked == [("example.org.", False), ("example.org.", True)]


def test_a_large_answer_is_truncated_and_comes_whole_over_tcp(serve):
    served = serve([("127.0.0.1", says("9.9.9.9", count=100))])
    assert served.ask("many.example").header.tc == 1
    assert len(served.ask("many.example", tcp=True).rr) == 100


def test_a_large_table_answer_is_truncated_to_what_the_client_takes(serve, tmp_path):
    put(tmp_path, "many", *(f"10.0.1.{number}" for number in range(100)))
    served = serve(tables=[str(tmp_path)])
    small = served.ask("many")
    assert small.header.tc == 1
    assert 20 < len(small.rr) < 40
    large = served.ask("many", edns=4096)
    assert (large.header.tc, len(large.rr)) == (0, 100)
    assert len(served.ask("many", tcp=True).rr) == 100


def test_the_next_server_is_asked_when_one_refuses_or_is_not_there(serve):
    served = serve([("127.0.0.1", refuses(2)), ("127.0.0.2", refuses(5)), ("127.0.0.3", says("8.8.8.8"))])
    assert addresses(served.ask("example.org")) == ["8.8.8.8"]
    assert addresses(served.ask("example.org", tcp=True)) == ["8.8.8.8"]
    served.resolver.config.upstream.insert(0, "127.0.0.99")
    assert addresses(served.ask("example.org")) == ["8.8.8.8"]


def test_a_silent_server_is_left_after_its_time(serve, monkeypatch):
    monkeypatch.setattr(dns, "UPSTREAM_TIMEOUT_S", 0.05)
    served = serve([("127.0.0.1", lambda query, tcp: None), ("127.0.0.2", says("8.8.4.4"))])
    assert addresses(served.ask("example.org")) == ["8.8.4.4"]
    served.resolver.config.upstream.pop()
    assert served.ask("example.org").header.rcode == dnswire.SERVFAIL


def test_an_internal_network_forwards_nothing(serve):
    served = serve([("127.0.0.1", says("9.9.9.9"))], forward=False)
    assert served.ask("example.org").header.rcode == dnswire.NXDOMAIN
    assert served.upstreams[0].asked == []


def test_an_answer_to_another_question_is_not_believed(serve, monkeypatch):
    monkeypatch.setattr(dns, "UPSTREAM_TIMEOUT_S", 0.1)

    def forged(query, tcp):
        return dnslib.DNSRecord.question("evil.example").reply()

    served = serve([("127.0.0.1", forged)])
    assert served.ask("example.org").header.rcode == dnswire.SERVFAIL


@pytest.mark.parametrize("name", ["..", ".", "../web", "a/../web", "web\0", "%2e%2e"])
def test_no_name_leads_out_of_the_tables(serve, tmp_path, name):
    put(tmp_path, "web", "10.0.0.1")
    put(tmp_path / "table", "x", "10.0.0.2")
    served = serve(tables=[str(tmp_path / "table")])
    labels = [name.encode()]
    question = b"".join(bytes([len(label)]) + label for label in labels) + b"\0\0\1\0\1"
    answer = served.send(b"\1\2\1\0\0\1\0\0\0\0\0\0" + question)
    assert dnswire.rcode_of(answer) == dnswire.NXDOMAIN


def test_queries_under_way_are_bounded(serve, monkeypatch):
    monkeypatch.setattr(dns, "UNDER_WAY", 5)
    monkeypatch.setattr(dns, "UPSTREAM_TIMEOUT_S", 30)
    served = serve([("127.0.0.1", lambda query, tcp: None)])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(10)
        for _ in range(6):
            asking.sendto(dnslib.DNSRecord.question("slow.example").pack(), served.udp)
        assert dnslib.DNSRecord.parse(asking.recv(512)).header.rcode == dnswire.SERVFAIL
    assert len(served.resolver.under_way) == 5


def test_connections_are_bounded_and_idle_ones_end(serve, monkeypatch, tmp_path):
    monkeypatch.setattr(dns, "CONNECTIONS", 3)
    monkeypatch.setattr(dns, "CONNECTION_IDLE_S", 0.1)
    put(tmp_path, "web", "10.0.0.1")
    served = serve(tables=[str(tmp_path)])
    idle = [socket.create_connection(served.tcp, timeout=10) for _ in range(5)]
    for connection in idle:
        assert connection.recv(1) == b""
        connection.close()
    assert addresses(served.ask("web", tcp=True)) == ["10.0.0.1"]


def test_several_messages_on_one_connection_are_answered_in_pieces_too(serve, tmp_path):
    put(tmp_path, "web", "10.0.0.1")
    served = serve(tables=[str(tmp_path)])
    query = dnslib.DNSRecord.question("web").pack()
    data = (len(query).to_bytes(2, "big") + query) * 3
    with socket.create_connection(served.tcp, timeout=10) as connection:
        connection.sendall(data[:20])
        time.sleep(0.05)
        connection.sendall(data[20:])
        file = connection.makefile("rb")
        for _ in range(3):
            reply = file.read(int.from_bytes(file.read(2), "big"))
            assert addresses(dnslib.DNSRecord.parse(reply)) == ["10.0.0.1"]


QUERY = dnslib.DNSRecord.question("web.example", "A").pack()


@given(
    st.binary(max_size=600)
    | st.tuples(st.integers(0, len(QUERY) - 1), st.binary(min_size=1, max_size=4)).map(
        lambda change: QUERY[: change[0]] + change[1] + QUERY[change[0] + len(change[1]) :]
    )
)
def test_hostile_packets_are_parsed_or_refused_and_nothing_else(data):
    try:
        question = dnswire.parse_query(data)
    except dnswire.BadQuery as bad:
        if bad.rcode is not None:
            assert dnswire.refusal(data, bad.rcode)[:2] == data[:2]
        return
    assert len(question.name) <= dnswire.NAME_BYTES
    records = [(dnswire.A, b"\1\2\3\4")] * 100
    for limit in (512, 4096):
        assert len(dnswire.answer(question, 0, records, 5, limit)) <= limit


def test_hostile_packets_leave_the_resolver_serving(serve, tmp_path):
    put(tmp_path, "web", "10.0.0.1")
    served = serve(tables=[str(tmp_path)])
    generator = random.Random(1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _ in range(2000):
            head = generator.choice([b"", QUERY[:12], QUERY[:20]])
            asking.sendto(head + generator.randbytes(generator.randrange(80)), served.udp)
    assert addresses(served.ask("web", tcp=True)) == ["10.0.0.1"]  # once this is answered there is room for datagrams again
    assert addresses(served.ask("web")) == ["10.0.0.1"]
