"""A small provider of identities: discovery, its keys, and tokens signed with them, on the loopback."""

import base64
import hashlib
import hmac
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

AUDIENCE = "isthmus"
DISCOVERY = "/.well-known/openid-configuration"
JWKS = "/jwks"


@dataclass(frozen=True)
class SigningKey:
    """A key with its name and algorithm."""

    kid: str
    algorithm: str
    private: Any

    @property
    def jwk(self) -> dict[str, Any]:
        """The public half, as a provider tells it."""
        kind = jwt.get_algorithm_by_name(self.algorithm)
        told: dict[str, Any] = json.loads(kind.to_jwk(self.private.public_key()))
        told.pop("key_ops", None)
        return told | {"kid": self.kid, "use": "sig", "alg": self.algorithm}


@cache
def rsa_key(number: int = 0, bits: int = 2048) -> Any:
    """A private RSA key; the same for the same number, since making one takes long."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def signing_key(kid: str, algorithm: str = "RS256", *, number: int = 0, bits: int = 2048) -> SigningKey:
    """A key for an algorithm."""
    curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
    if algorithm in curves:
        return SigningKey(kid, algorithm, ec.generate_private_key(curves[algorithm]))
    if algorithm == "EdDSA":
        return SigningKey(kid, algorithm, ed25519.Ed25519PrivateKey.generate())
    return SigningKey(kid, algorithm, rsa_key(number, bits))


class Issuer:
    """A provider that can be told to rotate its keys, to fail, and to lie."""

    def __init__(self, port: int, scheme: str = "http") -> None:
        self.url = f"{scheme}://127.0.0.1:{port}"
        self.keys = [signing_key("first")]
        self.asked: list[str] = []
        self.answers: dict[str, Callable[[], tuple[int, bytes]]] = {
            DISCOVERY: lambda: (200, json.dumps(self.discovery).encode()),
            JWKS: lambda: (200, json.dumps({"keys": [key.jwk for key in self.keys]}).encode()),
        }
        self.discovery: dict[str, Any] = {"issuer": self.url, "jwks_uri": self.url + JWKS}

    @property
    def fetched(self) -> int:
        """How often its keys were asked for."""
        return self.asked.count(JWKS)

    def rotate(self, key: SigningKey, *, keep: bool = False) -> None:
        """Sign with `key` from here on; the ones before are withdrawn, or kept beside it."""
        self.keys = [key, *(self.keys if keep else [])]

    def fail(self, path: str = JWKS, status: int = 503, body: bytes = b"") -> None:
        """Answer a path with this."""
        self.answers[path] = lambda: (status, body)

    def claims(self, **claims: Any) -> dict[str, Any]:
        """What a good token says; a claim of `None` is left out."""
        now = int(time.time())
        told = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "248289761001",
            "iat": now,
            "exp": now + 600,
            "scope": "openid read store delete render share",
        }
        return {name: value for name, value in (told | claims).items() if value is not None}

    def token(self, *, key: SigningKey | None = None, header: Mapping[str, Any] = {}, **claims: Any) -> str:
        """A token of the newest key, or of `key`."""
        key = key or self.keys[0]
        told = {"kid": key.kid, **header}
        return jwt.encode(
            self.claims(**claims),
            key.private,
            algorithm=key.algorithm,
            headers={name: value for name, value in told.items() if value is not None},
        )

    def forged(self, header: Mapping[str, Any], secret: bytes = b"", **claims: Any) -> str:
        """A token with any header, signed by HMAC-SHA256 with `secret`, or not at all without one."""
        signed = ".".join(_encoded(json.dumps(one).encode()) for one in (header, self.claims(**claims)))
        signature = hmac.new(secret, signed.encode(), hashlib.sha256).digest() if secret else b""
        return f"{signed}.{_encoded(signature)}"


@contextmanager
def running_issuer(tls: ssl.SSLContext | None = None) -> Iterator[Issuer]:
    """An issuer that answers until the end of the block, over TLS where there is a context for it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked.append(self.path)
            status, body = issuer.answers.get(self.path, lambda: (404, b""))()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    issuer = Issuer(server.server_address[1], "http" if tls is None else "https")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")
