"""What Helm makes of the charts, and what the real API server says to it."""

import hashlib
import importlib
import subprocess

import pytest
import yaml

from charts import parts
from devstack import kubernetes_binaries
from doorbuster.kit import config

EVERY = (*parts.PARTS, parts.OPERATOR)
OTHER_APIS = ("monitoring.coreos.com/v1", "gateway.networking.k8s.io/v1")
WITH_OTHER_APIS = [f"--api-versions={each}" for each in OTHER_APIS]
WORKLOADS = {"Deployment", "Job"}


def pods(objects):
    """The pod templates by the name of what makes them."""
    found = [each for each in objects if each["kind"] in WORKLOADS]
    return {each["metadata"]["name"]: each["spec"]["template"] for each in found}


def environment(objects, deployment):
    """What a container would be told; a secret is its key in capitals."""
    pod = objects.one("Deployment", deployment)["spec"]["template"]["spec"]
    [container] = pod["containers"]
    told = dict(objects.one("ConfigMap", container["envFrom"][0]["configMapRef"]["name"])["data"])
    for each in container["env"]:
        source = each.get("valueFrom", {})
        secret = source.get("secretKeyRef", {})
        told[each["name"]] = each.get("value") or secret.get("key", "").upper() or "field"
    return told


def test_both_helms_make_the_same(tree, helm, helm4):
    ours = helm.render("doorbuster", *WITH_OTHER_APIS, values="everything")
    theirs = helm4.render("doorbuster", *WITH_OTHER_APIS, values="everything")
    key = lambda each: (each["kind"], each["metadata"]["name"])  # noqa: E731
    for each in (*ours, *theirs):
        each["metadata"].get("labels", {}).pop("app.kubernetes.io/managed-by", None)
    assert sorted(ours, key=key) == sorted(theirs, key=key)
    assert len(ours) > 80


def test_the_least_values_install_every_part_twice_over(helm4):
    objects = helm4.render("doorbuster", values="least")
    made = {each["metadata"]["name"] for each in objects if each["kind"] == "Deployment"}
    assert made == {f"doorbuster-{part.name}" for part in EVERY}
    assert not objects.kinds() & {
        "Ingress",
        "HTTPRoute",
        "ServiceMonitor",
        "HorizontalPodAutoscaler",
        "Secret",
    }
    for part in EVERY:
        assert (
            objects.one("Deployment", f"doorbuster-{part.name}")["spec"]["replicas"]
            == part.replicas
        )


# What stands in a Secret is a password to the test, but the programs want to parse it.
PARSED = {
    "DOORBUSTER_SMTP_URL": "smtp://mail:25",
}


@pytest.mark.parametrize("part", EVERY, ids=lambda part: part.name)
@pytest.mark.parametrize("values", ["least", "everything"])
def test_every_program_can_read_what_its_pods_are_told(helm4, part, values):
    prefix = {"least": "doorbuster", "everything": "shop"}[values]
    told = environment(helm4.render("doorbuster", values=values), f"{prefix}-{part.name}")
    module, _, name = part.config.partition(":")
    config.load(
        getattr(importlib.import_module(module), name),
        told | {k: v for k, v in PARSED.items() if k in told},
    )
    config.load(config.ProcessConfig, told)


def test_values_reach_the_programs(helm4):
    objects = helm4.render("doorbuster", values="everything")
    checkout = environment(objects, "shop-checkout")
    assert checkout["DOORBUSTER_TAX_PERCENT"] == "19"
    assert checkout["DOORBUSTER_LOG_LEVEL"] == "DEBUG"
    assert checkout["DOORBUSTER_INVENTORY_URLS"] == "dns+http://shop-inventory:8080"
    assert environment(objects, "shop-payment")["DOORBUSTER_ALLOW_RAW_CARDS"] == "false"
    [gateway] = pods(objects)["shop-gateway"]["spec"]["containers"]
    assert gateway["image"] == "registry.example.com/doorbuster/services:1.2.3"
    [checkout] = pods(objects)["shop-checkout"]["spec"]["containers"]
    assert checkout["image"].endswith("/services@sha256:" + 64 * "0")
    [operator] = pods(objects)["shop-operator"]["spec"]["containers"]
    assert operator["image"] == "registry.example.com/doorbuster/operator:1.2.3"
    sources = {e["name"]: e for e in pods(objects)["shop-payment"]["spec"]["containers"][0]["env"]}
    assert sources["DOORBUSTER_PAYMENT_DSN"]["valueFrom"]["secretKeyRef"]["name"] == "my-payment"


