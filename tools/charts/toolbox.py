"""Helm 4 and 3, built once with Go into the cache: ``python -m charts.toolbox``."""

import sys
from pathlib import Path

from devstack import go_toolchain
from devstack.errors import StackError
from devstack.layout import cache_root

BUILD_SECONDS = 1800.0
TOOLS = {
    "helm4": "helm.sh/helm/v4/cmd/helm@v4.3.1",
    "helm3": "helm.sh/helm/v3/cmd/helm@v3.22.0",
}


def path(tool: str) -> Path:
    """Return where a tool is, built or not."""
    return cache_root() / f"{tool}-{TOOLS[tool].rpartition('@')[2]}" / "helm"


def main() -> None:
    """Build what is missing; exits with a sentence when there is no Go or a build fails."""
    for tool, package in TOOLS.items():
        if path(tool).exists():
            continue
        print(f"building {tool} (once, some minutes)", flush=True)
        try:
            go_toolchain.install(package, path(tool), print, within_seconds=BUILD_SECONDS)
        except StackError as error:
            sys.exit(f"{error}")


if __name__ == "__main__":
    main()
