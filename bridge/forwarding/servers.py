"""DICOMweb servers that instances are sent on to (`[servers.NAME]` of ISTHMUS_PEERS)."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bridge import hosts
from bridge.table import Table


@dataclass(frozen=True, slots=True)
class Server:
    """A DICOMweb server: its root, how it is trusted, and how it is asked.

    `transfer_syntax` is the one in which it is sent what can be had in it; `None` for the stored one.
    """

    name: str
    url: str
    ca_file: Path | None = None
    token_file: Path | None = None
    transfer_syntax: str | None = None


def read_server(name: str, table: Table) -> Server:
    """The server of a table; `SettingError` names the place of what cannot be used."""
    url = table.url("url")
    parts = urlsplit(url)
    host = parts.hostname or ""
    clear = table.flag("clear", False)
    if parts.scheme == "http" and not (clear or host == "localhost" or hosts.is_loopback(host)):
        table.complain("url", "must be https; clear = true allows patients' data to be sent in clear", url)
    server = Server(
        name=name,
        url=url,
        ca_file=table.file("ca"),
        token_file=table.file("token_file"),
        transfer_syntax=table.lossless_syntax("transfer_syntax"),
    )
    table.end()
    return server
