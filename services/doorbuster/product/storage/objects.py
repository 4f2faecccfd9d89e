"""Pictures in S3: originals under a private prefix, what is shown under a public one with names that never change."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError

from doorbuster.product.domain.pictures import (
    CACHE_CONTROL,
    PRIVATE,
    SHOWN_TYPE,
    TICKET_LIFE,
    Ticket,
    Upload,
)

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

CONNECT_SECONDS = 1.0
READ_SECONDS = 5.0
WHOLE_SECONDS = 20.0
# Some servers count the whole form against the limit of its file; the file itself is measured when it is there.
FORM_BYTES = 16 * 1024
_MISSING = frozenset({"404", "NoSuchKey", "NotFound"})


class ObjectsAwayError(ConnectionError):
    """S3 does not answer, or refuses what it should not."""


class S3ObjectStore:
    """The objects of one bucket."""

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    async def sign_upload(self, ticket: Ticket) -> tuple[str, dict[str, str]]:
        """Return where to post a form and its fields, while S3 answers; raises ConnectionError."""
        await self.ping()
        conditions: list[Any] = [
            {"Content-Type": ticket.content_type},
            ["content-length-range", 1, ticket.size + FORM_BYTES],
        ]
        post = await self._client.generate_presigned_post(
            self._bucket,
            ticket.original,
            Fields={"Content-Type": ticket.content_type},
            Conditions=conditions,
            ExpiresIn=int(TICKET_LIFE.total_seconds()),
        )
        return post["url"], post["fields"]

    async def size(self, name: str) -> int | None:
        """Return the bytes of an object, None when there is none."""
        with _translated():
            try:
                head = await self._client.head_object(Bucket=self._bucket, Key=name)
            except ClientError as error:
                if error.response["Error"]["Code"] in _MISSING:
                    return None
                raise
        return head["ContentLength"]

    async def read(self, name: str) -> bytes:
        """Return an object, whose size the caller knows."""
        with _translated():
            async with asyncio.timeout(WHOLE_SECONDS):
                answer = await self._client.get_object(Bucket=self._bucket, Key=name)
                async with answer["Body"] as body:
                    data: bytes = await body.read()
        return data

    async def publish(self, name: str, data: bytes) -> None:
        """Store a picture for the public, to be cached for ever."""
        with _translated():
            await self._client.put_object(
                Bucket=self._bucket,
                Key=name,
                Body=data,
                ContentType=SHOWN_TYPE,
                CacheControl=CACHE_CONTROL,
            )

    async def delete(self, name: str) -> None:
        """Delete an object; one that is not there is deleted."""
        with _translated():
            try:
                await self._client.delete_object(Bucket=self._bucket, Key=name)
            except ClientError as error:
                if error.response["Error"]["Code"] not in _MISSING:
                    raise

    async def uploads(self, *, after: str, limit: int) -> list[Upload]:
        """Return a page of what was uploaded and not deleted yet, by name from after ``after``."""
        with _translated():
            page = await self._client.list_objects_v2(
                Bucket=self._bucket, Prefix=f"{PRIVATE}/", StartAfter=after, MaxKeys=limit
            )
        return [
            Upload(name=found["Key"], stored_at=found["LastModified"])
            for found in page.get("Contents", [])
        ]

    async def ping(self) -> None:
        """Raise ConnectionError unless the bucket answers."""
        with _translated():
            await self._client.head_bucket(Bucket=self._bucket)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ClientError, TimeoutError) as error:
        raise ObjectsAwayError(type(error).__name__) from error


@asynccontextmanager
async def open_objects(
    *, url: str, bucket: str, access_key: str, secret_key: str, region: str
) -> AsyncIterator[S3ObjectStore]:
    """Open a client of one bucket; it connects when first used."""
    limits = AioConfig(
        signature_version="s3v4",
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"total_max_attempts": 1},
        s3={"addressing_style": "path"},
    )
    async with get_session().create_client(
        "s3",
        region_name=region,
        endpoint_url=url,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=limits,
    ) as client:
        yield S3ObjectStore(client, bucket)
