"""The Kubernetes API as the plugin uses it: read, patch and follow FlashSales of one namespace."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import urllib3.exceptions
import yaml
from kubernetes import client, config, watch

from . import errors, model

Body = dict[str, Any]
PAGE = 500
MAX_PAGES = 200
QUIET_SECONDS = 5.0  # a watch that saw nothing so long begins anew
SLACK_SECONDS = 5.0  # the API server ends a watch itself; this much later it counts as lost
GONE = 410
# What the client's loader makes of a kubeconfig that is absent, torn or none at all.
UNUSABLE = (config.ConfigException, OSError, TypeError, ValueError, KeyError, yaml.YAMLError)
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"


@dataclass(frozen=True, kw_only=True)
class Access:
    """Where the API server is and how to ask it; None means as kubectl does."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None
    request_seconds: float | None = 10.0


@contextmanager
def connect(access: Access) -> Iterator["Cluster"]:
    """Open a client of the kubeconfig's cluster; nothing is asked yet. Raises ClusterError."""
    settings, namespace = _settings(access)
    with client.ApiClient(settings) as api:
        try:
            yield Cluster(api, namespace, access.request_seconds)
        finally:
            api.rest_client.pool_manager.clear()


def _settings(access: Access) -> tuple[client.Configuration, str]:
    try:
        known, active = config.list_kube_config_contexts(access.kubeconfig)
        chosen = active
        if access.context is not None:
            chosen = next((each for each in known if each["name"] == access.context), None)
            if chosen is None:
                raise errors.ClusterError(f'error: context "{access.context}" does not exist')
        settings = client.Configuration()
        config.load_kube_config(
            access.kubeconfig, context=access.context, client_configuration=settings
        )
    except UNUSABLE as error:
        raise errors.ClusterError(f"error: the kubeconfig cannot be used: {error}") from error
    settings.retries = False
    return settings, access.namespace or chosen["context"].get("namespace") or "default"


def contexts(kubeconfig: str | None) -> list[str]:
    """Return the names of the kubeconfig's contexts; none when it cannot be read."""
    try:
        return [each["name"] for each in config.list_kube_config_contexts(kubeconfig)[0]]
    except UNUSABLE:
        return []


class Cluster:
    """One namespace of one API server; every method raises ClusterError, for absent objects NotFoundError."""

    def __init__(
        self, api: client.ApiClient, namespace: str, request_seconds: float | None
    ) -> None:
        self._api = api
        self._objects = client.CustomObjectsApi(api)
        self._core = client.CoreV1Api(api)
        self._seconds = request_seconds
        self.namespace = namespace

    def sales(self, *, everywhere: bool = False) -> list[Body]:
        """Return all FlashSales of the namespace, or of all namespaces."""
        found: list[Body] = []
        token = ""
        for _ in range(MAX_PAGES):
            page = self._sales_page(token, everywhere=everywhere)
            found.extend(page["items"])
            token = page["metadata"].get("continue", "")
            if not token:
                return found
        raise errors.ClusterError(f"error: there are more than {PAGE * MAX_PAGES} FlashSales")

    def _sales_page(self, token: str, *, everywhere: bool) -> Body:
        kind = (model.GROUP, model.VERSION)
        options = {"limit": PAGE, "_continue": token}
        if everywhere:
            return self._body(
                self._objects.list_custom_object_for_all_namespaces, *kind, model.SALES, **options
            )
        return self._body(
            self._objects.list_namespaced_custom_object,
            *kind,
            self.namespace,
            model.SALES,
            **options,
        )

    def sale(self, name: str) -> Body:
        """Return one FlashSale."""
        return self._body(
            self._objects.get_namespaced_custom_object, *self._where(model.SALES), name
        )

    def pools(self, sale: model.FlashSale) -> dict[str, model.Pool | str]:
        """Return a sale's pools by name; one that cannot be read is the sentence why."""
        found: dict[str, model.Pool | str] = {}
        for name in {item.pool_name for item in sale.spec.items}:
            try:
                body = self._body(
                    self._objects.get_namespaced_custom_object, *self._where(model.POOLS), name
                )
                found[name] = model.pool(body)
            except errors.NotFoundError:
                found[name] = "does not exist"
            except errors.ClusterError as error:
                found[name] = f"cannot be read: {error}"
        return found

    def patch(self, name: str, change: Mapping[str, Any]) -> Body:
        """Merge a change into a FlashSale; returns it."""
        return self._patch(name, dict(change), MERGE)

    def replace_field(self, name: str, path: str, *, old: Any, new: Any) -> Body:
        """Set one field that is still ``old``; returns the FlashSale. Raises ChangedError when it is not."""
        steps = [
            {"op": "test", "path": path, "value": old},
            {"op": "replace", "path": path, "value": new},
        ]
        return self._patch(name, steps, JSON_PATCH)

    def _patch(self, name: str, body: Any, kind: str) -> Body:
        return self._body(
            self._objects.patch_namespaced_custom_object,
            *self._where(model.SALES),
            name,
            body,
            field_manager="kubectl-flashsale",
            _content_type=kind,
        )

    def config_map(self, name: str) -> Any:
        """Return a ConfigMap."""
        return self._ask(self._core.read_namespaced_config_map, name, self.namespace)

    def namespaces(self) -> list[str]:
        """Return the names of the namespaces."""
        found = self._ask(self._core.list_namespace, limit=PAGE)
        return [each.metadata.name for each in found.items]

    def follow(self, name: str, left: Callable[[], float]) -> Iterator[Body | None]:
        """Yield a FlashSale as it is and at every change, and None whenever nothing changed for a while.

        ``left`` says how many seconds the caller still has; it ends when there are none. Raises NotFoundError
        when the sale is deleted.
        """
        body = self.sale(name)
        yield body
        while left() > 0:
            version = body["metadata"]["resourceVersion"]
            quiet = max(1, math.ceil(min(QUIET_SECONDS, left())))
            try:
                for event in self._watch(name, version, quiet):
                    body = event["raw_object"]
                    if event["type"] == "DELETED":
                        raise errors.NotFoundError(f'FlashSale "{name}" was deleted')
                    yield body
            except client.ApiException as error:
                if error.status != GONE:
                    raise errors.of_answer(error) from error
                body = self.sale(name)
                yield body
            except urllib3.exceptions.HTTPError as error:
                raise errors.of_connection(error, self._api.configuration.host) from error
            yield None

    def _watch(self, name: str, version: str, seconds: int) -> Iterator[Body]:
        events: Iterator[Body] = watch.Watch().stream(
            self._objects.list_namespaced_custom_object,
            *self._where(model.SALES),
            field_selector=f"metadata.name={name}",
            resource_version=version,
            timeout_seconds=seconds,
            _request_timeout=(self._seconds, seconds + SLACK_SECONDS),
        )
        return events

    def _where(self, plural: str) -> tuple[str, str, str, str]:
        return (model.GROUP, model.VERSION, self.namespace, plural)

    def _body(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Body:
        found: Body = self._ask(call, *arguments, **options)
        return found

    def _ask(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            return call(*arguments, **options, _request_timeout=self._seconds)
        except client.ApiException as error:
            raise errors.of_answer(error) from error
        except urllib3.exceptions.HTTPError as error:
            raise errors.of_connection(error, self._api.configuration.host) from error
