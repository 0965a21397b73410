"""What the arguments of instructions mean, as an image's configuration and its history have it."""

from __future__ import annotations

from inception.duration import parse_duration_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.build.instruction import Instruction

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Set with --build-arg alone: in the environment of RUN, never in the history, never in a cache key.
PREDEFINED = [name for word in ("http", "https", "ftp", "no", "all") for name in (f"{word}_proxy", f"{word}_proxy".upper())]
_MINIMUM_DURATION_NS = 1_000_000


def split_pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def ports(text: str) -> list[str]:
    """`80`, `80/udp`, `8000-8010/tcp` as the keys of ExposedPorts. Of `127.0.0.1:8080:80`, which a build check warns of, the
    container's side."""
    ports, _, protocol = text.partition("/")
    ports = ports.rpartition(":")[2]
    protocol = protocol.lower() or "tcp"
    first, dash, last = ports.partition("-")
    last = last if dash else first
    if protocol not in ("tcp", "udp", "sctp"):
        raise ValueError(f"invalid proto: {protocol}")
    for number in (first, last):
        if not (number.isascii() and number.isdecimal() and 0 < int(number) < 65536):
            raise ValueError(f"invalid containerPort: {text}")
    if int(last) < int(first):
        raise ValueError(f"invalid range format: {text}")
    return [f"{port}/{protocol}" for port in range(int(first), int(last) + 1)]


def check_signal(text: str) -> None:
    from signal import Signals  # a wrong signal would only be noticed when a container is stopped

    if text.isdecimal():
        known = 0 < int(text) < 65
    else:
        name = text.upper().removeprefix("SIG")
        known = f"SIG{name}" in Signals.__members__ or name.startswith(("RTMIN", "RTMAX"))
    if not known:
        raise ValueError(f"Invalid signal: {text}")


def duration(instruction: Instruction, name: str) -> int:
    text = instruction.flag(name)
    if not text:
        return 0
    duration = parse_duration_ns(text)
    if duration and duration < _MINIMUM_DURATION_NS:
        raise ValueError(f'Interval "{name}" cannot be less than 1ms')
    return duration


def retries(instruction: Instruction) -> int:
    text = instruction.flag("retries", "0")
    try:
        retries = int(text)
    except ValueError:
        raise ValueError(f"--retries: {text!r} is not a number") from None
    if not 0 <= retries < 1 << 31:
        raise ValueError(f"--retries cannot be negative or that large: {text}")
    return retries


def go_quoted(words: list[str]) -> str:
    """A list as Go's `%q` prints it, which is what Docker's history shows: `["nginx" "-g" "daemon off;"]`."""
    from inception import jsontext

    return "[" + " ".join(jsontext.quote(word) for word in words) + "]"


def go_map(ports: dict[str, dict[str, object]]) -> str:
    return "map[" + " ".join(f"{name}:{{}}" for name in sorted(ports)) + "]"
