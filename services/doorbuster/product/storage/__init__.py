"""What the product service keeps: documents in MongoDB, pictures in S3."""

from .objects import S3ObjectStore, open_objects
from .products import MongoProductStore
from .reviews import MongoReviewStore
from .schema import prepare
from .tickets import MongoTicketStore

__all__ = [
    "MongoProductStore",
    "MongoReviewStore",
    "MongoTicketStore",
    "S3ObjectStore",
    "open_objects",
    "prepare",
]
