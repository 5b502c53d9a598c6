"""Peers that speak TLS: on a bare socket, and those of others."""

import contextlib
import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bridge.upper import pdu
from tests.dimse.dimse_peers import (
    IMPLICIT_LE,
    PATIENCE_S,
    VERIFICATION,
    RawPeer,
    a_context,
    an_echo,
)
from tests.tls.authority import Issued


def client_context(authorities: Path, shown: Issued | None = None) -> ssl.SSLContext:
    """As a careful peer has it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authorities)
    if shown is not None:
        context.load_cert_chain(*shown.files)
    return context


class SecurePeer(RawPeer):
    """A peer on a bare socket, over TLS; `plain` is the connection below."""

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext) -> None:
        super().__init__(address)
        self.plain = self.socket
        try:
            self.socket = context.wrap_socket(self.plain, server_hostname="localhost")
        except BaseException:
            self.plain.close()
            raise

    def __enter__(self) -> "SecurePeer":
        return self

    @property
    def shown(self) -> bytes:
        """The certificate that the bridge has shown."""
        assert isinstance(self.socket, ssl.SSLSocket)
        return self.socket.getpeercert(binary_form=True) or b""

    def echoes(self, calling: str = "RAW-SCU") -> bool:
        """Whether an association is taken and a C-ECHO answered."""
        self.associate(a_context(1, VERIFICATION, IMPLICIT_LE), calling=calling.encode())
        self.send(an_echo())
        answered = self.response().status == 0
        self.send(pdu.release_rq())
        return answered and self.next_pdu()[0] == pdu.Kind.RELEASE_RP


@contextlib.contextmanager
def silent(address: tuple[str, int], count: int) -> Iterator[list[socket.socket]]:
    """So many connections on which nothing is said."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(address, PATIENCE_S)) for _ in range(count)]


def ran(*command: str | Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """A program of others, run to its end."""
    environ = {**os.environ, "TCP_NODELAY": "1"}
    return subprocess.run(
        [str(word) for word in command],
        env=environ,
        capture_output=True,
        input=text,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