@pytest.mark.parametrize(
    ("chart", "argument", "words"),
    [
        ("doorbuster", "--set=checkout.replcas=3", "replcas"),
        ("doorbuster", "--set=chekout.replicas=3", "chekout"),
        ("doorbuster", "--set=global.imag.tag=1", "imag"),
        ("doorbuster", "--set=payment.config.pspUlr=x", "pspUlr"),
        ("doorbuster", "--set=checkout.config.checkoutMostDirect=many", "checkoutMostDirect"),
        ("doorbuster", "--set=payment.config.allowRawCards=perhaps", "allowRawCards"),
        ("doorbuster-cart", "--set=pdb.enabeld=true", "enabeld"),
        ("doorbuster-cart", "--set=hpa.maxReplicas=many", "maxReplicas"),
    ],
)
def test_a_typing_mistake_in_the_values_is_refused(helm, chart, argument, words):
    needed = [] if chart == "doorbuster" else ["--set=config.kafkaBootstrap=kafka:9092"]
    with pytest.raises(helm.Error, match=words):
        helm.render(chart, argument, *needed, values="least" if chart == "doorbuster" else None)


@pytest.mark.parametrize(
    ("chart", "words"),
    [
        ("doorbuster", r"global\.config\.kafkaBootstrap"),
        ("doorbuster-payment", r"doorbuster-payment needs config.\w+"),
    ],
)
def test_what_is_needed_is_asked_for(helm4, chart, words):
    with pytest.raises(helm4.Error, match=words):
        helm4.render(chart)


@pytest.mark.parametrize("part", EVERY, ids=lambda part: part.name)
def test_every_part_can_be_installed_alone(helm4, part):
    needed = [
        f"--set=config.{each.key}={'http://x' if 'Url' in each.key else 'shop@example.com'}"
        for each in parts.settings(part)
        if each.key and each.required
    ]
    assert helm4.render(f"doorbuster-{part.name}", *needed).one(
        "Deployment", f"doorbuster-{part.name}"
    )


def test_the_operator_owns_min_replicas_and_the_autoscaler_the_replicas(helm4):
    objects = helm4.render("doorbuster", values="everything")
    scaled = [each for each in objects if each["kind"] == "HorizontalPodAutoscaler"]
    assert {each["metadata"]["name"] for each in scaled} == {"shop-gateway", "shop-checkout"}
    for each in scaled:
        assert "minReplicas" not in each["spec"]
        assert int(each["metadata"]["annotations"]["doorbuster.dev/base-min-replicas"]) > 1
        assert "replicas" not in objects.one("Deployment", each["metadata"]["name"])["spec"]
    assert objects.one("Deployment", "shop-cart")["spec"]["replicas"] == 2


def test_another_setting_rolls_the_pods_and_nothing_else_does(helm4):
    def checksum(*arguments):
        objects = helm4.render("doorbuster", *arguments, values="least")
        return pods(objects)["doorbuster-checkout"]["metadata"]["annotations"]["checksum/config"]

    before = checksum()
    assert len(before) == len(hashlib.sha256(b"").hexdigest())
    assert checksum() == before
    assert checksum("--set=checkout.config.taxPercent=7") != before
    assert checksum("--set=checkout.replicas=5") == before


def test_the_network_policies_are_the_graph_of_the_routes(helm4):
    objects = helm4.render("doorbuster", values="least")
    for part in EVERY:
        policy = objects.one("NetworkPolicy", f"doorbuster-{part.name}")["spec"]
        allowed = [
            peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"]
            for rule in policy["ingress"]
            for peer in rule["from"]
            if "matchLabels" in peer.get("podSelector", {})
        ]
        assert sorted(allowed) == sorted(parts.callers(part))
        assert policy["policyTypes"] == ["Ingress", "Egress"]
    denied = objects.one("NetworkPolicy", "doorbuster-default-deny")["spec"]
    assert not denied.get("ingress")
    assert not denied.get("egress")


def test_optional_kinds_come_only_where_the_cluster_knows_them(helm4):
    others = {"ServiceMonitor", "HTTPRoute"}
    assert not others & helm4.render("doorbuster", values="everything").kinds()
    assert others <= helm4.render("doorbuster", *WITH_OTHER_APIS, values="everything").kinds()


