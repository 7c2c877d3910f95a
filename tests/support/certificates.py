"""Certificates of the tests: an authority of their own, and what it says of servers, rightly or wrongly."""

import base64
import datetime
import hashlib
import ipaddress
import ssl
import tempfile
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_DAY = datetime.timedelta(days=1)
_HOUR = datetime.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A server's certificate and key, as PEM."""

    certificate: str
    private_key: str = field(repr=False)

    @property
    def key_hash(self) -> str:
        """Which key it is, as Chromium's --ignore-certificate-errors-spki-list names it."""
        key = x509.load_pem_x509_certificate(self.certificate.encode()).public_key()
        data = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(hashlib.sha256(data).digest()).decode()

    def server_context(self) -> ssl.SSLContext:
        """For a server that shows it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as chain:  # Python reads it from a file alone
            chain.write(self.certificate + self.private_key)
            chain.flush()
            context.load_cert_chain(chain.name)
        return context


class Authority:
    """A certificate authority. `pem` is its own certificate, for whoever should trust it.

    What it issues satisfies OpenSSL's X509_V_FLAG_X509_STRICT, which Python sets from 3.13 on.
    """

    def __init__(self, name: str = "Authority of the tests") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        usage = _usage(sign_certificates=True)
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        builder = self._builder(self._name, self._key.public_key()).add_extension(constraints, critical=True)
        self._certificate = builder.add_extension(usage, critical=True).sign(self._key, hashes.SHA256())
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, *addresses: str, lifetime: datetime.timedelta = _DAY) -> Certificate:
        """A certificate for IP addresses; one whose lifetime is negative has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, addresses[0])])
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address)) for address in addresses])
        builder = self._builder(name, key.public_key(), lifetime).add_extension(names, critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(sign_certificates=False), critical=True)
        certificate = builder.sign(self._key, hashes.SHA256())
        private_key = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Certificate(certificate.public_bytes(serialization.Encoding.PEM).decode(), private_key.decode())

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, lifetime: datetime.timedelta = _DAY
    ) -> x509.CertificateBuilder:
        end = datetime.datetime.now(datetime.UTC) + lifetime
        builder = x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number())
        builder = builder.not_valid_before(end - abs(lifetime) - _HOUR).not_valid_after(end)
        own = x509.SubjectKeyIdentifier.from_public_key(key)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return builder.add_extension(own, critical=False).add_extension(issuer, critical=False)


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )
