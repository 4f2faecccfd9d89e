"""``make bench-freshness``: what a stock change takes from inventory's PostgreSQL to the index that answers searches.

Both legs with the real Debezium: PostgreSQL -> Kafka -> product (MongoDB) -> Kafka -> search (Elasticsearch). The clock
runs from the answer to ``PUT /v1/admin/stock/…`` until a search of the index sees the number, its refresh included.
"""

import argparse
import math
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import requests

from devstack.stack import Stack

PARTS = ("nginx", "gateway", "user", "product", "search", "inventory", "connectors", "cdc")
SECONDS = 20.0
POLL_SECONDS = 0.01
LONGEST_SECONDS = 60.0
PRODUCTS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        stack = Stack(Path(folder) / "stack", public_port=0)
        try:
            stack.up(only=PARTS)
            took = sorted(measure(stack.env(), arguments.changes))
        finally:
            stack.down(forget=True)
    p99 = took[math.ceil(0.99 * len(took)) - 1]
    sys.stdout.write(
        f"{len(took)} changes: median {1000 * statistics.median(took):.0f} ms, p99 {1000 * p99:.0f} ms,"
        f" longest {1000 * took[-1]:.0f} ms (load {os.getloadavg()[0]:.1f})\n"
    )


def measure(env: dict[str, str], changes: int) -> list[float]:
    """Return the seconds of each change, one after the other."""
    shop = requests.Session()
    url = env["DOORBUSTER_PUBLIC_URL"]
    who = {"email": env["DOORBUSTER_ADMIN_EMAIL"], "password": env["DOORBUSTER_ADMIN_PASSWORD"]}
    session = shop.post(f"{url}/v1/sessions", json=who, timeout=SECONDS)
    shop.headers["Authorization"] = f"Bearer {session.json()['accessToken']}"
    names = [_product(shop, url, number) for number in range(PRODUCTS)]
    for name in names:  # the first change also waits for consumers that join
        _change(shop, url, env, name, 1)
    return [_change(shop, url, env, names[turn % PRODUCTS], turn + 2) for turn in range(changes)]


def _product(shop: requests.Session, url: str, number: int) -> str:
    draft = {"sku": f"fresh-{number}", "title": f"Fresh {number}", "category": "fresh"}
    made = shop.post(
        f"{url}/v1/admin/products",
        json=draft | {"price": 1, "currency": "EUR"},
        timeout=SECONDS,
    )
    made.raise_for_status()
    return str(made.json()["productId"])


def _change(shop: requests.Session, url: str, env: dict[str, str], name: str, qty: int) -> float:
    path = f"{url}/v1/admin/stock/{name}"
    shop.put(path, json={"total": qty}, timeout=SECONDS).raise_for_status()
    since = time.monotonic()
    wanted = {
        "bool": {"filter": [{"term": {"product_id": name}}, {"term": {"available_qty": qty}}]}
    }
    index = f"{env['DOORBUSTER_ELASTICSEARCH_URL']}/products/_count"
    while True:
        found = requests.post(index, json={"query": wanted}, timeout=SECONDS)
        if found.ok and found.json()["count"]:
            return time.monotonic() - since
        if time.monotonic() - since > LONGEST_SECONDS:
            raise TimeoutError(f"{name} never showed {qty}")
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main()
