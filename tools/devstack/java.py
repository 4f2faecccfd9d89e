"""The Java that Kafka, Kafka Connect and Elasticsearch run on."""

import os
import re
import shutil
import subprocess
from pathlib import Path

LOWEST_JAVA = 17
# A server that lives for an hour gains more by starting soon than by the last bit of speed.
QUICK_JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")


def packages(*, maven: bool) -> tuple[str, ...]:
    """The Debian packages that are missing for Java, and where ``maven`` is asked for, for that."""
    wanted = () if find() else ("openjdk-17-jre-headless|default-jre-headless",)
    return (*wanted, "maven") if maven and shutil.which("mvn") is None else wanted


def find() -> str | None:
    """A Java that is new enough: $JAVA_HOME's, else the one on the path."""
    home = os.environ.get("JAVA_HOME")
    candidates = [str(Path(home) / "bin" / "java")] if home else []
    candidates.append(shutil.which("java") or "")
    for candidate in candidates:
        if candidate and _version(candidate) >= LOWEST_JAVA:
            return candidate
    return None


def _version(java: str) -> int:
    try:
        done = subprocess.run(
            (java, "-version"), capture_output=True, text=True, timeout=30, check=False
        )
    except OSError:
        return 0
    found = re.search(r'version "(\d+)', done.stderr + done.stdout)
    return int(found[1]) if found else 0
