"""The Doorbuster processes: their copies, ports, environment, migrations and readiness."""

from .part import Part


def service_parts() -> tuple[Part, ...]:
    return ()
