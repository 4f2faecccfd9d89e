"""The S3 server and the CDN before it: what is public, what stays private, what outlives a dead bucket."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiobotocore.session import get_session
from botocore.config import Config
from botocore.exceptions import ClientError

from devstack.stack import Stack

PICTURE = b"a picture" * 100
FOR_EVER = "public, max-age=31536000, immutable"


@pytest.fixture(scope="module")
def env(servers) -> dict[str, str]:
    return servers("cdn")


@pytest.fixture
async def bucket(env) -> AsyncIterator[Any]:
    async with get_session().create_client(
        "s3",
        endpoint_url=env["DOORBUSTER_S3_URL"],
        region_name=env["DOORBUSTER_S3_REGION"],
        aws_access_key_id=env["DOORBUSTER_S3_ACCESS_KEY"],
        aws_secret_access_key=env["DOORBUSTER_S3_SECRET_KEY"],
        config=Config(s3={"addressing_style": "path"}, signature_version="s3v4"),
    ) as client:
        yield client


@pytest.fixture
async def browser() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as client:
        yield client


async def put(bucket: Any, env: dict[str, str], key: str) -> None:
    await bucket.put_object(
        Bucket=env["DOORBUSTER_S3_BUCKET"],
        Key=key,
        Body=PICTURE,
        ContentType="image/webp",
        CacheControl=FOR_EVER,
    )


async def seen(
    browser: aiohttp.ClientSession, url: str, method: str = "GET"
) -> tuple[int, str | None, bytes]:
    """(status, what the cache says of it, body)."""
    async with browser.request(method, url) as answer:
        return answer.status, answer.headers.get("X-Cache-Status"), await answer.read()


async def test_the_second_read_of_a_picture_is_a_hit_and_may_be_kept_for_ever(
    env, bucket, browser
):
    await put(bucket, env, "images/hit.webp")
    url = f"{env['DOORBUSTER_CDN_URL']}/images/hit.webp"
    assert await seen(browser, url) == (200, "MISS", PICTURE)
    async with browser.get(url) as answer:
        assert answer.headers["X-Cache-Status"] == "HIT"
        assert answer.headers["Cache-Control"] == FOR_EVER
        assert answer.headers["Content-Type"] == "image/webp"
        assert not [name for name in answer.headers if name.lower().startswith("x-amz-request")]


async def test_a_query_makes_no_second_copy_of_a_picture(env, bucket, browser):
    await put(bucket, env, "images/query.webp")
    url = f"{env['DOORBUSTER_CDN_URL']}/images/query.webp"
    await seen(browser, url)
    assert (await seen(browser, f"{url}?response-content-type=text/html"))[:2] == (200, "HIT")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_the_cdn_only_reads(env, browser, method):
    url = f"{env['DOORBUSTER_CDN_URL']}/images/hit.webp"
    assert (await seen(browser, url, method))[0] == 405


async def test_what_is_not_a_public_picture_is_seen_by_nobody(env, bucket, browser):
    await put(bucket, env, "originals/secret.jpg")
    own = f"{env['DOORBUSTER_S3_URL']}/{env['DOORBUSTER_S3_BUCKET']}"
    assert (await seen(browser, f"{own}/originals/secret.jpg"))[0] == 403
    assert (await seen(browser, f"{own}?list-type=2"))[0] == 403
    for path in (
        "originals/secret.jpg",
        "images/../originals/secret.jpg",
        "images%2f..%2foriginals",
    ):
        assert (await seen(browser, f"{env['DOORBUSTER_CDN_URL']}/{path}"))[0] in {400, 403, 404}


async def test_a_signed_form_uploads_what_it_allows_and_nothing_larger(env, bucket, browser):
    signed = await bucket.generate_presigned_post(
        env["DOORBUSTER_S3_BUCKET"],
        "originals/upload.png",
        Fields={"Content-Type": "image/png"},
        Conditions=[{"Content-Type": "image/png"}, ["content-length-range", 1, 4_000]],
        ExpiresIn=60,
    )

    async def upload(body: bytes) -> int:
        form = aiohttp.FormData(signed["fields"])
        form.add_field("file", body, filename="picture.png")
        async with browser.post(signed["url"], data=form) as answer:
            return answer.status

    assert await upload(b"x" * 5_000) in {400, 403, 413}
    with pytest.raises(ClientError):
        await bucket.head_object(Bucket=env["DOORBUSTER_S3_BUCKET"], Key="originals/upload.png")
    assert await upload(b"x" * 200) == 204
    found = await bucket.head_object(
        Bucket=env["DOORBUSTER_S3_BUCKET"], Key="originals/upload.png"
    )
    assert (found["ContentLength"], found["ContentType"]) == (200, "image/png")


async def test_a_kept_picture_is_shown_while_s3_is_dead_and_others_come_back_with_it(
    stack: Stack, env, bucket, browser
):
    await put(bucket, env, "images/kept.webp")
    await put(bucket, env, "images/cold.webp")
    base = f"{env['DOORBUSTER_CDN_URL']}/images"
    await seen(browser, f"{base}/kept.webp")
    stack.kill("s3")
    try:
        assert await seen(browser, f"{base}/kept.webp") == (200, "HIT", PICTURE)
        assert (await seen(browser, f"{base}/cold.webp"))[0] == 503
    finally:
        stack.restart("s3")
    assert (await seen(browser, f"{base}/cold.webp"))[0] == 200
