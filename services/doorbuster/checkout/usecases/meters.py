"""What checkout counts; no user, order or product is ever a label."""

from prometheus_client import Counter, Gauge

PERMITS = Counter("doorbuster_checkout_permits", "Answers of the escrow", ["outcome"])
HOLDS = Counter("doorbuster_checkout_holds", "Orders answered with units that are held")
REFUSALS = Counter(
    "doorbuster_checkout_refusals", "Orders refused, by reason (waiting is one)", ["reason"]
)
DEGRADED = Counter(
    "doorbuster_checkout_degraded",
    "Orders that went on without what they should have had, by what was missing",
    ["missing"],
)
BIT_HITS = Counter(
    "doorbuster_checkout_sold_out_bit_hits", "Orders told SOLD_OUT without asking anybody"
)
GIVEN_BACK = Counter(
    "doorbuster_checkout_discounts_given_back", "Uses of discount codes that came back"
)
STALE = Counter("doorbuster_checkout_stale_permits", "Rounds repeated for a cold or stale permit")
JOINED = Counter("doorbuster_checkout_joined", "Requests that joined the same order under way")
TARPITTED = Counter("doorbuster_checkout_tarpitted", "Orders answered late: too many under way")
IN_FLIGHT = Gauge("doorbuster_checkout_in_flight", "Orders under way")
SALES_AGE = Gauge("doorbuster_checkout_sales_age_seconds", "Age of the sales as last seen")
SALES_FAILURES = Counter(
    "doorbuster_checkout_sales_failures", "Refreshes of the sales that got no answer"
)
