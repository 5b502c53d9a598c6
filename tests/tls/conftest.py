"""An authority with certificates of it, and bridges that take associations over TLS."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bridge.tls import TlsListening
from service.certificates import Credentials, PemFile
from service.tls import Profile, server_contexts
from tests.dimse.conftest import archive, ground, start_bridge
from tests.dimse.dimse_peers import Bridge, StartBridge
from tests.tls.authority import Authority, Issued

__all__ = ["archive", "ground", "start_bridge"]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "hospital")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody here believes."""
    return Authority(tmp_path_factory.mktemp("stranger"), "somebody")


@pytest.fixture(scope="session")
def ours(authority: Authority) -> Issued:
    """The bridge's certificate."""
    return authority.issue("bridge")


@pytest.fixture(scope="session")
def modality(authority: Authority) -> Issued:
    return authority.issue("modality")


@dataclass
class SecureBridge:
    """A bridge, where it takes associations over TLS, and what it shows there."""

    bridge: Bridge
    address: tuple[str, int]

    @property
    def port(self) -> str:
        return str(self.address[1])


type StartSecure = Callable[..., SecureBridge]


def listening(shown: Issued, authorities: Path | None, profile: Profile = Profile.BCP_195) -> TlsListening:
    """Settings for TLS on a port that is free, which ask for a certificate of `authorities`."""
    credentials = Credentials(
        PemFile("ISTHMUS_DIMSE_TLS_CERT", shown.certificate),
        PemFile("ISTHMUS_DIMSE_TLS_KEY", shown.key),
        None if authorities is None else PemFile("ISTHMUS_DIMSE_TLS_CLIENT_CA", authorities),
    )
    contexts = server_contexts(credentials, profile=profile)
    return TlsListening("127.0.0.1", 0, contexts, authorities is not None)


@pytest.fixture
def start_secure(start_bridge: StartBridge, ours: Issued, authority: Authority) -> StartSecure:
    """Starts bridges that show `shown` and ask for certificates of `authorities`."""

    def start(
        shown: Issued = ours,
        authorities: Path | None = authority.file,
        profile: Profile = Profile.BCP_195,
        **given: Any,
    ) -> SecureBridge:
        tls = listening(shown, authorities, profile)
        bridge = start_bridge(tls=tls, **given)

        async def begin() -> tuple[str, int]:
            return bridge.listener.start_tls(tls)

        return SecureBridge(bridge, bridge.ground.run(begin()))

    return start


@pytest.fixture
def secure(start_secure: StartSecure) -> SecureBridge:
    return start_secure()
