"""nginx: the ingress, the single public port in front of both gateways.

It appends the peer to X-Forwarded-For. The gateways trust loopback, so whoever connects *from this
machine* may name any client address, which the crowd does; a peer from elsewhere may not, since its
own address is then the last one that is not trusted. Local only, not a setting for production.
"""

import json
import os
import shutil

from typing_extensions import override

from devstack import probe
from devstack.part import Part, Site
from devstack.process import Launch
from devstack.state import write_atomically

GATEWAYS = ("gateway-0", "gateway-1")
CONFIGURATION = """\
daemon off;
worker_processes 1;
{user}
pid {run}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  server_tokens off;
  default_type application/octet-stream;
  client_body_temp_path {data}/body;
  proxy_temp_path {data}/proxy;
  fastcgi_temp_path {data}/fastcgi;
  uwsgi_temp_path {data}/uwsgi;
  scgi_temp_path {data}/scgi;
  client_max_body_size 2m;
  keepalive_timeout 75s;
  keepalive_requests 100000;

  upstream gateways {{
{upstreams}
    keepalive 1024; # at least as many as buyers who ask again every second
    keepalive_timeout 30s;
  }}

  server {{
{listens}
    location = /-/ingress {{ return 204; }}
    location ~ ^/(internal|control)(/|$) {{ return 404; }}
    # What nginx says itself is problem+json too; answers of the gateways pass as they are.
    error_page 404 = @not_found;
    error_page 413 = @too_large;
    error_page 502 503 504 = @unavailable;
{problems}
    location / {{
      proxy_pass http://gateways;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_connect_timeout 1s;
      proxy_send_timeout 30s;
      proxy_read_timeout 60s;
      # A POST that has been sent is never sent again: non_idempotent is not in the list.
      proxy_next_upstream error timeout;
      proxy_next_upstream_tries 2;
      proxy_next_upstream_timeout 3s;
    }}
    location ~ ^/v1/orders/[^/]+/events$ {{
      proxy_pass http://gateways;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_buffering off;
      proxy_read_timeout 1h;
    }}
  }}
}}
"""
# Named location -> (status, code, title), the same codes as the services'.
PROBLEMS = {
    "@not_found": (404, "NOT_FOUND", "There is nothing here"),
    "@too_large": (413, "BODY_TOO_LARGE", "The request is too large"),
    "@unavailable": (503, "UNAVAILABLE", "A part of the shop does not answer"),
}


class NginxServer(Part):
    name = "nginx"
    port_keys = ("nginx",)
    ready_within_seconds = 20.0

    @override
    def packages(self) -> tuple[str, ...]:
        return () if find_nginx() else ("nginx-light|nginx",)

    @override
    def prepare(self, site: Site) -> None:
        port = site.port("nginx")
        listens = [f"    listen {address}:{port} backlog=4096;" for address in site.addresses]
        upstreams = [
            f"    server 127.0.0.1:{site.port(name)} max_fails=1 fail_timeout=1s;"
            for name in GATEWAYS
        ]
        text = CONFIGURATION.format(
            user="user root;" if os.getuid() == 0 else "",
            run=site.layout.run,
            data=site.layout.data(self.name, None),
            listens="\n".join(listens),
            problems="\n".join(_problem(name, *parts) for name, parts in PROBLEMS.items()),
            upstreams="\n".join(upstreams),
        )
        write_atomically(site.layout.etc / "nginx.conf", text)

    @override
    def launch(self, site: Site) -> Launch:
        argv = (str(find_nginx()), "-e", "stderr", "-c", str(site.layout.etc / "nginx.conf"))
        return Launch(argv, site.environment)

    @override
    def ready(self, site: Site) -> str | None:
        status, body = probe.http_status(f"http://127.0.0.1:{site.port('nginx')}/-/ingress")
        return None if status == 204 else f"{status} {body[:120]}"

    @override
    def exports(self, site: Site) -> dict[str, str]:
        return {"DOORBUSTER_PUBLIC_URL": f"http://{site.host}:{site.port('nginx')}"}


def _problem(location: str, status: int, code: str, title: str) -> str:
    kind = f"urn:doorbuster:problem:{code.lower().replace('_', '-')}"
    body = json.dumps({"type": kind, "title": title, "status": status, "code": code})
    retry = "add_header Retry-After 1 always; " if status == 503 else ""
    return (
        f"    location {location} {{\n"
        f"      default_type application/problem+json;\n"
        f"      {retry}return {status} '{body}';\n"
        f"    }}"
    )


def find_nginx() -> str | None:
    """The program's path, where it is installed."""
    return shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
