"""Debian's `docker-registry` on loopback, as it comes, with TLS and passwords, or behind a token server of ours."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

#: `user` with the password `secret`, as `htpasswd -B` writes it.
HTPASSWD = "user:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Key and self-signed certificate for localhost and 127.0.0.1."""
    key, certificate = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return key, certificate


class DebianRegistry:
    """The process, and its `host` (`127.0.0.1:PORT`). *more* is added to its configuration."""

    def __init__(self, folder: Path, more: str = "", http: str = "") -> None:
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        data = folder / f"registry-{self.port}"
        data.mkdir()
        config = folder / f"registry-{self.port}.yml"
        config.write_text(
            f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
            f"storage: {{filesystem: {{rootdirectory: {data}}}, delete: {{enabled: true}}}}\n{more}\n"
            f"http:\n  addr: '{self.host}'\n{http}\n"
        )
        self.process = subprocess.Popen(
            ["docker-registry", "serve", config], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    self.close()
                    pytest.fail("docker-registry does not come up")
                time.sleep(0.05)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


class TokenServer:
    """Gives tokens to whoever knows the password (`user`, `secret`), for what was asked; `asked` is a list of
    (scopes, Authorization header). Signed as docker-registry wants it: RS256 over a certificate that it trusts."""

    def __init__(self, folder: Path, anonymous: tuple[str, ...] = (), life_s: int = 300) -> None:
        self.key, self.certificate = make_certificate(folder)
        self.asked: list[tuple[list[str], str]] = []
        self.anonymous = anonymous
        self.life_s = life_s
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.answer(self, parse_qs(urlsplit(self.path).query))

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                server.answer(self, {**form, "scope": form.get("scope", [""])[0].split(" ")})

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.realm = f"http://127.0.0.1:{self.http.server_address[1]}/token"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()

    def config(self) -> str:
        """What makes a DebianRegistry ask here."""
        return f"auth: {{token: {{realm: '{self.realm}', service: tests, issuer: tests, rootcertbundle: {self.certificate}}}}}"

    def answer(self, request: BaseHTTPRequestHandler, query: dict[str, list[str]]) -> None:
        scopes, header = query.get("scope", []), request.headers.get("Authorization", "")
        self.asked.append((scopes, header or query.get("refresh_token", [""])[0]))
        known = header == "Basic " + base64.b64encode(b"user:secret").decode() or query.get("refresh_token") == ["identity"]
        if not known and (header or "refresh_token" in query):
            send_json(request, {"errors": [{"code": "UNAUTHORIZED"}]}, 401)
            return
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":", 2)
            granted = actions.split(",") if known else [each for each in actions.split(",") if each in self.anonymous]
            if granted:
                access.append({"type": kind, "name": name, "actions": granted})
        token = self.sign(access)
        send_json(request, {"token": token, "access_token": token, "expires_in": self.life_s})

    def sign(self, access: list[dict[str, object]]) -> str:
        der = subprocess.run(
            ["openssl", "x509", "-in", self.certificate, "-outform", "DER"], check=True, capture_output=True
        ).stdout
        now = int(time.time())
        head = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        claims = {"iss": "tests", "sub": "", "aud": "tests", "exp": now + self.life_s, "nbf": now - 10, "iat": now,
                  "jti": str(now), "access": access}  # fmt: skip
        text = f"{_b64(json.dumps(head).encode())}.{_b64(json.dumps(claims).encode())}"
        done = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", self.key], input=text.encode(), check=True, capture_output=True
        )
        return f"{text}.{_b64(done.stdout)}"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def send_json(request: BaseHTTPRequestHandler, value: object, status: int = 200) -> None:
    data = json.dumps(value).encode()
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(data)))
    request.end_headers()
    request.wfile.write(data)
