"""Which user a server runs as: servers that refuse root get one of the system's own accounts."""

import os
import pwd


def server_user(*preferred: str) -> str | None:
    """The first existing account, else ``nobody``; None when this is not root (run as oneself)."""
    if os.getuid() != 0:
        return None
    for name in preferred:
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    return "nobody"
