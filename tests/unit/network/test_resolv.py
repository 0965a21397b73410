from __future__ import annotations

from inception.network import resolv
from inception.network.resolv import ResolvConf

HOST = ResolvConf(servers=["127.0.0.1", "10.1.1.1"], search=["corp.example"], options=["timeout:1"])


def test_resolv_conf_is_read_as_the_resolver_reads_it():
    text = (
        "# comment\nnameserver 10.1.1.1 # one\n nameserver fe80::1%eth0\nnameserver nonsense\n"
        "domain a\nsearch b c\noptions x y\noptions z\n"
    )
    found = resolv.parse_resolv_conf(text)
    assert found == ResolvConf(servers=["10.1.1.1", "fe80::1%eth0"], search=["b", "c"], options=["x", "y", "z"])


def test_on_a_user_defined_network_the_monitor_is_asked():
    text = resolv.plan_resolv_conf(HOST, embedded=True)
    assert text == "nameserver 127.0.0.11\nsearch corp.example\noptions timeout:1 ndots:0\n"
    own = resolv.plan_resolv_conf(HOST, embedded=True, dns=["9.9.9.9"], search=["."], options=["ndots:2"])
    assert own == "nameserver 127.0.0.11\noptions ndots:2\n"


def test_on_the_default_bridge_the_hosts_servers_are_asked_but_for_those_on_its_loopback():
    assert resolv.plan_resolv_conf(HOST, embedded=False).splitlines()[0] == "nameserver 10.1.1.1"
    alone = ResolvConf(servers=["127.0.0.53", "::1"])
    assert resolv.plan_resolv_conf(alone, embedded=False) == "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"
    assert resolv.plan_resolv_conf(alone, embedded=False, dns=["9.9.9.9"]) == "nameserver 9.9.9.9\n"


def test_on_the_hosts_network_its_loopback_works():
    assert resolv.plan_resolv_conf(HOST, embedded=False, host_network=True).startswith("nameserver 127.0.0.1\n")


def test_queries_go_to_the_containers_own_servers_or_the_hosts():
    assert resolv.upstream(HOST) == ["127.0.0.1", "10.1.1.1"]
    assert resolv.upstream(HOST, ["9.9.9.9"]) == ["9.9.9.9"]
    assert resolv.upstream(ResolvConf()) == ["8.8.8.8", "8.8.4.4"]


def test_behind_systemd_resolved_are_its_own_servers(tmp_path):
    stub, behind = tmp_path / "stub", tmp_path / "behind"
    stub.write_text("nameserver 127.0.0.53\n")
    assert resolv.load_host(str(stub), str(behind)).servers == ["127.0.0.53"]
    behind.write_text("nameserver 10.1.1.1\n")
    assert resolv.load_host(str(stub), str(behind)).servers == ["10.1.1.1"]
    assert resolv.load_host(str(tmp_path / "none"), str(behind)) == ResolvConf()


def test_hosts_names_the_container_at_each_of_its_addresses():
    text = resolv.plan_hosts("web", ["172.18.0.2", "172.19.0.2"], ["db:10.0.0.9", "six:[fd00::1]"])
    assert text.startswith("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
    assert text.endswith("10.0.0.9\tdb\nfd00::1\tsix\n172.18.0.2\tweb\n172.19.0.2\tweb\n")
    assert resolv.plan_hosts("web", ["172.18.0.2"], domainname="example").endswith("172.18.0.2\tweb.example web\n")
    assert resolv.plan_hostname("web") == "web\n"
