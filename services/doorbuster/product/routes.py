"""The product service over HTTP: what everybody sees, the merchant's desk, and other services' questions."""

import re
from dataclasses import dataclass
from typing import Annotated

from aiohttp import web as aiohttp_web
from msgspec import Meta, Struct

from doorbuster.contracts import api, catalogue, internal
from doorbuster.contracts.surface import PageQuery
from doorbuster.kit import ids, web

from .domain.pictures import UnknownImageError
from .domain.products import VersionChangedError, VersionRequiredError
from .usecases.illustrate import Illustrate
from .usecases.look import Look
from .usecases.manage import Manage
from .usecases.review import Reviewing

MOST_QUOTED = 200
MERCHANTS = web.Users(frozenset({"merchant", "admin"}))
_TAG = re.compile(r'"([1-9][0-9]{0,17})"')
# Prices and stock change from one second to the next; what is kept must be asked about again.
_LIVE = {"Cache-Control": "no-cache"}


class ListingQuery(Struct, frozen=True, kw_only=True):
    """``?after=&size=`` of the listing for search."""

    after: Annotated[str, Meta(max_length=80)] = ""
    size: Annotated[int, Meta(ge=1, le=1000)] = 500


@dataclass(frozen=True, kw_only=True)
class ProductRoutes:
    """Handlers over the use cases."""

    look: Look
    manage: Manage
    reviewing: Reviewing
    illustrate: Illustrate

    def table(self) -> list[web.Route]:
        """Return the routes with their callers."""
        product, admin = "/v1/products/{product_id}", "/v1/admin/products"
        rows: list[tuple[str, str, web.Handler, web.Access]] = [
            ("GET", product, self.show, web.Public()),
            ("GET", f"{product}/reviews", self.list_reviews, web.Public()),
            ("POST", f"{product}/reviews", self.write_review, web.Users()),
            ("PUT", f"{product}/reviews/mine", self.change_review, web.Users()),
            ("DELETE", f"{product}/reviews/mine", self.remove_review, web.Users()),
            ("POST", admin, self.add, MERCHANTS),
            ("PUT", f"{admin}/{{product_id}}", self.replace, MERCHANTS),
            ("DELETE", f"{admin}/{{product_id}}", self.remove, MERCHANTS),
            ("POST", f"{admin}/{{product_id}}/images", self.open_ticket, MERCHANTS),
            ("GET", f"{admin}/{{product_id}}/images/{{image_id}}", self.show_image, MERCHANTS),
            (
                "DELETE",
                f"{admin}/{{product_id}}/images/{{image_id}}",
                self.remove_image,
                MERCHANTS,
            ),
            (
                "POST",
                "/internal/v1/products:quote",
                self.quote,
                web.callers("cart", "checkout", "search", "notification"),
            ),
            ("GET", "/internal/v1/products", self.list_all, web.callers("search")),
            ("GET", "/internal/v1/products:find", self.find, web.callers("search")),
        ]
        return [
            web.Route(method=method, path=path, handler=handler, access=access)
            for method, path, handler, access in rows
        ]

    async def show(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``GET /v1/products/{productId}``; the ETag names the merchant's words, which alone he may replace."""
        details, version = await self.look.details(_product_id(request))
        return web.json_response(details, headers={**_LIVE, "ETag": f'"{version}"'})

    async def list_reviews(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``GET /v1/products/{productId}/reviews``: newest first."""
        query = web.read_query(request, PageQuery)
        found, rating = await self.reviewing.page(
            _product_id(request), offset=(query.page - 1) * query.size, limit=query.size
        )
        answer = catalogue.ReviewList(
            reviews=found,
            rating=rating,
            pagination=api.Pagination(
                page=query.page,
                size=query.size,
                total_pages=-(-rating.count // query.size),
                total_items=rating.count,
            ),
        )
        return web.json_response(answer)

    async def write_review(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``POST /v1/products/{productId}/reviews``."""
        draft = await web.read_json(request, catalogue.ReviewDraft)
        review = await self.reviewing.write(_product_id(request), request[web.USER].user_id, draft)
        return web.json_response(review, status=201)

    async def change_review(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``PUT /v1/products/{productId}/reviews/mine``."""
        draft = await web.read_json(request, catalogue.ReviewDraft)
        return web.json_response(
            await self.reviewing.change(_product_id(request), request[web.USER].user_id, draft)
        )

    async def remove_review(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``DELETE /v1/products/{productId}/reviews/mine``."""
        await self.reviewing.remove(_product_id(request), request[web.USER].user_id)
        return aiohttp_web.Response(status=204)

    async def add(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``POST /v1/admin/products``."""
        product = await self.manage.add(await web.read_json(request, catalogue.NewProduct))
        headers = {
            "ETag": f'"{product.content_version}"',
            "Location": f"/v1/products/{product.product_id}",
        }
        return web.json_response(await self.look.show(product), status=201, headers=headers)

    async def replace(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``PUT /v1/admin/products/{productId}`` with If-Match."""
        product_id = _product_id(request)
        draft = await web.read_json(request, catalogue.ProductDraft)
        expected = _expected_version(request)
        product = await self.manage.replace(product_id, draft, expected=expected)
        headers = {"ETag": f'"{product.content_version}"'}
        return web.json_response(await self.look.show(product), headers=headers)

    async def remove(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``DELETE /v1/admin/products/{productId}`` with If-Match."""
        await self.manage.remove(_product_id(request), expected=_expected_version(request))
        return aiohttp_web.Response(status=204)

    async def open_ticket(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``POST /v1/admin/products/{productId}/images``."""
        upload = await web.read_json(request, catalogue.ImageUpload)
        ticket = await self.illustrate.open_ticket(_product_id(request), upload)
        return web.json_response(ticket, status=201)

    async def show_image(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``GET /v1/admin/products/{productId}/images/{imageId}``."""
        status = await self.illustrate.status(_product_id(request), _image_id(request))
        return web.json_response(status, headers=_LIVE)

    async def remove_image(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``DELETE /v1/admin/products/{productId}/images/{imageId}``."""
        await self.illustrate.remove(_product_id(request), _image_id(request))
        return aiohttp_web.Response(status=204)

    async def quote(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``POST /internal/v1/products:quote``: at most 200 ids."""
        question = await web.read_json(request, internal.ProductIds)
        if len(question.ids) > MOST_QUOTED:
            raise web.InvalidError(f"ask about at most {MOST_QUOTED} products at once")
        return web.json_response(await self.look.quote(question.ids))

    async def list_all(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``GET /internal/v1/products``: a page by product id."""
        query = web.read_query(request, ListingQuery)
        return web.json_response(await self.look.list_all(after=query.after, limit=query.size))

    async def find(self, request: aiohttp_web.Request) -> aiohttp_web.Response:
        """``GET /internal/v1/products:find``: whole words only."""
        return web.json_response(
            await self.look.search(web.read_query(request, catalogue.SearchQuery))
        )


def _product_id(request: aiohttp_web.Request) -> str:
    return web.path_id(request, "product_id", "prod")


def _image_id(request: aiohttp_web.Request) -> str:
    image_id = request.match_info["image_id"]
    if not ids.is_id(image_id, "img"):
        raise UnknownImageError("the product has no such picture")
    return image_id


def _expected_version(request: aiohttp_web.Request) -> int:
    tag = request.headers.get("If-Match")
    if tag is None:
        raise VersionRequiredError("send the ETag of what you have read as If-Match")
    found = _TAG.fullmatch(tag.strip())
    if found is None:
        raise VersionChangedError("no version of the product has this ETag")
    return int(found[1])
