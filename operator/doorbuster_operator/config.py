"""Where the operator finds everything; read once from the environment."""

import dataclasses
import socket
from pathlib import Path

from doorbuster.kit import config


@dataclasses.dataclass(frozen=True, kw_only=True)
class OperatorConfig(config.ProcessConfig):
    """Settings of the operator; ``admin_port`` serves its probes and metrics, ``port`` is not used.

    ``relist_seconds``: how often every object is read again. ``watch_seconds``: how long the watch may owe a
    change that is known from elsewhere before /livez fails.
    """

    inventory_urls: tuple[str, ...] = config.setting(
        "DOORBUSTER_INVENTORY_URLS", config.comma_list
    )
    kafka_bootstrap: str = config.setting("DOORBUSTER_KAFKA_BOOTSTRAP")
    service_key_file: Path = config.setting("DOORBUSTER_SERVICE_KEY_FILE", Path)
    kubeconfig: str = config.setting("KUBECONFIG", default="")
    namespace: str = config.setting("DOORBUSTER_OPERATOR_NAMESPACE", default="default")
    lease_name: str = config.setting("DOORBUSTER_OPERATOR_LEASE", default="doorbuster-operator")
    relist_seconds: float = config.setting(
        "DOORBUSTER_OPERATOR_RELIST_SECONDS", float, default=60.0
    )
    watch_seconds: float = config.setting("DOORBUSTER_OPERATOR_WATCH_SECONDS", float, default=20.0)
    identity: str = config.setting("DOORBUSTER_OPERATOR_IDENTITY", default="")

    @property
    def holder(self) -> str:
        """Return who this process is in an election: one identity never runs twice at a time.

        The default names the host and a port that only one process can listen on, so that a process that
        was killed and started again takes its own lease back at once.
        """
        return self.identity or f"{socket.gethostname()}-{self.admin_port}"
