"""How commands end: what is waited for, what the API server refuses, who may be simulated, what the wheel has."""

import argparse
import importlib
import json
import pathlib
import tomllib

import pytest
import urllib3.exceptions
from kubernetes.client import ApiException

from kubectl_flashsale import cluster, errors, model, simulate, waiting


def outcome(body, goal):
    return waiting.look(model.sale(body), waiting.goal(goal))


def test_goal_is_reached_when_its_condition_is_true_or_its_phase_was_passed(body):
    for goal in ("condition=Ready", "phase=Open", "phase=Scheduled"):
        assert outcome(body(), goal).is_reached
    sold_out = body(status_phase="SoldOut")
    for goal in ("phase=Open", "phase=SoldOut"):
        assert outcome(sold_out, goal).is_reached
    assert outcome(body(status_phase="Settled"), "phase=Closed").is_reached


def test_goal_that_may_still_come_is_waited_for(body):
    assert outcome(body(), "phase=Settled").is_reached is None
    assert outcome(body(), "condition=Settled").is_reached is None
    assert outcome(body(status_observedGeneration=1), "condition=Ready").is_reached is None


@pytest.mark.parametrize(
    ("phase", "goal"),
    [
        ("Cancelled", "condition=Ready"),
        ("Cancelled", "phase=Settled"),
        ("Settled", "phase=Cancelled"),
        ("Closed", "phase=SoldOut"),
    ],
)
def test_goal_that_cannot_come_any_more_fails_at_once(body, phase, goal):
    ended = body(status_phase=phase, status_conditions=[], status_summary="It is over.")
    assert outcome(ended, goal) == waiting.Outcome(is_reached=False, sentence="It is over.")


def test_refused_sale_fails_at_once_with_the_reason(body):
    refused = {"type": "Accepted", "status": "False", "reason": "Overlap", "message": "Two sales."}
    found = outcome(body(status_conditions=[refused]), "condition=Ready")
    assert found == waiting.Outcome(is_reached=False, sentence="Overlap: Two sales.")


def answer(status, **fields):
    error = ApiException(status=status, reason="Bad")
    error.body = json.dumps(fields)
    return str(errors.of_answer(error))


def test_refusals_read_as_in_kubectl():
    assert (
        answer(404, message='x "y" not found') == 'Error from server (NotFound): x "y" not found'
    )
    assert answer(403, reason="Forbidden", message="no") == "Error from server (Forbidden): no"
    assert answer(500) == "Error from server: Bad"
    assert answer(401, message="who?") == "error: You must be logged in to the server (who?)"
    cause = {"field": "spec", "message": "Invalid value: no"}
    details = {"kind": "FlashSale", "name": "drop", "causes": [cause, cause]}
    said = answer(422, reason="Invalid", details=details)
    assert said == 'The FlashSale "drop" is invalid: spec: Invalid value: no'
    two = {**details, "causes": [cause, {"field": "a", "message": "b"}]}
    assert answer(422, reason="Invalid", details=two).splitlines()[1:] == [
        "* spec: Invalid value: no",
        "* a: b",
    ]


def test_answer_that_is_no_status_is_an_error_too():
    error = ApiException(status=502, reason="Bad Gateway")
    error.body = b"<html>"
    assert str(errors.of_answer(error)) == "Error from server: Bad Gateway"


def test_silent_server_is_named():
    slow = urllib3.exceptions.ReadTimeoutError(None, "/", "slow")
    said = str(errors.of_connection(slow, "https://10.0.0.1:6443"))
    assert said == "Unable to connect to the server: https://10.0.0.1:6443 did not answer in time"


def test_host_without_an_address_is_not_called_slow():
    unknown = urllib3.exceptions.NameResolutionError("nowhere.example", None, OSError("unknown"))
    assert "Failed to resolve" in str(errors.of_connection(unknown, "https://nowhere.example"))


@pytest.mark.parametrize("text", ["}{", "hello", "[]", "contexts: 3", ""])
def test_torn_kubeconfig_is_an_error_and_completes_nothing(text, tmp_path):
    path = tmp_path / "config"
    path.write_text(text)
    with (
        pytest.raises(errors.ClusterError, match=r"^error: the kubeconfig cannot be used"),
        cluster.connect(cluster.Access(kubeconfig=str(path))),
    ):
        pass
    assert cluster.contexts(str(path)) == []


def test_crowd_is_refused_where_the_sale_is_not_marked_as_a_test(body):
    options = argparse.Namespace(buyers=3, yes=False, url="http://127.0.0.1:9")
    with pytest.raises(errors.ClusterError, match=r"no label doorbuster\.dev/test=true"):
        simulate.simulate(model.sale(body()), options)


def test_crowd_needs_to_know_the_shop(body):
    marked = body()
    marked["metadata"]["labels"] = {"doorbuster.dev/test": "true"}
    options = argparse.Namespace(buyers=3, yes=False, url=None)
    with pytest.raises(errors.ClusterError, match="DOORBUSTER_PUBLIC_URL"):
        simulate.simulate(model.sale(marked), options)


def test_wheel_has_both_commands_of_kubectls_contract():
    project = tomllib.loads((pathlib.Path(__file__).parents[3] / "pyproject.toml").read_text())
    scripts = project["project"]["scripts"]
    for command in ("kubectl-flashsale", "kubectl_complete-flashsale"):
        module, _, function = scripts[command].partition(":")
        assert callable(getattr(importlib.import_module(module), function))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert "tools/kubectl_flashsale" in packages
