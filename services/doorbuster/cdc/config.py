"""The settings of change data capture, read once by its commands and its watcher."""

from dataclasses import dataclass

from doorbuster.kit import config

from . import domain


@dataclass(frozen=True, kw_only=True)
class CdcConfig:
    """Where Connect is, and how Connect itself reaches what it captures."""

    connect_url: str = config.setting("DOORBUSTER_CONNECT_URL")
    postgres_dsn: str = config.setting("DOORBUSTER_CDC_POSTGRES_DSN", secret=True)
    mongo_url: str = config.setting("DOORBUSTER_CDC_MONGO_URL", secret=True)
    partitions: int = config.setting("DOORBUSTER_CDC_PARTITIONS", int, default=3)
    replication: int = config.setting("DOORBUSTER_CDC_REPLICATION", int, default=1)

    def connectors(self) -> tuple[domain.Connector, ...]:
        """Return the connectors as they shall be; raises ValueError when a DSN names no database."""
        return domain.connectors(
            postgres_dsn=self.postgres_dsn,
            mongo_url=self.mongo_url,
            partitions=self.partitions,
            replication=self.replication,
        )
