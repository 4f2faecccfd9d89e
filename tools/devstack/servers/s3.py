"""The S3 server: one bucket for pictures; what lies under ``images/`` may be read by everybody, nothing else."""

import json
from pathlib import Path
from typing import Any

from typing_extensions import override

from devstack import go_toolchain, probe
from devstack.errors import StackError
from devstack.layout import cache_root
from devstack.part import LOOPBACK, Part, Say, Site
from devstack.process import Launch

VERSION = "v1.8.0"
PROGRAM = f"github.com/versity/versitygw/cmd/versitygw@{VERSION}"
BUILD_SECONDS = 1800.0
BUCKET = "doorbuster-images"
PUBLIC_PREFIX = "images/"
REGION = "us-east-1"
ACCESS_KEY = "doorbuster"
HEALTH = "/-/health"
PUBLIC_READ = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": f"arn:aws:s3:::{BUCKET}/{PUBLIC_PREFIX}*",
        }
    ],
}
# A merchant's browser uploads straight to the bucket, with a form that the product service signed.
UPLOAD_FROM_BROWSERS = {
    "CORSRules": [
        {
            "AllowedOrigins": ["*"],
            "AllowedMethods": ["GET", "HEAD", "POST", "PUT"],
            "AllowedHeaders": ["*"],
            "MaxAgeSeconds": 600,
        }
    ]
}


class S3Server(Part):
    name = "s3"
    port_keys = ("s3",)
    ready_within_seconds = 60.0
    stop_within_seconds = 10.0

    @override
    def missing(self) -> str:
        return "" if _binary().exists() else f"versitygw {VERSION}"

    @override
    def obtain(self, say: Say) -> None:
        say(f"building versitygw {VERSION} (once, some minutes)")
        go_toolchain.install(PROGRAM, _binary(), say, within_seconds=BUILD_SECONDS)

    @override
    def launch(self, site: Site) -> Launch:
        data = site.layout.data(self.name, None)
        for folder in ("buckets", "metadata"):
            (data / folder).mkdir(exist_ok=True)
        listens = [f"--port={address}:{site.port('s3')}" for address in site.addresses]
        argv = (
            *(str(_binary()), *listens, f"--region={REGION}", f"--health={HEALTH}"),
            *("--quiet", "--keep-alive", "posix", f"--sidecar={data / 'metadata'}"),
            str(data / "buckets"),
        )
        login = {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": site.secret("s3")}
        return Launch(argv, {**site.environment, **login})

    @override
    def ready(self, site: Site) -> str | None:
        status, body = probe.http_status(f"http://{LOOPBACK}:{site.port('s3')}{HEALTH}")
        return None if status == 200 else f"{status or ''} {body[:120]}".strip()

    @override
    def settle(self, site: Site) -> None:
        """Make the bucket and say who may read what; safe to repeat."""
        from botocore.exceptions import BotoCoreError, ClientError

        client = _client(site)
        try:
            if BUCKET not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
                client.create_bucket(Bucket=BUCKET)
            client.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(PUBLIC_READ))
            client.put_bucket_cors(Bucket=BUCKET, CORSConfiguration=UPLOAD_FROM_BROWSERS)
        except (BotoCoreError, ClientError) as error:
            raise StackError(f"the bucket could not be made: {error}") from error

    @override
    def exports(self, site: Site) -> dict[str, str]:
        return settings(site)


def settings(site: Site) -> dict[str, str]:
    """How a service finds the bucket; paths name it (``URL/bucket/key``), not host names."""
    return {
        "DOORBUSTER_S3_URL": f"http://{site.host}:{site.port('s3')}",
        "DOORBUSTER_S3_BUCKET": BUCKET,
        "DOORBUSTER_S3_REGION": REGION,
        "DOORBUSTER_S3_ACCESS_KEY": ACCESS_KEY,
        "DOORBUSTER_S3_SECRET_KEY": site.secret("s3"),
    }


def _binary() -> Path:
    return cache_root() / f"versitygw-{VERSION}" / "versitygw"


def _client(site: Site) -> Any:
    # A third of a second to import, which only this part of the command should pay.
    import botocore.config
    import botocore.session

    values = settings(site)
    return botocore.session.Session().create_client(
        "s3",
        endpoint_url=f"http://{LOOPBACK}:{site.port('s3')}",
        region_name=REGION,
        aws_access_key_id=values["DOORBUSTER_S3_ACCESS_KEY"],
        aws_secret_access_key=values["DOORBUSTER_S3_SECRET_KEY"],
        config=botocore.config.Config(
            s3={"addressing_style": "path"}, connect_timeout=2, read_timeout=10
        ),
    )
