"""Certificates for tests: an authority that signs them, and what can be wrong with one."""

import hashlib
import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

type Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

HERE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Issued:
    """A certificate and its key in files."""

    certificate: Path
    key: Path

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hex, as the bridge keeps it."""
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.certificate.read_text())).hexdigest()

    @property
    def files(self) -> tuple[str, str]:
        return str(self.certificate), str(self.key)


class Authority:
    """Signs certificates with a key of its own; its own certificate lies in `file`."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._name = _named(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.file = folder / f"{name}.pem"
        builder = _builder(self._name, self._name, self._key, days=365).add_extension(
            x509.BasicConstraints(ca=True, path_length=1), critical=True
        )
        _write(self.file, builder.sign(self._key, hashes.SHA256()))

    def issue(
        self,
        name: str,
        *,
        names: Sequence[str] = HERE,
        days: int = 365,
        key_bits: int = 0,
        file: str = "",
    ) -> Issued:
        """A certificate in `names`, expired for so many days if `days` are less than none.

        Its key is on an elliptic curve, or RSA of `key_bits`.
        """
        key = _key(key_bits)
        subject = _named(name)
        builder = _builder(subject, self._name, key, days=days).add_extension(
            x509.SubjectAlternativeName([_alternative(one) for one in names]), critical=False
        )
        return _issued(self._folder / (file or name), builder.sign(self._key, hashes.SHA256()), key)


def self_signed(folder: Path, name: str) -> Issued:
    """A certificate that nobody else vouches for."""
    key = _key(0)
    builder = _builder(_named(name), _named(name), key, days=365)
    return _issued(folder / name, builder.sign(key, hashes.SHA256()), key)


def _key(bits: int) -> Key:
    if bits:
        return rsa.generate_private_key(public_exponent=65537, key_size=bits)
    return ec.generate_private_key(ec.SECP256R1())


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(subject: x509.Name, issuer: x509.Name, key: Key, *, days: int) -> x509.CertificateBuilder:
    at = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - timedelta(days=100))
        .not_valid_after(at + timedelta(days=days))
    )


def _issued(path: Path, certificate: x509.Certificate, key: Key) -> Issued:
    issued = Issued(path.with_suffix(".crt"), path.with_suffix(".key"))
    _write(issued.certificate, certificate)
    issued.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return issued


def _write(path: Path, certificate: x509.Certificate) -> None:
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
