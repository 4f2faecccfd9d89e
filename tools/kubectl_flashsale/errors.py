"""What the API server or the way to it refuses, in kubectl's own words."""

import json
from collections.abc import Iterator
from typing import Any

import urllib3.exceptions
from kubernetes.client import ApiException


class ClusterError(Exception):
    """The command did not work; the message is printed as it is."""


class NotFoundError(ClusterError):
    """There is no such object."""


class ChangedError(ClusterError):
    """The object is not any more what the change was meant for."""


def of_answer(error: ApiException) -> ClusterError:
    """Return a refusal of the API server as kubectl would print it."""
    status = _status(error.body)
    message = status.get("message") or str(error.reason)
    reason = status.get("reason", "")
    if error.status == 404:
        return NotFoundError(f"Error from server (NotFound): {message}")
    if error.status == 401:
        return ClusterError(f"error: You must be logged in to the server ({message})")
    if error.status == 0:
        return ClusterError(f"Unable to connect to the server: {message}")
    details = status.get("details") or {}
    if reason == "Invalid" and details.get("causes"):
        return ClusterError(_invalid(details))
    if reason == "Invalid" and not details:
        # So the API server says that a test of a JSON patch failed, the only such patch that is sent here.
        return ChangedError("error: somebody else changed it at the same time; look again")
    return ClusterError(f"Error from server{f' ({reason})' if reason else ''}: {message}")


def of_connection(error: urllib3.exceptions.HTTPError, host: str) -> ClusterError:
    """Return why the API server at ``host`` could not be asked."""
    if any(isinstance(cause, ConnectionRefusedError) for cause in _causes(error)):
        return ClusterError(
            f"The connection to the server {host.partition('://')[2]} was refused"
            " - did you specify the right host or port?"
        )
    # urllib3 counts a host that has no address among those that are slow.
    is_unknown = isinstance(error, urllib3.exceptions.NewConnectionError)
    if isinstance(error, urllib3.exceptions.TimeoutError) and not is_unknown:
        return ClusterError(f"Unable to connect to the server: {host} did not answer in time")
    return ClusterError(f"Unable to connect to the server: {error}")


def _status(body: Any) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _invalid(details: dict[str, Any]) -> str:
    said = {f"{cause.get('field')}: {cause.get('message')}": None for cause in details["causes"]}
    head = f'The {details.get("kind")} "{details.get("name")}" is invalid:'
    if len(said) == 1:
        return f"{head} {next(iter(said))}"
    return "\n".join([head, *(f"* {each}" for each in said)])


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
