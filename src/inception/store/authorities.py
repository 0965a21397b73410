"""Whom to believe when a server shows its certificate: the authorities that the system trusts.

Debian and most others keep them twice: in one long file, and one by one in a folder, each under a hash of its name, where
OpenSSL finds the one that it needs. To read the file takes 25 ms, most of the time that a pull takes that has nothing to
fetch, so the folder is asked first, and the file when nobody in the folder knows the server: it may hold more.
Both are trusted in any case (SSL_CERT_FILE and SSL_CERT_DIR name others), so nobody is believed who was not.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssl import SSLContext


def trusting(everyone: bool) -> SSLContext:
    """A context for clients, which checks certificates and names. *everyone*: also who stands in the long file alone."""
    import ssl  # with `socket` 13 ms, which plain connections don't pay

    folder = "" if everyone else _hashed_folder(ssl.get_default_verify_paths().capath)
    return ssl.create_default_context(capath=folder) if folder else ssl.create_default_context()


def _hashed_folder(path: str | None) -> str:
    """*path* when certificates lie in it under their hashes, else an empty text."""
    if not path:
        return ""
    try:
        return path if any(name.endswith(".0") for name in os.listdir(path)) else ""
    except OSError:
        return ""
