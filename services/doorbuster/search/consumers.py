"""The search service's consumer: the products as Debezium captures them."""

from doorbuster.kit.consumer import Consumer

from .domain import changes
from .usecases.follow import Follower


def consumers(bootstrap: str, cdn_url: str, follower: Follower) -> dict[str, Consumer]:
    """Return the consumers by the name of their loop."""
    return {
        "products": Consumer(
            bootstrap=bootstrap,
            group="search.products",
            read=changes.Reader(cdn_url),
            handle=follower.take_in,
            topics=(changes.TOPIC,),
        )
    }
