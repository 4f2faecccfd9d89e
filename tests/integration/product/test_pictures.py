"""Pictures from a merchant's upload to the public's cache, on a real S3 server behind a real CDN."""

import asyncio
import io
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import aiohttp
from PIL import Image

from devstack.stack import Stack
from doorbuster.kit import clock, ids
from doorbuster.product.storage import open_objects
from doorbuster.product.usecases.sweep_uploads import UploadSweep
from doorbuster.testing.catalogue import Shelves
from doorbuster.testing.pictures import FakeTicketStore

Eventually = Callable[..., Awaitable[Any]]
LAMP = ids.product_id("lamp-1")
IMAGES = f"/v1/admin/products/{LAMP}/images"
NEW = {
    "sku": "lamp-1",
    "title": "Desk lamp",
    "category": "lamps",
    "price": 19.90,
    "currency": "EUR",
}


def drawing(width: int = 1800, height: int = 180, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(out, kind)
    return out.getvalue()


async def upload(
    world: Any, service: Any, data: bytes, *, said: int | None = None, kind: str = "image/png"
) -> tuple[str, int]:
    """Do as a merchant's page does; returns the image id and what S3 said."""
    wish = {"contentType": kind, "size": said or len(data), "alt": "A lamp"}
    status, ticket, _ = await world.call(service, "POST", IMAGES, wish, as_="merchant")
    assert status == 201, ticket
    form = aiohttp.FormData()
    for name, value in ticket["fields"].items():
        form.add_field(name, value)
    form.add_field("file", data, filename="lamp.png", content_type=kind)
    async with world.session.post(ticket["url"], data=form) as answer:
        return ticket["imageId"], answer.status


async def test_a_picture_goes_from_the_merchant_to_the_public_and_away_again(
    world: Any, eventually: Eventually
) -> None:
    async with world.service() as service:
        await world.call(service, "POST", "/v1/admin/products", NEW, as_="merchant")

        async def state(image_id: str) -> Any:
            _, body, _ = await world.call(service, "GET", f"{IMAGES}/{image_id}", as_="merchant")
            return body if body.get("state") != "waiting" else None

        image_id, said = await upload(world, service, drawing())
        assert said in (200, 204)
        ready = await eventually(lambda: state(image_id), what="the picture")
        assert (ready["state"], ready["image"]["width"], ready["image"]["height"]) == (
            *("ready", 1600),
            160,
        )
        _, seen, _ = await world.call(service, "GET", f"/v1/products/{LAMP}")
        assert seen["images"] == [ready["image"]]
        hits = []
        for _ in range(2):
            async with world.session.get(ready["image"]["thumbnailUrl"]) as answer:
                body = await answer.read()
                assert (answer.status, answer.content_type) == (200, "image/webp")
                assert "immutable" in answer.headers["Cache-Control"]
                hits.append(answer.headers["X-Cache-Status"])
        assert hits == ["MISS", "HIT"]
        assert Image.open(io.BytesIO(body)).size == (320, 32)

        bucket = f"{world.env['DOORBUSTER_S3_URL']}/{world.env['DOORBUSTER_S3_BUCKET']}"
        async with world.session.get(f"{bucket}/uploads/{image_id}") as answer:
            assert answer.status in (403, 404)

        trick, said = await upload(world, service, b"<script>" * 400)
        assert said in (200, 204)
        refused = await eventually(lambda: state(trick), what="a refusal")
        assert (refused["state"], refused["reason"]) == ("refused", "the file is no PNG picture")
        liar, said = await upload(world, service, drawing(400, 400), said=60)
        if said in (200, 204):
            assert (await eventually(lambda: state(liar), what="a refusal"))["state"] == "refused"
        _, said = await upload(world, service, b"x" * 60_000, said=60)
        assert said == 403 or said == 400  # the policy's limit
        big = {"contentType": "image/png", "size": 11 * 1024 * 1024}
        assert (await world.call(service, "POST", IMAGES, big, as_="merchant"))[0] == 422

        large = f"{bucket}/images/{ready['image']['url'].rpartition('/images/')[2]}"
        async with world.session.get(large) as answer:
            assert answer.status == 200
        gone = await world.call(service, "DELETE", f"{IMAGES}/{image_id}", as_="merchant")
        assert gone[0] == 204
        gone = await world.call(service, "DELETE", f"{IMAGES}/{image_id}", as_="merchant")
        assert (gone[0], gone[1]["code"]) == (404, "UNKNOWN_IMAGE")

        async def swept() -> bool:
            async with world.session.get(large) as answer:
                return answer.status in (403, 404)

        await eventually(swept, what="its objects deleted")


async def test_uploads_that_nobody_waits_for_are_swept_from_the_bucket(world: Any) -> None:
    env = world.env
    async with open_objects(
        url=env["DOORBUSTER_S3_URL"],
        bucket=env["DOORBUSTER_S3_BUCKET"],
        access_key=env["DOORBUSTER_S3_ACCESS_KEY"],
        secret_key=env["DOORBUSTER_S3_SECRET_KEY"],
        region=env["DOORBUSTER_S3_REGION"],
    ) as objects:
        names = [f"uploads/img_late-{number}" for number in range(3)]
        for name in (*names, "images/img_late/shown.webp"):
            await objects.publish(name, b"x")
        first = await objects.uploads(after="uploads/img_late", limit=2)
        assert [upload.name for upload in first] == names[:2]
        rest = await objects.uploads(after=names[1], limit=200)
        assert names[2] in [upload.name for upload in rest]
        an_hour = timedelta(hours=1, minutes=1)
        sweep = UploadSweep(
            tickets=FakeTicketStore(Shelves()),
            objects=objects,
            now=lambda: clock.utc_now() + an_hour,
        )
        assert not await sweep.step()
        assert await objects.uploads(after="", limit=200) == []
        assert await objects.size("images/img_late/shown.webp") == 1
        await objects.delete("images/img_late/shown.webp")


async def test_two_copies_make_every_picture_once_though_one_dies_at_it(
    world: Any, eventually: Eventually
) -> None:
    dying = {"DOORBUSTER_FAILPOINTS": "product.picture.published"}
    async with world.process(**dying) as doomed:
        await world.call(doomed, "POST", "/v1/admin/products", NEW, as_="merchant")
        await upload(world, doomed, drawing(300, 200))
        assert await asyncio.wait_for(doomed.process.wait(), 60) == 86
    async with world.service() as service, world.process():
        uploaded = [await upload(world, service, drawing(301 + n, 200)) for n in range(7)]
        assert {said for _, said in uploaded} <= {200, 204}

        async def shown() -> list[dict[str, Any]]:
            _, seen, _ = await world.call(service, "GET", f"/v1/products/{LAMP}")
            images: list[dict[str, Any]] = seen["images"]
            return images

        async def all_but_the_dead_ones() -> bool:
            return len(await shown()) >= 7

        await eventually(all_but_the_dead_ones, what="the pictures of the copies that live")
        images = await shown()
        assert len({image["imageId"] for image in images}) == len(images)


async def test_without_s3_only_uploads_are_refused(
    world: Any, stack: Stack, eventually: Eventually
) -> None:
    async with world.service() as service:
        await world.call(service, "POST", "/v1/admin/products", NEW, as_="merchant")
        await asyncio.to_thread(stack.kill, "s3")
        try:
            wish = {"contentType": "image/png", "size": 100}
            status, body, _ = await world.call(service, "POST", IMAGES, wish, as_="merchant")
            assert (status, body["code"]) == (503, "UNAVAILABLE")
            assert (await world.call(service, "GET", f"/v1/products/{LAMP}"))[0] == 200
            assert await service.is_ready()
        finally:
            await asyncio.to_thread(stack.restart, "s3")
        image_id, _ = await upload(world, service, drawing(100, 100))

        async def ready() -> bool:
            _, body, _ = await world.call(service, "GET", f"{IMAGES}/{image_id}", as_="merchant")
            return bool(body["state"] == "ready")

        await eventually(ready, what="a picture after S3 came back")