def test_the_resources_stay_when_their_chart_goes(helm4):
    objects = helm4.render("doorbuster-crds")
    assert {each["spec"]["names"]["kind"] for each in objects} == {"FlashSale", "InventoryPool"}
    for each in objects:
        assert each["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_a_migration_has_what_it_needs_and_nothing_of_the_service(helm4):
    objects = helm4.render("doorbuster", values="least")
    migrated = [part.name for part in parts.PARTS if part.migrates]
    assert migrated
    for name in migrated:
        pod = objects.one("Job", f"doorbuster-{name}-migrate")["spec"]["template"]
        [container] = pod["spec"]["containers"]
        assert container["args"] == ["migrate", name]
        assert not set(container) & {"ports", "startupProbe", "livenessProbe", "readinessProbe"}
        assert [each["name"] for each in pod["spec"]["volumes"]] == ["tmp"]
        ways = objects.one("NetworkPolicy", f"doorbuster-{name}-migrate")
        assert ways["spec"]["podSelector"]["matchLabels"] == pod["metadata"]["labels"]
        assert {port["port"] for rule in ways["spec"]["egress"] for port in rule["ports"]} > {53}
        service = objects.one("Service", f"doorbuster-{name}")["spec"]["selector"]
        assert not service.items() <= pod["metadata"]["labels"].items()


def test_large_numbers_stay_whole(helm4):
    most = "--set-json=checkout.config.checkoutMostPerProduct=1000000"
    told = environment(helm4.render("doorbuster", most, values="least"), "doorbuster-checkout")
    assert told["DOORBUSTER_CHECKOUT_MOST_PER_PRODUCT"] == "1000000"


@pytest.mark.parametrize("way", ["ingress", "httpRoute"])
def test_a_way_in_without_trusted_proxies_is_refused(helm4, way):
    with pytest.raises(helm4.Error, match="the whole shop counts as one client"):
        helm4.render("doorbuster", f"--set=gateway.{way}.enabled=true", values="least")


def test_a_part_without_a_policy_is_not_cut_off(helm4):
    without = "--set=gateway.networkPolicy.enabled=false"
    objects = helm4.render("doorbuster", without, values="least")
    denied = objects.one("NetworkPolicy", "doorbuster-default-deny")["spec"]["podSelector"]
    assert denied["matchExpressions"] == [
        {"key": "app.kubernetes.io/name", "operator": "NotIn", "values": ["gateway"]}
    ]


def test_what_holds_for_all_pods_is_said_once(helm4):
    secret = "--set=global.imagePullSecrets[0].name=registry"
    for each in pods(helm4.render("doorbuster", secret, values="least")).values():
        assert each["spec"]["imagePullSecrets"] == [{"name": "registry"}]


@pytest.mark.parametrize("name", ["operator", "cdc"])
def test_what_one_copy_does_cannot_be_autoscaled(helm4, name):
    with pytest.raises(helm4.Error, match="hpa"):
        helm4.render("doorbuster", f"--set={name}.hpa.enabled=true", values="least")


# --- the real API server --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kubectl(servers):
    """kubectl with a namespace that enforces the Pod Security level "restricted"."""
    env = servers("apiserver")

    def run(*arguments, objects=None):
        done = subprocess.run(
            [*kubernetes_binaries.command("kubectl"), *arguments],
            env={"KUBECONFIG": env["KUBECONFIG"], "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
            input=yaml.safe_dump_all(objects) if objects is not None else None,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    level = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "shop", "labels": level},
    }
    assert run("apply", "-f", "-", objects=[namespace])[0] == 0
    return run


@pytest.mark.parametrize("values", ["least", "everything"])
def test_the_api_server_takes_every_object_and_knows_every_field(helm4, kubectl, values):
    # The stack has this one already, under its one name in the cluster.
    without = "--set=operator.admissionPolicy.enabled=false"
    objects = helm4.render("doorbuster", without, values=values)
    code, said = kubectl(
        "create", "--dry-run=server", "--validate=strict", "-f", "-", objects=objects
    )
    assert code == 0, said
    assert said.count("created (server dry run)") == len(objects)
    objects[0]["spek"] = {}
    assert (
        "unknown field"
        in kubectl(
            "create", "--dry-run=server", "--validate=strict", "-f", "-", objects=objects[:1]
        )[1]
    )


def test_every_pod_may_run_where_only_restricted_pods_may(helm4, kubectl):
    templates = pods(helm4.render("doorbuster", values="least"))
    made = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{name}-0",
                "namespace": "shop",
                "labels": each["metadata"]["labels"],
            },
            "spec": each["spec"],
        }
        for name, each in templates.items()
    ]
    assert len(made) == len(EVERY) + sum(part.migrates for part in parts.PARTS) + 1
    code, said = kubectl("create", "--dry-run=server", "-f", "-", objects=made)
    assert code == 0, said
    made[0]["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    assert (
        "violates PodSecurity"
        in kubectl("create", "--dry-run=server", "-f", "-", objects=made[:1])[1]
    )
    for each in made[1:]:
        is_operator = each["metadata"]["name"] == "doorbuster-operator-0"
        assert each["spec"]["automountServiceAccountToken"] is is_operator
        [container] = each["spec"]["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["resources"]["limits"]["memory"]
