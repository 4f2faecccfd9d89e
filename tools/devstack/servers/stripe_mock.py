"""stripe-mock: Stripe's own check of requests against its OpenAPI; tests of the payment provider ask for it."""

from pathlib import Path

from typing_extensions import override

from devstack import go_toolchain, probe
from devstack.layout import cache_root
from devstack.part import Part, Say, Site
from devstack.process import Launch

VERSION = "v0.203.0"
MODULE = f"github.com/stripe/stripe-mock@{VERSION}"
BUILD_SECONDS = 900.0


class StripeMockServer(Part):
    """It knows nothing and keeps nothing: it says whether a request is one that Stripe would take."""

    name = "stripe-mock"
    only_when_named = True
    port_keys = ("stripe-mock", "stripe-mock.https")
    ready_within_seconds = 60.0
    stop_within_seconds = 5.0

    @override
    def missing(self) -> str:
        return "" if _binary().exists() else f"stripe-mock {VERSION}"

    @override
    def obtain(self, say: Say) -> None:
        go_toolchain.install(MODULE, _binary(), say, within_seconds=BUILD_SECONDS)

    @override
    def launch(self, site: Site) -> Launch:
        argv = (
            *(str(_binary()), "-http-addr", f"127.0.0.1:{site.port('stripe-mock')}"),
            *("-https-addr", f"127.0.0.1:{site.port('stripe-mock.https')}"),
        )
        return Launch(argv, site.environment)

    @override
    def ready(self, site: Site) -> str | None:
        # Without a key it refuses everything: that is an answer.
        status, body = probe.http_status(_url(site))
        return None if status == 401 else f"{status or ''} {body[:120]}".strip()

    @override
    def exports(self, site: Site) -> dict[str, str]:
        return {"DOORBUSTER_STRIPE_MOCK_URL": _url(site)}


def _binary() -> Path:
    return cache_root() / f"stripe-mock-{VERSION}" / "stripe-mock"


def _url(site: Site) -> str:
    return f"http://127.0.0.1:{site.port('stripe-mock')}"
