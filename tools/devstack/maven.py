"""Fetching a pom's jars and archives with Maven, trusting what this machine trusts."""

import contextlib
import os
import ssl
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from . import bounded
from .errors import StackError

SECONDS = 900
_STORE_PASSWORD = "changeit"  # Java wants one; the certificates in it are public
_CERTIFICATE = "-----BEGIN CERTIFICATE-----"


def copy_jars(pom: Path, target: Path) -> None:
    """Put the runtime jars of ``pom`` into ``target``, whole or not at all.

    Raises:
        StackError: Maven failed; with its words.
    """
    _fetch(pom, target, ("-DincludeScope=runtime",), lambda bytes_so_far: None)


def copy_archives(pom: Path, target: Path, report: Callable[[int], None]) -> None:
    """Put the archives that ``pom`` names into ``target`` and keep no other copy; ``report`` is told the bytes so far.

    Raises:
        StackError: Maven failed; with its words.
    """
    _fetch(pom, target, ("-DexcludeTransitive=true", "-Dmaven.repo.local={scratch}/m2"), report)


def _fetch(pom: Path, target: Path, words: Sequence[str], report: Callable[[int], None]) -> None:
    """Run Maven.

    A Java installed a minute ago may not know the authorities that were added to the system (a
    company's proxy), so a second attempt uses the system's own list.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        fetched = Path(scratch) / "fetched"
        argv = (
            *("mvn", "-B", "-q", "-ntp", "-U", "-Dstyle.color=never", "-f", str(pom)),
            *("dependency:copy-dependencies", f"-DoutputDirectory={fetched}"),
            *(word.format(scratch=scratch) for word in words),
        )

        def run(environment: Mapping[str, str]) -> str:
            status, lines = bounded.run(
                argv,
                Path(scratch),
                SECONDS,
                lambda count: report(_bytes_below(Path(scratch))),
                environment=environment,
            )
            if status == 0 and fetched.is_dir():
                return ""
            return "\n".join(lines[-20:]) or f"no output; it is ended after {SECONDS} s"

        failure = run({})
        if failure and (trusting := _trusting_the_system(Path(scratch) / "trusted.p12")):
            failure = run(trusting)
        if failure:
            raise StackError("Maven failed", log_tail=failure)
        fetched.rename(target)


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def _trusting_the_system(store: Path) -> dict[str, str]:
    """Maven's environment with the system's certificate authorities; empty where there is no list."""
    certificates = system_certificates()
    if not certificates:
        return {}
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
    return {"MAVEN_OPTS": options}


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
