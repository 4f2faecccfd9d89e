"""What the meters of this process say, for tests that ask what a worker really did."""

from collections import Counter

from prometheus_client import REGISTRY


def repaired(worker: str) -> Counter[str]:
    """Return what the copies of a worker in this process have ended so far, by outcome."""
    return Counter(
        {
            sample.labels["outcome"]: int(sample.value)
            for metric in REGISTRY.collect()
            for sample in metric.samples
            if sample.name == "doorbuster_worker_repaired_total"
            and sample.labels["worker"] == worker
        }
    )
