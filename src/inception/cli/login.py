"""`login` and `logout`: Docker's words over the store's log-ins."""

from __future__ import annotations

import sys

from inception.cli.call import Call
from inception.cli.flags import Command
from inception.errors import InvalidArgument

_WARNING = """
WARNING! Your credentials are stored unencrypted in '{path}'.
Configure a credential helper to remove this warning. See
https://docs.docker.com/go/credential-store/
"""


def login(call: Call) -> int:
    from inception.store.credentials import Credentials
    from inception.store.login import domain_of
    from inception.store.login import login as log_in

    domain = domain_of(call.arguments[0] if call.arguments else "")
    name, password = _ask(call, domain)
    place = log_in(domain, Credentials(username=name, password=password))
    if place.startswith("/"):
        print(_WARNING.format(path=place), file=sys.stderr)
    print("Login Succeeded")
    return 0


def logout(call: Call) -> int:
    from inception.errors import NotFound
    from inception.store.credentials import server_key
    from inception.store.login import domain_of
    from inception.store.login import logout as log_out

    domain = domain_of(call.arguments[0] if call.arguments else "")
    try:
        log_out(domain)
        print(f"Removing login credentials for {server_key(domain)}")
    except NotFound as error:
        print(error)
    return 0


def _ask(call: Call, domain: str) -> tuple[str, str]:
    flags = call.flags
    name, password = flags.text("username"), flags.text("password")
    if flags.on("password-stdin"):
        if password:
            raise InvalidArgument("--password and --password-stdin are mutually exclusive")
        if not name:
            raise InvalidArgument("Must provide --username with --password-stdin")
        return name, sys.stdin.read().rstrip("\r\n")
    if password:
        print("WARNING! Using --password via the CLI is insecure. Use --password-stdin.", file=sys.stderr)
    if (not name or not password) and not sys.stdin.isatty():
        raise InvalidArgument("Cannot perform an interactive login from a non TTY device")
    if not name:
        name = input(f"Username for {domain}: ").strip()
    if not password:
        import getpass  # termios and signal: only when someone types

        password = getpass.getpass("Password: ")
    if not name or not password:
        raise InvalidArgument("username and password must not be empty")
    return name, password


LOGIN = Command(
    login,
    "[OPTIONS] [SERVER]",
    "Authenticate to a registry",
    """\
  -p, --password string   Password
      --password-stdin    Take the password from stdin
  -u, --username string   Username
""",
    maximum=1,
)
LOGOUT = Command(logout, "[SERVER]", "Log out from a registry", "", maximum=1)
