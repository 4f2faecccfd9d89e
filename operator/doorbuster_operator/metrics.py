"""What the operator measures, under controller-runtime's names where it has one."""

from prometheus_client import Counter, Gauge, Histogram

RECONCILES = Counter(
    "controller_runtime_reconcile", "Passes over one object", ["controller", "result"]
)
RECONCILE_ERRORS = Counter(
    "controller_runtime_reconcile_errors", "Passes that failed", ["controller"]
)
RECONCILE_SECONDS = Histogram(
    "controller_runtime_reconcile_time_seconds",
    "Length of a pass",
    ["controller"],
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5),
)
QUEUE_DEPTH = Gauge("workqueue_depth", "Objects that wait for a pass", ["name"])
WATCH_AGE = Gauge(
    "doorbuster_operator_watch_age_seconds",
    "For how long the watch has owed a change that is known from elsewhere",
)
LEADER = Gauge("leader_election_master_status", "1 while this process leads", ["name"])
FORBIDDEN = Counter(
    "doorbuster_operator_forbidden",
    "Requests that the API server refused for want of a right",
    ["verb", "resource"],
)
STATUS_WRITES = Counter("doorbuster_operator_status_writes", "Status patches", ["controller"])
SALE_PHASE = Gauge("doorbuster_sale_phase", "1 for the phase a sale is in", ["sale", "phase"])
OPEN_DELAY = Histogram(
    "doorbuster_sale_open_delay_seconds",
    "From spec.openTime to the first hold",
    buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5, 30),
)
CLOCK_OFFSET = Gauge(
    "doorbuster_clock_offset_seconds", "The inventory service's clock minus the operator's"
)
CONSERVATION = Gauge(
    "doorbuster_inventory_conservation_error", "Units that are counted nowhere or twice", ["pool"]
)
