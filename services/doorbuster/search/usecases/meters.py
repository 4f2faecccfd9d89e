"""What search counts."""

from prometheus_client import Counter, Gauge

ANSWERS = Counter(
    "doorbuster_search_answers",
    "Searches answered: by the index, degraded, or not at all",
    ["how"],
)
INDEX, DEGRADED, NOWHERE = (ANSWERS.labels(how) for how in ("index", "degraded", "nowhere"))
AWAY = Gauge("doorbuster_search_index_away", "Whether the index is left alone (1) after a failure")
NOT_LIVE = Counter(
    "doorbuster_search_not_live",
    "Answers with stock as indexed or without sale prices, by what was away",
    ["what"],
)
STOCK_AWAY, SALES_AWAY = (NOT_LIVE.labels(what) for what in ("stock", "sales"))
WRITTEN = Counter(
    "doorbuster_search_documents", "Documents told of: written, or known already", ["outcome"]
)
TAKEN, KNOWN = (WRITTEN.labels(outcome) for outcome in ("written", "known"))
