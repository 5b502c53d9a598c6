"""Where peers are: addresses, networks and names, looked up once."""

import ipaddress
import socket
import threading
import time
from collections.abc import Iterable, Mapping

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
ANYWHERE: tuple[Network, ...] = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))


def address(host: str) -> Address | None:
    """The address written in `host`, an IPv4 one mapped into IPv6 as what it is; `None` for a name."""
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def within(host: str, networks: Iterable[Network]) -> bool:
    """Whether the address `host` is in one of `networks`."""
    found = address(host)
    return found is not None and any(found in network for network in networks)


def is_loopback(host: str) -> bool:
    """Whether the address `host` is one of this machine's own to itself."""
    return within(host, LOOPBACK)


def networks_of(found: Iterable[Address]) -> tuple[Network, ...]:
    """The addresses as networks of one; one of the loopback stands for all of it."""
    networks: dict[Network, None] = {}
    for each in found:
        if is_loopback(str(each)):
            networks.update(dict.fromkeys(LOOPBACK))
        else:
            networks[ipaddress.ip_network(each)] = None
    return tuple(networks)


def look_up(names: Iterable[str], *, timeout_s: float) -> Mapping[str, tuple[Network, ...]]:
    """Where each of `names` is, nowhere for those that are not found within `timeout_s` all together."""
    found: dict[str, tuple[Network, ...]] = {}
    # The system's resolver takes no deadline, so each name waits by itself and may be left behind.
    waiting = [
        threading.Thread(target=_look_up, args=(name, found), name="look-up", daemon=True)
        for name in dict.fromkeys(names)
    ]
    for thread in waiting:
        thread.start()
    until = time.monotonic() + timeout_s
    for thread in waiting:
        thread.join(max(0.0, until - time.monotonic()))
    return dict(found)


def _look_up(name: str, found: dict[str, tuple[Network, ...]]) -> None:
    literal = address(name)
    if literal is not None:
        found[name] = networks_of([literal])
        return
    try:
        answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return
    found[name] = networks_of(a for answer in answers if (a := address(str(answer[4][0]))) is not None)
