"""Audit messages over syslog (PS3.15 A.6, A.7): RFC 5424 by UDP, TCP and TLS (RFC 5426, 6587, 5425)."""

import os
import select
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from service.audit import codes
from service.audit.event import Event
from service.audit.writing import as_xml
from service.tls import client_context

_FACILITY = 10  # security/authorization messages (PS3.15 A.6)
_SEVERITY: Mapping[int, int] = {codes.SUCCESS: 5, codes.MINOR_FAILURE: 4, codes.SERIOUS_FAILURE: 3}
_MESSAGE_ID = "DICOM+RFC3881"
_TIMEOUT_S = 10.0
_LONGEST_DATAGRAM = 60_000


@dataclass(frozen=True, slots=True)
class Collector:
    """Where syslog messages go: `transport` is udp, tcp or tls, the files are certificates in PEM."""

    transport: str
    host: str
    port: int
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""


class SyslogSink:
    """Sends audit messages to a collector, over one connection that is opened anew where it broke."""

    def __init__(self, collector: Collector, source: str, program: str) -> None:
        """`OSError` if a certificate cannot be read; the collector itself may come later."""
        self._collector = collector
        self._source = source
        self._program = program
        self._socket: socket.socket | None = None
        self._tls = _tls(collector) if collector.transport == "tls" else None

    def write(self, events: Sequence[Event]) -> None:
        """Send each event. `OSError` if the collector cannot be reached: some may be sent twice then."""
        for event in events:
            for part in event.parts():
                self._send(self._message(part))

    def close(self) -> None:
        """Let go of the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _message(self, event: Event) -> bytes:
        message = _syslog(event, self._source, self._program)
        if self._collector.transport == "udp" and len(message) > _LONGEST_DATAGRAM:
            # A datagram that is too long never leaves: what it would count is left out.
            bare = replace(event, studies={study: {} for study in event.studies})
            message = _syslog(bare, self._source, self._program)
        return message

    def _send(self, message: bytes) -> None:
        if self._collector.transport != "udp":
            message = b"%d %s" % (len(message), message)  # octet counting (RFC 5425 4.3, RFC 6587 3.4.1)
        try:
            if self._socket is None or _has_ended(self._socket):
                self.close()
                self._socket = self._connect()
            self._socket.sendall(message)
        except OSError:
            self.close()
            raise

    def _connect(self) -> socket.socket:
        host, port = self._collector.host, self._collector.port
        if self._collector.transport == "udp":
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
            datagrams = socket.socket(family, kind, protocol)
            datagrams.connect(address)
            return datagrams
        connected = socket.create_connection((host, port), _TIMEOUT_S)
        if self._tls is None:
            return connected
        try:
            return self._tls.wrap_socket(connected, server_hostname=host)
        except BaseException:
            connected.close()
            raise


def _tls(collector: Collector) -> ssl.SSLContext:
    context = client_context(collector.ca_file or None)
    if collector.certificate_file:
        context.load_cert_chain(collector.certificate_file, collector.key_file or None)
    return context


def _has_ended(connected: socket.socket) -> bool:
    """Whether a stream's other side has closed it: a collector says nothing else."""
    if connected.type is socket.SOCK_DGRAM:
        return False
    readable, _, _ = select.select([connected], [], [], 0)
    if not readable:
        return False
    connected.settimeout(0)
    try:
        return connected.recv(1) == b""
    except (BlockingIOError, ssl.SSLWantReadError):  # a session ticket
        return False
    finally:
        connected.settimeout(_TIMEOUT_S)


def _syslog(event: Event, source: str, program: str) -> bytes:
    """The message: severity by outcome, no structured data, XML behind a byte order mark (RFC 5424 6)."""
    priority = _FACILITY * 8 + _SEVERITY[event.outcome]
    at = datetime.fromtimestamp(event.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    head = f"<{priority}>1 {at} {source or '-'} {program} {os.getpid()} {_MESSAGE_ID} - "
    return head.encode("ascii", "replace") + b"\xef\xbb\xbf" + as_xml(event, source)
