"""``doorbuster search reindex``: builds the index anew while the old one serves, and shows how far it is."""

import argparse
import asyncio
import sys

from doorbuster.kit import auth, client, config, failpoints

from .app import NAME
from .clients import ProductClient
from .config import ReindexConfig
from .ports import QueryRefusedError
from .storage import open_index
from .usecases.fill import Filler

BAR_WIDTH = 30


def run(_arguments: argparse.Namespace) -> None:
    """Build and swap; exits 1 with one line on failure, with the old index still serving."""
    try:
        failpoints.arm(config.load(config.ProcessConfig).failpoints)
        name = asyncio.run(_rebuild(config.load(ReindexConfig)))
    except (
        config.ConfigError,
        client.RefusedError,
        QueryRefusedError,
        OSError,
    ) as error:
        sys.stderr.write(f"\ndoorbuster search reindex: {error}\n")
        raise SystemExit(1) from None
    sys.stdout.write(f"{name} serves\n")


async def _rebuild(settings: ReindexConfig) -> str:
    async with (
        client.open_session(connections=4) as session,
        open_index(settings.elasticsearch_url, replicas=settings.replicas) as index,
    ):
        products = client.ServiceClient(
            callee="product",
            urls=settings.product_urls,
            session=session,
            signer=auth.ServiceSigner(NAME, settings.key_file),
        )
        name = await Filler(index, ProductClient(products)).rebuild(_show)
    sys.stderr.write("\n")
    return name


def _show(done: int, total: int) -> None:
    """Draw the bar; the catalogue may grow while it is read."""
    share = min(1.0, done / total) if total else 1.0
    bar = "#" * round(share * BAR_WIDTH)
    sys.stderr.write(f"\r[{bar:<{BAR_WIDTH}}] {done:,} of {max(done, total):,} products")
    sys.stderr.flush()
