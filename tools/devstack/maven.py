"""Fetching a pom's jars with Maven, trusting what this machine trusts."""

import os
import ssl
import subprocess
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from .errors import StackError

SECONDS = 900
_STORE_PASSWORD = "changeit"  # Java wants one; the certificates in it are public
_CERTIFICATE = "-----BEGIN CERTIFICATE-----"


def copy_jars(pom: Path, target: Path) -> None:
    """Put the runtime jars of ``pom`` into ``target``, whole or not at all.

    A Java installed a minute ago may not know the authorities that were added to the system (a
    company's proxy), so a second attempt uses the system's own list.

    Raises:
        StackError: both attempts failed; with Maven's words.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        fetched = Path(scratch) / "jars"
        failure = _run_maven(pom, fetched, os.environ)
        if failure:
            store = Path(scratch) / "trusted.p12"
            failure = _trusting_the_system(pom, fetched, store) or ""
        if failure:
            raise StackError("Maven failed", log_tail=failure)
        fetched.rename(target)


def _trusting_the_system(pom: Path, fetched: Path, store: Path) -> str:
    certificates = system_certificates()
    if not certificates:
        return "the system has no list of certificate authorities"
    store.write_bytes(
        pkcs12.serialize_java_truststore(
            [pkcs12.PKCS12Certificate(certificate, None) for certificate in certificates],
            serialization.BestAvailableEncryption(_STORE_PASSWORD.encode()),
        )
    )
    options = (
        f"{os.environ.get('MAVEN_OPTS', '')} -Djavax.net.ssl.trustStore={store}"
        f" -Djavax.net.ssl.trustStoreType=PKCS12"
        f" -Djavax.net.ssl.trustStorePassword={_STORE_PASSWORD}"
    )
    return _run_maven(pom, fetched, {**os.environ, "MAVEN_OPTS": options})


def system_certificates() -> list[x509.Certificate]:
    """The authorities that OpenSSL trusts here, without those that cannot be parsed."""
    path = ssl.get_default_verify_paths().cafile
    if path is None:
        return []
    found = []
    with warnings.catch_warnings(action="ignore"):  # some old roots break today's rules
        for text in (
            Path(path).read_text(encoding="utf-8", errors="replace").split(_CERTIFICATE)[1:]
        ):
            try:
                found.append(x509.load_pem_x509_certificate((_CERTIFICATE + text).encode()))
            except ValueError:
                continue
    return found


def _run_maven(pom: Path, fetched: Path, environment: Mapping[str, str]) -> str:
    """The last words of a failed run, "" after success."""
    argv = (
        *("mvn", "-B", "-q", "-ntp", "-U", "-Dstyle.color=never", "-f", str(pom)),
        *("dependency:copy-dependencies", "-DincludeScope=runtime"),
        f"-DoutputDirectory={fetched}",
    )
    try:
        done = subprocess.run(
            argv, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"it took longer than {SECONDS} s"
    if done.returncode == 0 and fetched.is_dir():
        return ""
    return "\n".join((done.stdout + done.stderr).strip().splitlines()[-20:]) or "no output"
