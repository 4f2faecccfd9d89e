"""What each command does: one function a command, which returns the exit code."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import yaml
from rich.console import Console

from doorbuster.kit.clock import utc_now

from . import errors, live, model, report, simulate, story, table, waiting
from .cluster import Body, Cluster
from .times import stamp

KIND = f"flashsale.{model.GROUP}"
DONE, FAILED = 0, 1


def run(cluster: Cluster, options: argparse.Namespace) -> int:
    """Do what the command line asks for. Raises ClusterError, UnreadableError."""
    return _COMMANDS[options.command](cluster, options)


def _list(cluster: Cluster, options: argparse.Namespace) -> int:
    everywhere = options.all_namespaces
    bodies = cluster.sales(everywhere=everywhere)
    sales = sorted(
        zip(map(model.sale, bodies), bodies, strict=True),
        key=lambda pair: (
            pair[0].spec.open_time,
            pair[0].metadata.namespace,
            pair[0].metadata.name,
        ),
    )
    if options.output in {"json", "yaml"}:
        items = [_shown(body) for _, body in sales]
        _print_body({"apiVersion": "v1", "kind": "List", "items": items}, options.output)
    elif options.output == "name":
        for sale, _ in sales:
            print(f"{KIND}/{sale.metadata.name}")
    elif sales:
        is_wide = options.output == "wide"
        found = [sale for sale, _ in sales]
        print(*table.lines(found, utc_now(), is_wide=is_wide, has_namespaces=everywhere), sep="\n")
    else:
        where = "" if everywhere else f" in {cluster.namespace} namespace"
        sys.stderr.write(f"No resources found{where}.\n")
    return DONE


def _get(cluster: Cluster, options: argparse.Namespace) -> int:
    name, is_drawn = options.name, _is_drawn()
    if options.watch and options.output != "tree":
        raise errors.ClusterError("error: -w shows the tree only; leave -o away")
    if options.watch and is_drawn:
        live.draw(cluster, name, Console())
        return DONE
    if options.watch:
        live.print_changes(cluster, name)
        return DONE
    body = cluster.sale(name)
    if options.output == "name":
        print(f"{KIND}/{name}")
    elif options.output != "tree":
        _print_body(_shown(body), options.output)
    else:
        sale = model.sale(body)
        told = story.tell(sale, cluster.pools(sale), utc_now())
        if is_drawn:
            Console().print(story.drawn(told))
        else:
            print(*story.plain(told), sep="\n")
    return DONE


def _status(cluster: Cluster, options: argparse.Namespace) -> int:
    name, goal = options.name, options.goal
    deadline = time.monotonic() + options.timeout.total_seconds()
    said = ""
    for body in cluster.follow(name, lambda: deadline - time.monotonic()):
        if body is None:
            continue
        outcome = waiting.look(model.sale(body), goal)
        if outcome.is_reached:
            print(f'flashsale "{name}" is {goal}: {outcome.sentence}')
            return DONE
        if outcome.is_reached is False:
            raise errors.ClusterError(
                f'error: flashsale "{name}" will not be {goal}: {outcome.sentence}'
            )
        if outcome.sentence != said:
            said = outcome.sentence
            print(f'Waiting for flashsale "{name}" to be {goal}: {said}', flush=True)
    raise errors.ClusterError(
        f'error: timed out waiting for flashsale "{name}" to be {goal}: {said}'
    )


def _suspend(cluster: Cluster, options: argparse.Namespace) -> int:
    return _want(cluster, options.name, "Suspended", "suspended")


def _resume(cluster: Cluster, options: argparse.Namespace) -> int:
    return _want(cluster, options.name, "Active", "resumed")


def _cancel(cluster: Cluster, options: argparse.Namespace) -> int:
    name = options.name
    if not options.yes:
        sale = model.sale(cluster.sale(name))
        if not sys.stdin.isatty():
            raise errors.ClusterError(
                "error: a cancelled sale stays cancelled; --yes if that is meant"
            )
        state = sale.status.summary or "The operator has not seen it yet."
        question = f"{state}\nCancel {sale.metadata.namespace}/{name} for ever? [y/N] "
        if input(question).strip().lower() not in {"y", "yes"}:
            raise errors.ClusterError("error: nothing was changed")
    return _want(cluster, name, "Cancelled", "cancelled")


def _want(cluster: Cluster, name: str, state: str, done: str) -> int:
    before = model.sale(cluster.sale(name))
    if before.spec.desired_state == state:
        print(f"{KIND}/{name} {done} (no change)")
        return DONE
    cluster.patch(name, {"spec": {"desiredState": state}})
    print(f"{KIND}/{name} {done}")
    return DONE


def _extend(cluster: Cluster, options: argparse.Namespace) -> int:
    name = options.name
    body = cluster.sale(name)
    closes = model.sale(body).spec.close_time
    until = closes + options.by if options.by is not None else options.until
    if until <= closes:
        raise errors.ClusterError(
            f"error: {stamp(until)} is no extension, the sale closes at {stamp(closes)}"
        )
    # The test keeps --by from being added to a time that somebody else has just moved.
    cluster.replace_field(name, "/spec/closeTime", old=body["spec"]["closeTime"], new=stamp(until))
    print(f"{KIND}/{name} extended until {stamp(until)}")
    return DONE


def _simulate(cluster: Cluster, options: argparse.Namespace) -> int:
    return simulate.simulate(model.sale(cluster.sale(options.name)), options)


def _report(cluster: Cluster, options: argparse.Namespace) -> int:
    """Print the final report, also of a sale that is gone, but none of an earlier sale of the same name."""
    name, is_json = options.name, options.output == "json"
    written, sale = _written(cluster, name), None
    try:
        sale = model.sale(cluster.sale(name))
    except errors.NotFoundError:
        if written is None:
            raise
    if written is not None and (sale is None or report.is_about(written, sale)):
        print(written[report.JSON_KEY if is_json else report.TEXT_KEY].rstrip("\n"))
    elif sale is not None:
        figures = report.interim(sale)
        print(json.dumps(figures, indent=2) if is_json else report.text(figures))
    return DONE


def _written(cluster: Cluster, name: str) -> Mapping[str, str] | None:
    try:
        return report.final(cluster.config_map(report.config_map_name(name)), name)
    except errors.NotFoundError:
        return None


def _shown(body: Body) -> Body:
    """Return the object without managedFields, as kubectl prints it."""
    metadata = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    return {**body, "metadata": metadata}


def _print_body(body: Body, output: str) -> None:
    if output == "json":
        print(json.dumps(body, indent=4))
    else:
        print(yaml.safe_dump(body, sort_keys=True), end="")


def _is_drawn() -> bool:
    is_plain = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not is_plain


_COMMANDS: Mapping[str, Callable[[Cluster, Any], int]] = {
    "list": _list,
    "get": _get,
    "status": _status,
    "suspend": _suspend,
    "resume": _resume,
    "cancel": _cancel,
    "extend": _extend,
    "simulate": _simulate,
    "report": _report,
}
