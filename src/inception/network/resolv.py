"""The files of a container that come from its network: resolv.conf, hosts, hostname. Text in, text out.

On a user-defined network the resolver is the monitor's, at 127.0.0.11; on the default bridge and the host's network a
container asks the servers that the host asks, but for those on the host's loopback, which it can't reach.
"""

from __future__ import annotations

from inception.linux.files import read_file
from inception.network.address import is_ipv4, is_ipv6
from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

EMBEDDED_RESOLVER = "127.0.0.11"
# Docker's, for a host whose only resolver is on its loopback and that runs no systemd-resolved.
FALLBACK_SERVERS = ("8.8.8.8", "8.8.4.4")
RESOLV_CONF = "/etc/resolv.conf"
# systemd-resolved listens on 127.0.0.53 of the host; this file of its own has the servers behind it.
RESOLVED_CONF = "/run/systemd/resolve/resolv.conf"


class ResolvConf(Record):
    """What resolv.conf(5) says: servers in order, search domains, options."""

    servers: list[str] = []
    search: list[str] = []
    options: list[str] = []

    def __str__(self) -> str:
        lines = [f"nameserver {server}" for server in self.servers]
        if self.search:
            lines.append("search " + " ".join(self.search))
        if self.options:
            lines.append("options " + " ".join(self.options))
        return "".join(f"{line}\n" for line in lines)


def parse_resolv_conf(text: str) -> ResolvConf:
    """As the resolver reads it: the last of `search` and `domain` counts, options add up, the rest is skipped."""
    found = ResolvConf()
    search: list[str] = []
    for line in text.splitlines():
        words = line.split("#", 1)[0].split(";", 1)[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            if is_ipv4(words[1]) or is_ipv6(words[1].partition("%")[0]):
                found.servers.append(words[1])
        elif words[0] in ("search", "domain"):
            search = words[1:]
        elif words[0] == "options":
            found.options.extend(words[1:])
    found.search.extend(word for word in search if word != ".")
    return found


def load_host(path: str = RESOLV_CONF, resolved_path: str = RESOLVED_CONF) -> ResolvConf:
    """The host's settings, as seen from its own network namespace. A missing file says nothing."""
    host = parse_resolv_conf(_read(path))
    if host.servers == ["127.0.0.53"]:
        behind = parse_resolv_conf(_read(resolved_path))
        return behind if behind.servers else host
    return host


def upstream(host: ResolvConf, dns: Iterable[str] = ()) -> list[str]:
    """The servers that the monitor forwards to: the container's own `--dns`, or the host's (loopback ones work there)."""
    return list(dns) or list(host.servers) or list(FALLBACK_SERVERS)


def plan_resolv_conf(
    host: ResolvConf,
    *,
    embedded: bool,
    dns: Iterable[str] = (),
    search: Iterable[str] = (),
    options: Iterable[str] = (),
    host_network: bool = False,
) -> str:
    """The text of a container's resolv.conf.

    *embedded*: the container is on a user-defined network and asks the monitor. *search* `["."]` means none.
    """
    own_search, own_options = list(search), list(options)
    merged_search = [word for word in (own_search or host.search) if word != "."]
    merged_options = own_options or list(host.options)
    if embedded:
        # Names of containers have no dot, and must not be tried in the search domains first.
        if not any(option.startswith("ndots:") for option in merged_options):
            merged_options = [*merged_options, "ndots:0"]
        servers = [EMBEDDED_RESOLVER]
    elif list(dns):
        servers = list(dns)
    elif host_network:
        servers = list(host.servers)
    else:
        servers = [server for server in host.servers if not _is_loopback(server)] or list(FALLBACK_SERVERS)
    return str(ResolvConf(servers=servers, search=merged_search, options=merged_options))


def plan_hosts(hostname: str, addresses: Iterable[str], extra_hosts: Iterable[str] = (), *, domainname: str = "") -> str:
    """The text of a container's hosts file. *extra_hosts* are checked `name:address` entries of --add-host."""
    lines = [
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::\tip6-localnet",
        "ff00::\tip6-mcastprefix",
        "ff02::1\tip6-allnodes",
        "ff02::2\tip6-allrouters",
    ]
    for entry in extra_hosts:
        name, _separator, address = entry.partition(":")
        lines.append(f"{address.strip('[]')}\t{name}")
    own = own_name(hostname, domainname)
    lines.extend(f"{address}\t{own}" for address in addresses)
    return "".join(f"{line}\n" for line in lines)


def own_name(hostname: str, domainname: str) -> str:
    """What a container's own addresses are called in its hosts file."""
    return f"{hostname}.{domainname} {hostname}" if domainname else hostname


def plan_hostname(hostname: str) -> str:
    """The text of a container's hostname file."""
    return f"{hostname}\n"


def _is_loopback(server: str) -> bool:
    return server.startswith("127.") or server == "::1"


def _read(path: str) -> str:
    try:
        return read_file(path).decode(errors="replace")
    except OSError:
        return ""
