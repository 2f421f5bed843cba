"""
An authority that signs certificates.
"""

from __future__ import annotations

import datetime
import os
from functools import cache
from tempfile import TemporaryDirectory
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS

DAY = datetime.timedelta(days=1)


class Authority:
    """Signs certificates."""

    def __init__(self, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self.begin(self.name, self.key, 1000)
        self.certificate = builder.add_extension(x509.BasicConstraints(True, None), True).sign(
            self.key, hashes.SHA256()
        )

    def begin(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 10 * DAY)
            .not_valid_after(now + days * DAY)
        )

    def issue(self, path: str, host: str, days: int = 1000) -> str:
        """Write a server's key and certificate to one file."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self.begin(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]), key, days)
        certificate = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), False).sign(
            self.key, hashes.SHA256()
        )
        encoding = serialization.Encoding.PEM
        with open(path, "wb") as file:
            file.write(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
            file.write(certificate.public_bytes(encoding))
        return path

    def pem(self) -> bytes:
        """Return the authority's own certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def publish(self, directory: str) -> str:
        """Make a directory with its certificate, for ``trustRoots=``."""
        os.makedirs(directory)
        with open(os.path.join(directory, "authority.pem"), "wb") as file:
            file.write(self.pem())
        return directory


@cache
def tls_contexts(name: str = "server.example") -> tuple[Any, Any]:
    """
    What a server and a client give to startTLS().

    :param name: the client wants to speak with this one.
    """
    authority = Authority("known")
    with TemporaryDirectory() as directory, open(authority.issue(f"{directory}/pem", "server.example")) as file:
        own = PrivateCertificate.loadPEM(file.read())
    return own.options(), optionsForClientTLS(name, Certificate.loadPEM(authority.pem()))
