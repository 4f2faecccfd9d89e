"""A merchant at the shop's public API: enters products and uploads their pictures as a person would."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from doorbuster.contracts.catalogue import NewProduct
from doorbuster.kit import ids

from . import pictures
from .generator import seeds

CALL_SECONDS = 30.0
PICTURE_SECONDS = 60.0
POLL_SECONDS = 0.5
MOST_TRIES = 10
AGAIN = frozenset({429, 503})


class RefusedError(ConnectionError):
    """The shop did not take what the merchant brought."""


class Merchant:
    """Everything may be repeated: what is there already is left alone."""

    def __init__(self, client: aiohttp.ClientSession, url: str, token: str) -> None:
        self._client = client
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}

    async def enter(self, draft: NewProduct) -> str:
        """Make a product unless its sku is taken; returns its id."""
        status, answer = await self._ask("POST", "/v1/admin/products", _json(draft))
        if status not in {201, 409}:
            raise RefusedError(f"{draft.sku}: {status} {answer.get('code', '')}")
        return ids.product_id(draft.sku)

    async def illustrate(self, product_id: str) -> str:
        """Give a product a picture unless it has one; returns the picture's public address."""
        status, product = await self._ask("GET", f"/v1/products/{product_id}")
        if status != 200:
            raise RefusedError(f"{product_id}: {status} {product.get('code', '')}")
        if product["images"]:
            return str(product["images"][0]["url"])
        title = product["title"]
        data = pictures.draw(title, str(product["specifications"].get("colour", "")))
        path = f"/v1/admin/products/{product_id}/images"
        wanted = {"contentType": "image/png", "size": len(data), "alt": title}
        status, ticket = await self._ask("POST", path, wanted)
        if status != 201:
            raise RefusedError(f"{title}: {status} {ticket.get('code', '')}")
        await self._upload(ticket, data)
        return await self._shown(f"{path}/{ticket['imageId']}")

    async def _upload(self, ticket: Mapping[str, Any], data: bytes) -> None:
        form = aiohttp.FormData(ticket["fields"])
        form.add_field("file", data, filename="picture.png", content_type="image/png")
        async with self._client.post(ticket["url"], data=form) as answer:
            if answer.status >= 300:
                raise RefusedError(f"S3 answers {answer.status}")

    async def _shown(self, path: str) -> str:
        deadline = time.monotonic() + PICTURE_SECONDS
        while time.monotonic() < deadline:
            status, picture = await self._ask("GET", path)
            if status == 200 and picture["state"] == "ready":
                return str(picture["image"]["url"])
            if status != 200 or picture["state"] == "refused":
                raise RefusedError(f"the picture was refused: {picture}")
            await asyncio.sleep(POLL_SECONDS)
        raise RefusedError(f"the picture was not looked at within {PICTURE_SECONDS:.0f} s")

    async def _ask(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        for _ in range(MOST_TRIES):
            async with self._client.request(
                method, f"{self._url}{path}", json=body, headers=self._headers
            ) as answer:
                if answer.status not in AGAIN:
                    return answer.status, await answer.json(content_type=None)
                pause = float(answer.headers.get("Retry-After", "1"))
            await asyncio.sleep(pause)
        raise RefusedError(f"{method} {path}: still {answer.status} after {MOST_TRIES} tries")


def _json(draft: NewProduct) -> Any:
    """A draft with its price as a number, as the API takes it."""
    return {**msgspec.to_builtins(draft), "price": float(draft.price)}


@asynccontextmanager
async def open_merchant(environment: Mapping[str, str]) -> AsyncIterator[Merchant]:
    """Log the stack's first admin in, who may do what merchants may; raises ConnectionError."""
    url = environment["DOORBUSTER_PUBLIC_URL"]
    limit = aiohttp.ClientTimeout(total=CALL_SECONDS)
    credentials = {
        "email": environment["DOORBUSTER_ADMIN_EMAIL"],
        "password": environment["DOORBUSTER_ADMIN_PASSWORD"],
    }
    try:
        async with aiohttp.ClientSession(timeout=limit) as client:
            async with client.post(f"{url}/v1/sessions", json=credentials) as answer:
                if answer.status >= 300:
                    raise RefusedError(f"the log-in was answered with {answer.status}")
                token = (await answer.json())["accessToken"]
            yield Merchant(client, url, token)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise RefusedError(f"the shop does not answer: {error}") from error


async def illustrate(environment: Mapping[str, str], count: int, seed: int) -> list[str]:
    """Give the first ``count`` products of a seed a picture each, one after the other; returns their addresses.

    Raises:
        ConnectionError: the shop is away or refused something.
    """
    async with open_merchant(environment) as merchant:
        return [
            await merchant.illustrate(ids.product_id(each.draft.sku))
            for each in seeds(count, seed=seed)
        ]
