"""What the API server's less common answers mean: shared finalizers, reports that never can be, what is forbidden."""

import json
from types import SimpleNamespace

import pytest
from kubernetes.aio import client as kube

from doorbuster_operator import cluster, metrics
from doorbuster_operator.sale import model
from doorbuster_operator.sale_keeper import SaleSubject
from doorbuster_operator.testing.builders import after, build_gate, build_sale

ABOUT = {
    "apiVersion": cluster.API_VERSION,
    "kind": model.KIND,
    "metadata": {"namespace": "default", "name": "drop", "uid": "sale-uid"},
}
OTHER = "example.com/backup"
RESTORED = [model.FINALIZER, OTHER, model.TOPIC_FINALIZER]


class Objects:
    """One object whose finalizers have another field manager as well: an apply cannot take them away."""

    def __init__(self, *, is_stubborn=False):
        self.is_stubborn = is_stubborn
        self.patches = []
        self.finalizers = RESTORED

    async def patch_namespaced_custom_object(self, *args, _content_type, **_):
        body = args[-1]
        self.patches.append((_content_type, body["metadata"]))
        if "merge" in _content_type and not self.is_stubborn:
            self.finalizers = body["metadata"]["finalizers"]
        metadata = {"name": "drop", "resourceVersion": "7", "finalizers": self.finalizers}
        return {"metadata": metadata}


def over(objects, **options):
    subject = cluster.Cluster(object(), "default", **options)
    subject._objects = objects
    return subject


async def test_a_finalizer_that_another_manager_owns_too_is_dropped_and_no_other():
    objects = Objects()
    await over(objects).apply_finalizers(ABOUT, model.PLURAL, [])
    assert objects.finalizers == [OTHER]
    _, (kind, metadata) = objects.patches
    assert kind == "application/merge-patch+json"
    assert (metadata["uid"], metadata["resourceVersion"]) == ("sale-uid", "7")


async def test_a_finalizer_that_stays_is_no_success():
    with pytest.raises(cluster.ClusterError, match=r"still has doorbuster\.dev/gate"):
        await over(Objects(is_stubborn=True)).apply_finalizers(ABOUT, model.PLURAL, [])


async def test_finalizers_that_are_added_cost_one_patch():
    objects = Objects()
    await over(objects).apply_finalizers(ABOUT, model.PLURAL, [model.FINALIZER])
    assert len(objects.patches) == 1


async def test_a_process_that_lost_its_lease_in_between_drops_nothing():
    leads = iter([True, False])
    objects = Objects()
    with pytest.raises(cluster.NotLeadingError):
        await over(objects, may_write=lambda: next(leads)).apply_finalizers(
            ABOUT, model.PLURAL, []
        )
    assert objects.finalizers == RESTORED


def refusal(status, message, causes=()):
    error = kube.ApiException(status=status, reason="-")
    error.body = json.dumps({"message": message, "details": {"causes": list(causes)}})
    return error


OWNED = refusal(409, 'conflict with "kubectl": .data', [{"reason": "FieldManagerConflict"}])
IMMUTABLE = refusal(422, "data: Forbidden: field is immutable when `immutable` is set")


class Maps:
    """A ConfigMap that is a report by its labels and cannot be written."""

    def __init__(self, error):
        self.error = error

    async def read_namespaced_config_map(self, *_, **__):
        labels = {"doorbuster.dev/flashsale": "drop"}
        return SimpleNamespace(metadata=SimpleNamespace(labels=labels))

    async def patch_namespaced_config_map(self, *_, **__):
        raise self.error


@pytest.mark.parametrize(
    ("error", "reason", "is_refusal"),
    [
        (OWNED, "ReportConflict", True),
        (IMMUTABLE, "ReportConflict", True),
        (refusal(409, "the object has been modified"), "ReportNotWritten", False),
        (refusal(404, "namespaces not found"), "ReportNotWritten", False),
        (refusal(500, "etcd is away"), "ReportNotWritten", False),
    ],
)
async def test_a_report_that_never_can_be_written_is_a_conflict(error, reason, is_refusal):
    writes = cluster.Cluster(object(), "default")
    writes._core = Maps(error)
    inventory = SimpleNamespace(gates={"sale-uid": build_gate()})
    world = SimpleNamespace(cluster=writes, inventory=inventory)
    subject = SaleSubject(world, "drop", "sale-uid", lambda name: None)
    await subject._write_report(build_sale(), after(900))
    told = subject._report_failure
    assert (told.reason, told.is_refusal) == (reason, is_refusal)


def counts():
    (family,) = metrics.FORBIDDEN.collect()
    return {
        (each.labels["verb"], each.labels["resource"]): each.value
        for each in family.samples
        if each.name.endswith("_total")
    }


def test_only_a_missing_right_is_counted_as_one():
    before = counts()
    cluster.count_forbidden('unable to create new content in namespace "a" because it terminates')
    cluster.count_forbidden("exceeded quota: few, requested: configmaps=1")
    assert counts() == before
    cluster.count_forbidden('User "o" cannot patch resource "flashsales" in API group "d"')
    right = ("patch", "flashsales")
    assert counts() == {**before, right: before.get(right, 0) + 1}
