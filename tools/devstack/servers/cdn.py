"""nginx in the part of a CDN: public pictures of the bucket, kept; they are still shown while S3 is away."""

import os

from typing_extensions import override

from devstack import probe
from devstack.part import LOOPBACK, Part, Site
from devstack.process import Launch
from devstack.state import write_atomically

from . import s3
from .nginx import find_nginx

CACHE_MEGABYTES = 200
CONFIGURATION = """\
daemon off;
worker_processes 1;
{user}
pid {run}/cdn.pid;
error_log stderr warn;
events {{ worker_connections 2048; }}
http {{
  access_log off;
  server_tokens off;
  client_body_temp_path {data}/body;
  proxy_temp_path {data}/proxy;
  fastcgi_temp_path {data}/fastcgi;
  uwsgi_temp_path {data}/uwsgi;
  scgi_temp_path {data}/scgi;
  proxy_cache_path {data}/cache levels=1:2 keys_zone=pictures:8m max_size={megabytes}m
                   inactive=7d use_temp_path=off;
  upstream bucket {{ server 127.0.0.1:{origin} max_fails=0; keepalive 16; }}

  server {{
{listens}
    location = /-/cdn {{ return 204; }}
    location / {{ return 404; }}
    location /{prefix} {{
      if ($request_method !~ ^(GET|HEAD)$) {{ return 405; }}
      # One picture has one name: no query makes another copy, or tells S3 to answer in another way.
      set $args "";
      proxy_pass http://bucket/{bucket}/{prefix};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Authorization "";
      proxy_set_header Cookie "";
      proxy_connect_timeout 1s;
      proxy_read_timeout 10s;
      proxy_cache pictures;
      proxy_cache_key $uri;
      proxy_cache_lock on;
      proxy_cache_revalidate on;
      # How long is said by the object's own Cache-Control; these are for objects without one.
      proxy_cache_valid 200 1m;
      proxy_cache_valid 404 1s;
      proxy_cache_background_update on;
      proxy_cache_use_stale error timeout updating http_500 http_502 http_503 http_504;
      proxy_ignore_headers Set-Cookie Vary;
      proxy_hide_header Set-Cookie;
      proxy_hide_header x-amz-request-id;
      proxy_hide_header x-amz-id-2;
      add_header X-Cache-Status $upstream_cache_status always;
      add_header X-Content-Type-Options nosniff always;
      add_header Access-Control-Allow-Origin * always;
    }}
    error_page 502 504 =503 @unavailable;
    location @unavailable {{
      add_header Retry-After 1 always;
      return 503;
    }}
  }}
}}
"""


class CdnServer(Part):
    name = "cdn"
    requires = ("s3",)
    port_keys = ("cdn",)
    ready_within_seconds = 20.0

    @override
    def packages(self) -> tuple[str, ...]:
        return () if find_nginx() else ("nginx-light|nginx",)

    @override
    def prepare(self, site: Site) -> None:
        listens = [f"    listen {address}:{site.port('cdn')};" for address in site.addresses]
        text = CONFIGURATION.format(
            user="user root;" if os.getuid() == 0 else "",
            run=site.layout.run,
            data=site.layout.data(self.name, None),
            megabytes=CACHE_MEGABYTES,
            origin=site.port("s3"),
            listens="\n".join(listens),
            prefix=s3.PUBLIC_PREFIX,
            bucket=s3.BUCKET,
        )
        write_atomically(site.layout.etc / "cdn.conf", text)

    @override
    def launch(self, site: Site) -> Launch:
        argv = (str(find_nginx()), "-e", "stderr", "-c", str(site.layout.etc / "cdn.conf"))
        return Launch(argv, site.environment)

    @override
    def ready(self, site: Site) -> str | None:
        status, body = probe.http_status(f"http://{LOOPBACK}:{site.port('cdn')}/-/cdn")
        return None if status == 204 else f"{status} {body[:120]}"

    @override
    def exports(self, site: Site) -> dict[str, str]:
        return {"DOORBUSTER_CDN_URL": url(site)}


def url(site: Site) -> str:
    """What comes before an object's key (``images/…``) in a picture's public address."""
    return f"http://{site.host}:{site.port('cdn')}"
