"""``doorbuster SERVICE`` runs one service; ``doorbuster migrate|topics|user|cdc`` prepare its surroundings."""

import argparse
import asyncio
import importlib
import sys

from doorbuster.kit import bus, config, migrations, process

SERVICES = (
    *("user", "product", "search", "cart", "inventory", "checkout", "payment", "order"),
    *("notification", "gateway"),
)
SANDBOXES = {"psp": "the payment service provider", "sms": "the SMS provider"}
STORED = ("user", "cart", "inventory", "checkout", "payment", "order", "notification")
# What a service's own package does besides serving.
COMMANDS: dict[tuple[str, str | None], str] = {
    ("user", "grant"): "doorbuster.user.grant",
    ("search", "reindex"): "doorbuster.search.reindex",
    ("cdc", "register"): "doorbuster.cdc.command",
    ("cdc", "status"): "doorbuster.cdc.command",
}
ORDERS_PARTITIONS = 6


def main() -> None:
    """Entry point of the ``doorbuster`` command."""
    arguments = _parser().parse_args()
    command: str = arguments.command
    if action := COMMANDS.get((command, getattr(arguments, "action", None))):
        importlib.import_module(action).run(arguments)
        return
    if command in SERVICES or command in SANDBOXES or command == "cdc":
        is_sandbox = command in SANDBOXES
        package = f"doorbuster.sandbox.{command}" if is_sandbox else f"doorbuster.{command}.app"
        process.run(command, importlib.import_module(package).build)
        return
    try:
        if command == "migrate":
            asyncio.run(_migrate(arguments.services))
        else:
            asyncio.run(_topics(arguments.partitions, arguments.replication))
    except (config.ConfigError, process.StartError, OSError) as error:
        sys.stderr.write(f"doorbuster {command}: {error}\n")
        raise SystemExit(1) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="doorbuster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for service in SERVICES:
        command = commands.add_parser(service, help=f"run the {service} service")
        if service == "user":
            _add_grant(command)
        if service == "search":
            actions = command.add_subparsers(dest="action")
            actions.add_parser("reindex", help="build the index anew while the old one serves")
    cdc = commands.add_parser("cdc", help="make, show or watch the connectors of Debezium")
    actions = cdc.add_subparsers(dest="action", required=True)
    actions.add_parser("register", help="make or change the connectors and wait until they run")
    actions.add_parser("status", help="show the connectors and the replication slot")
    actions.add_parser("watch", help="run the process that repairs them")
    for sandbox, stands_for in SANDBOXES.items():
        commands.add_parser(sandbox, help=f"run the sandbox of {stands_for}")
    migrate = commands.add_parser("migrate", help="bring the schema of services up to date")
    migrate.add_argument("services", nargs="+", choices=STORED, metavar="SERVICE")
    topics = commands.add_parser("topics", help="make the orders topic unless it exists")
    topics.add_argument("--partitions", type=int, default=ORDERS_PARTITIONS)
    topics.add_argument("--replication", type=int, default=1)
    return parser


def _add_grant(user: argparse.ArgumentParser) -> None:
    actions = user.add_subparsers(dest="action")
    grant = actions.add_parser("grant", help="set the role of an account")
    grant.add_argument("--email", required=True)
    grant.add_argument("--role", required=True, choices=("buyer", "merchant", "admin"))
    grant.add_argument("--create", action="store_true", help="make the account if it is missing")
    grant.add_argument("--password-stdin", action="store_true", help="password of a new account")


def _value(name: str) -> str:
    import dataclasses

    spec = dataclasses.make_dataclass("One", [("value", str, config.setting(name))], frozen=True)
    value: str = config.load(spec).value
    return value


async def _migrate(services: list[str]) -> None:
    for service in services:
        dsn = _value(f"DOORBUSTER_{service.upper()}_DSN")
        await migrations.upgrade(f"doorbuster.{service}", dsn)


async def _topics(partitions: int, replication: int) -> None:
    from doorbuster.contracts import events

    bootstrap = _value("DOORBUSTER_KAFKA_BOOTSTRAP")
    await bus.ensure_topic(
        bootstrap, events.ORDERS_TOPIC, partitions=partitions, replication=replication
    )


if __name__ == "__main__":
    main()
