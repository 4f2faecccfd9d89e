"""The API server's certificates and kubeconfigs: one small authority for each stack."""

import base64
import ipaddress
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .state import write_atomically

LIFETIME = timedelta(days=3650)
BACKDATED = timedelta(days=1)


class Authority:
    """Signs certificates below ``folder``: ``ca.crt``/``ca.key`` and ``NAME.crt``/``NAME.key``."""

    def __init__(self, folder: Path, *, now: datetime) -> None:
        self._folder = folder
        self._now = now
        folder.mkdir(parents=True, exist_ok=True)
        if not self.path("ca.crt").exists():
            self._make_authority()
        self._key = _load_key(self.path("ca.key"))
        self._certificate = x509.load_pem_x509_certificate(self.path("ca.crt").read_bytes())

    def path(self, name: str) -> Path:
        return self._folder / name

    def key_pair(self, name: str) -> None:
        """``NAME.key`` and ``NAME.pub``, made once (service account tokens are signed with it)."""
        if self.path(f"{name}.pub").exists():
            return
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        _write_key(self.path(f"{name}.key"), key)
        write_atomically(self.path(f"{name}.pub"), public.decode())

    def serving(self, name: str, names: Iterable[str], addresses: Iterable[str]) -> None:
        """A server's certificate, signed anew each time since the addresses may have changed."""
        alternatives: list[x509.GeneralName] = [x509.DNSName(each) for each in names]
        alternatives += [x509.IPAddress(ipaddress.ip_address(each)) for each in addresses]
        self._sign(
            name,
            [x509.NameAttribute(NameOID.COMMON_NAME, name)],
            ExtendedKeyUsageOID.SERVER_AUTH,
            x509.SubjectAlternativeName(alternatives),
        )

    def client(self, name: str, *, user: str, groups: Iterable[str] = ()) -> None:
        """A client's certificate, made once: Kubernetes reads the user and groups from it."""
        if self.path(f"{name}.crt").exists():
            return
        subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, each) for each in groups]
        subject.append(x509.NameAttribute(NameOID.COMMON_NAME, user))
        self._sign(name, subject, ExtendedKeyUsageOID.CLIENT_AUTH, None)

    def kubeconfig(self, name: str, *, server: str, namespace: str) -> str:
        """The text of a kubeconfig that uses the client certificate ``name``."""

        def encoded(path: str) -> str:
            return base64.b64encode(self.path(path).read_bytes()).decode()

        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "doorbuster",
            "clusters": [
                {
                    "name": "doorbuster",
                    "cluster": {"server": server, "certificate-authority-data": encoded("ca.crt")},
                }
            ],
            "users": [
                {
                    "name": name,
                    "user": {
                        "client-certificate-data": encoded(f"{name}.crt"),
                        "client-key-data": encoded(f"{name}.key"),
                    },
                }
            ],
            "contexts": [
                {
                    "name": "doorbuster",
                    "context": {"cluster": "doorbuster", "user": name, "namespace": namespace},
                }
            ],
        }
        return yaml.safe_dump(document, sort_keys=False)

    def _make_authority(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "doorbuster devstack")])
        certificate = (
            self._builder(name, name, key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        _write_key(self.path("ca.key"), key)
        write_atomically(self.path("ca.crt"), _pem(certificate))

    def _sign(
        self,
        name: str,
        subject: list[x509.NameAttribute[str]],
        usage: x509.ObjectIdentifier,
        alternatives: x509.SubjectAlternativeName | None,
    ) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name(subject), self._certificate.subject, key)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if alternatives is not None:
            builder = builder.add_extension(alternatives, critical=False)
        _write_key(self.path(f"{name}.key"), key)
        write_atomically(self.path(f"{name}.crt"), _pem(builder.sign(self._key, hashes.SHA256())))

    def _builder(
        self, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - BACKDATED)
            .not_valid_after(self._now + LIFETIME)
        )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_atomically(path, pem.decode(), mode=0o600)


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key
