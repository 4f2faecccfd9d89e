"""The servers do what the platform counts on: the ingress, the mail sink, the API server."""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path

import aiohttp
import aiosmtplib
import pytest
from aiohttp import web

from devstack.stack import Stack


@contextlib.asynccontextmanager
async def gateway(stack: Stack, name: str, handler) -> AsyncIterator[None]:
    """A server in a gateway's place, behind nginx."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", stack.site.port(name)).start()
        yield
    finally:
        await runner.cleanup()


@pytest.fixture
def public_url(servers) -> str:
    return servers("nginx")["DOORBUSTER_PUBLIC_URL"]


async def test_the_ingress_passes_on_the_named_client_and_the_peer(stack, public_url):
    async def handler(request: web.Request) -> web.Response:
        return web.json_response(dict(request.headers))

    async with gateway(stack, "gateway-0", handler), aiohttp.ClientSession() as client:
        headers = {"X-Forwarded-For": "198.18.7.9"}
        async with client.get(f"{public_url}/v1/sales", headers=headers) as answer:
            seen = await answer.json()
    assert seen["X-Forwarded-For"] == "198.18.7.9, 127.0.0.1"


async def test_a_dead_gateway_is_passed_over_without_an_error(stack, public_url):
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text="here")

    async with gateway(stack, "gateway-1", handler), aiohttp.ClientSession() as client:
        for _ in range(20):
            async with client.post(f"{public_url}/v1/checkout", data=b"x") as answer:
                assert (answer.status, await answer.text()) == (200, "here")


async def test_a_post_that_reached_a_gateway_is_never_sent_twice(stack, public_url):
    reached = 0

    async def dies(request: web.Request) -> web.Response:
        nonlocal reached
        await request.read()
        reached += 1
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    both = (gateway(stack, "gateway-0", dies), gateway(stack, "gateway-1", dies))
    async with both[0], both[1], aiohttp.ClientSession() as client:
        async with client.post(f"{public_url}/v1/payment", data=b"x") as answer:
            status, problem = answer.status, await answer.json(content_type=None)
    assert reached == 1
    assert (status, problem["code"]) == (503, "UNAVAILABLE")


@pytest.mark.parametrize("path", ["/internal/v1/sales", "/control/v1/pools", "/internal"])
async def test_internal_routes_end_at_the_ingress(stack, public_url, path):
    async def handler(request: web.Request) -> web.Response:
        return web.Response(text="leaked")

    async with gateway(stack, "gateway-0", handler), gateway(stack, "gateway-1", handler):
        async with aiohttp.ClientSession() as client, client.get(public_url + path) as answer:
            assert answer.status == 404
            assert answer.content_type == "application/problem+json"


async def test_without_gateways_the_answer_is_a_problem_that_may_be_retried(public_url):
    async with aiohttp.ClientSession() as client, client.get(f"{public_url}/v1/sales") as answer:
        assert answer.status == 503
        assert answer.content_type == "application/problem+json"
        assert answer.headers["Retry-After"] == "1"


async def test_the_mail_sink_keeps_recipient_subject_and_body(servers):
    env = servers("smtp")
    host, _, port = env["DOORBUSTER_SMTP_URL"].removeprefix("smtp://").partition(":")
    message = EmailMessage()
    message["From"], message["To"] = "shop@doorbuster.example", "buyer@doorbuster.example"
    message["Subject"] = "Your order: bestätigt"
    message.set_content("Sold. Grüße")
    await aiosmtplib.send(message, hostname=host, port=int(port))
    lines = await asyncio.to_thread(
        lambda: (Path(env["DOORBUSTER_SMTP_SINK_DIR"]) / "mails.jsonl").read_text().splitlines()
    )
    mail = json.loads(lines[-1])
    assert mail["to"] == ["buyer@doorbuster.example"]
    assert mail["subject"] == "Your order: bestätigt"
    assert mail["body"] == "Sold. Grüße\n"


def test_kubectl_applies_the_sample_and_the_operator_may_see_only_its_own(servers, stack):
    servers("apiserver")
    kubectl = stack.layout.bin / "kubectl"

    def run(config: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(kubectl), *words],
            input=stdin,
            env={"KUBECONFIG": str(config), "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    admin, operator = stack.layout.kubeconfig, stack.layout.root / "kubeconfig.operator"
    rendered = subprocess.run(
        [
            sys.executable,
            "-m",
            "devstack",
            "sample",
            "iphone-drop",
            "--opens-in",
            "1h",
            "--suffix=-devstack",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    try:
        applied = run(admin, "apply", "-f", "-", stdin=rendered.stdout)
        assert applied.returncode == 0, applied.stderr
        listed = run(operator, "get", "flashsales", "-o", "name")
        assert "flashsale.doorbuster.dev/iphone-drop-devstack" in listed.stdout
        refused = run(operator, "get", "secrets")
        assert "forbidden" in refused.stderr
    finally:
        run(admin, "delete", "--wait=false", "-f", "-", stdin=rendered.stdout)
