"""``kubectl flashsale simulate``: a crowd in a sale that is marked as a test, judged; then the sale's final report."""

import asyncio
import json
import os
import secrets
import subprocess
import sys

import pytest
import yaml

from buyers import kubectl, manifest
from devstack.catalogue import SALE_PARTS
from devstack.errors import StackError
from devstack.stack import Stack
from kubectl_flashsale import __main__ as plugin

BUYERS = 6
UNITS = 2
OPENS_IN_SECONDS = 5.0
COMMAND_SECONDS = 240.0


@pytest.fixture
def sale(stack: Stack) -> manifest.Sale:
    """A sale that the operator opens; its label says that nobody real wants its units."""
    try:
        stack.up(only=SALE_PARTS)
    except StackError as error:
        pytest.fail(str(error), pytrace=False)
    rendered = manifest.render(
        opens_in=OPENS_IN_SECONDS, units=UNITS, suffix=f"-{secrets.token_hex(4)}", hold_seconds=10
    )
    documents = list(yaml.safe_load_all(rendered.text))
    for document in documents:
        document["metadata"]["labels"] = {"doorbuster.dev/test": "true"}
        if document["kind"] == "FlashSale":
            document["spec"]["settlement"] = {"graceSeconds": 0}
    kubectl.Kubectl(environment=stack.env()).apply(yaml.safe_dump_all(documents))
    return rendered


def simulate(stack: Stack, name: str) -> subprocess.CompletedProcess[str]:
    options = ("--buyers", str(BUYERS), "--units", str(UNITS), "--seed", "7", "-o", "json")
    return subprocess.run(
        (sys.executable, "-P", "-m", "kubectl_flashsale", "simulate", name, *options),
        env={**os.environ, **stack.env()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )


async def test_simulated_sale_is_judged_and_its_report_says_what_the_judge_saw(
    stack: Stack, sale: manifest.Sale, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*words: str) -> str:
        with pytest.raises(SystemExit) as ended:
            plugin.main([*words, "--kubeconfig", stack.env()["KUBECONFIG"]])
        said = capsys.readouterr()
        assert ended.value.code == 0, said.err
        return said.out

    played = await asyncio.to_thread(simulate, stack, sale.name)
    assert played.returncode == 0, played.stderr
    verdict = json.loads(played.stdout)
    assert (verdict["violations"], verdict["sold"]) == ([], UNITS)
    run("status", sale.name, "--for", "phase=SoldOut")
    assert "the last unit was sold" in run("get", sale.name)
    assert json.loads(run("report", sale.name, "-o", "json"))["isFinal"] is False
    run("cancel", sale.name, "--yes")
    run("status", sale.name, "--for", "phase=Settled")
    told = json.loads(run("report", sale.name, "-o", "json"))
    assert (told["totals"]["sold"], "isFinal" in told) == (UNITS, False)
