"""What watching over the connectors needs: Connect, and the slot in PostgreSQL."""

from typing import Protocol

from .domain import Connector, Slot


class ConnectorState(Protocol):
    """The state of a connector and of its only task, such as RUNNING, PAUSED, STOPPED or FAILED."""

    @property
    def connector(self) -> str: ...

    @property
    def task(self) -> str: ...


class Connect(Protocol):
    """Kafka Connect; every call may raise ConnectionError."""

    async def put(self, connector: Connector) -> None:
        """Make the connector or change it; raises ConnectRefusedError."""

    async def state(self, name: str) -> ConnectorState | None:
        """Return what it is doing, None when there is no such connector."""

    async def restart_failed(self, name: str) -> None:
        """Start the connector and its task anew where they failed."""

    async def stop(self, name: str) -> None:
        """End its task; its position stays."""

    async def resume(self, name: str) -> None:
        """Let a stopped connector go on."""

    async def forget_position(self, name: str) -> None:
        """Delete the offsets of a stopped connector, so that it takes a snapshot."""


class Slots(Protocol):
    """The replication slot of the inventory connector; every call may raise ConnectionError."""

    async def find(self) -> Slot | None:
        """Return the slot, None when there is none."""

    async def drop(self) -> None:
        """Drop the slot if it is there, ending whoever still reads it."""
