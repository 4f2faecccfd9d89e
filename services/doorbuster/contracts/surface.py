"""The public API as data: every ``/v1`` call, whose it is, who may make it, what it takes and answers.

The OpenAPI document, the test of every right and the check that each service serves exactly its own calls all
read this one table.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from . import api, catalogue, fulfilment, shopping

# ``buyer`` is any signed-in user; ``merchant`` and ``admin`` are roles, and an admin may do what a merchant may.
Access = Literal["anyone", "buyer", "merchant", "admin"]
Header = Literal["Idempotency-Key", "If-Match", "X-Cart-Token", "Stripe-Signature"]
Codes = tuple[tuple[int, str], ...]


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """``?page=&size=``: pages count from 1."""

    page: Annotated[int, Meta(ge=1, le=1000)] = 1
    size: Annotated[int, Meta(ge=1, le=100)] = 20


class RemoveQuery(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """``DELETE /v1/cart/remove?productId=``."""

    product_id: api.Identifier


@dataclass(frozen=True, kw_only=True)
class Call:
    """One operation.

    ``body`` and ``query`` are what it takes, ``answer`` what it returns with ``status`` (None: no JSON). ``codes``
    are its own problem codes, beside those that every call may answer. ``owned``: about somebody else's things it
    answers 404, as if there were none. ``once``: sent a second time it may answer otherwise than the first time,
    though its method lets one expect the same; nobody repeats it for the caller.
    """

    method: str
    path: str
    owner: str
    access: Access
    summary: str
    body: type[Any] | None = None
    query: type[Any] | None = None
    answer: type[Any] | None = None
    status: int = 200
    codes: Codes = ()
    headers: tuple[Header, ...] = ()
    owned: bool = False
    once: bool = False
    media_type: str = "application/json"


def _calls(owner: str, *rows: tuple[str, str, Access, str, dict[str, Any]]) -> tuple[Call, ...]:
    return tuple(
        Call(method=method, path=path, owner=owner, access=access, summary=summary, **rest)
        for method, path, access, summary, rest in rows
    )


_PRODUCT = "/v1/products/{productId}"
_ADMIN_PRODUCT = "/v1/admin/products/{productId}"
_ORDER = "/v1/orders/{orderId}"
_ADMIN_ORDER = "/v1/admin/orders/{orderId}"
_GONE: Codes = ((404, "NOT_FOUND"),)
_NO_PRODUCT: Codes = ((404, "UNKNOWN_PRODUCT"),)
_NO_ORDER: Codes = ((404, "UNKNOWN_ORDER"),)
_VERSIONED: Codes = ((412, "VERSION_CHANGED"), (428, "VERSION_REQUIRED"))
_CART: Codes = ((404, "UNKNOWN_CART"), (409, "CART_FULL"), (422, "UNKNOWN_PRODUCT"))
_ORDER_CODES: Codes = (
    *((409, "SOLD_OUT"), (409, "WAITING"), (409, "PRICE_CHANGED"), (409, "SALE_NOT_OPEN")),
    *(
        (409, "SALE_CLOSED"),
        (409, "SALE_SUSPENDED"),
        (409, "PER_USER_LIMIT"),
        (409, "HOLD_EXPIRED"),
    ),
    *((409, "CART_CHANGED"), (409, "DISCOUNT_USED_UP"), (409, "ALREADY_PAID")),
    (429, "WAITING_ROOM"),
    *((422, "IDEMPOTENCY_KEY_REUSED"), (422, "UNKNOWN_PRODUCT"), (422, "MIXED_CURRENCY")),
    *((422, "UNKNOWN_CART"), (422, "UNKNOWN_ADDRESS"), (422, "AMOUNT_TOO_LARGE")),
    (422, "AMOUNT_TOO_SMALL"),
    *((422, "UNKNOWN_DISCOUNT_CODE"), (422, "DISCOUNT_NOT_APPLICABLE")),
)
_PAYMENT_CODES: Codes = (
    *((404, "UNKNOWN_ORDER"), (409, "HOLD_EXPIRED"), (409, "PAYMENT_IN_PROGRESS")),
    *((409, "ALREADY_PAID"), (422, "IDEMPOTENCY_KEY_REUSED"), (422, "AMOUNT_MISMATCH")),
)

CALLS: tuple[Call, ...] = (
    *_calls(
        "user",
        (
            "POST",
            "/v1/users",
            "anyone",
            "Sign up",
            {
                "body": api.SignUp,
                "answer": api.User,
                "status": 201,
                "codes": ((409, "EMAIL_TAKEN"),),
            },
        ),
        ("GET", "/v1/users/me", "buyer", "Your profile", {"answer": api.User}),
        (
            "PATCH",
            "/v1/users/me",
            "buyer",
            "Change your profile",
            {"body": api.UserChange, "answer": api.User},
        ),
        (
            "PUT",
            "/v1/users/me/password",
            "buyer",
            "Change your password; every other session ends",
            {
                "body": shopping.PasswordChange,
                "status": 204,
                "codes": ((403, "WRONG_PASSWORD"),),
                "once": True,
            },
        ),
        (
            "GET",
            "/v1/users/me/addresses",
            "buyer",
            "Your address book",
            {"answer": shopping.AddressList},
        ),
        (
            "POST",
            "/v1/users/me/addresses",
            "buyer",
            "Add an address",
            {
                "body": shopping.AddressDraft,
                "answer": shopping.Address,
                "status": 201,
                "codes": ((409, "TOO_MANY_ADDRESSES"),),
            },
        ),
        (
            "GET",
            "/v1/users/me/addresses/{addressId}",
            "buyer",
            "One address",
            {"answer": shopping.Address, "owned": True, "codes": ((404, "UNKNOWN_ADDRESS"),)},
        ),
        (
            "PUT",
            "/v1/users/me/addresses/{addressId}",
            "buyer",
            "Replace an address",
            {
                "body": shopping.AddressDraft,
                "answer": shopping.Address,
                "owned": True,
                "codes": ((404, "UNKNOWN_ADDRESS"),),
            },
        ),
        (
            "DELETE",
            "/v1/users/me/addresses/{addressId}",
            "buyer",
            "Delete an address",
            {"status": 204, "owned": True, "codes": ((404, "UNKNOWN_ADDRESS"),)},
        ),
        (
            "POST",
            "/v1/sessions",
            "anyone",
            "Log in",
            {
                "body": api.LogIn,
                "answer": api.Session,
                "status": 201,
                "codes": ((401, "WRONG_CREDENTIALS"), (429, "RATE_LIMITED")),
            },
        ),
        (
            "POST",
            "/v1/sessions/refresh",
            "anyone",
            "Exchange a refresh token",
            {"body": api.Refresh, "answer": api.Session, "codes": ((401, "REFRESH_REFUSED"),)},
        ),
        (
            "DELETE",
            "/v1/sessions",
            "buyer",
            "Log out, here or everywhere",
            {"query": api.LogOutQuery, "status": 204},
        ),
        (
            "GET",
            "/.well-known/jwks.json",
            "anyone",
            "The keys of access tokens",
            {"media_type": "application/jwk-set+json"},
        ),
    ),
    *_calls(
        "search",
        (
            "GET",
            "/v1/products/search",
            "anyone",
            "Search products",
            {
                "query": catalogue.SearchQuery,
                "answer": catalogue.SearchResults,
                "codes": ((422, "PAGE_TOO_DEEP"),),
            },
        ),
    ),
    *_calls(
        "product",
        (
            "GET",
            _PRODUCT,
            "anyone",
            "Details of a product",
            {"answer": catalogue.Product, "codes": _NO_PRODUCT},
        ),
        (
            "GET",
            _PRODUCT + "/reviews",
            "anyone",
            "Reviews of a product",
            {"query": PageQuery, "answer": catalogue.ReviewList, "codes": _NO_PRODUCT},
        ),
        (
            "POST",
            _PRODUCT + "/reviews",
            "buyer",
            "Review a product that you received",
            {
                "body": catalogue.ReviewDraft,
                "answer": catalogue.Review,
                "status": 201,
                "codes": (*_NO_PRODUCT, (403, "NOT_RECEIVED"), (409, "ALREADY_REVIEWED")),
            },
        ),
        (
            "PUT",
            _PRODUCT + "/reviews/mine",
            "buyer",
            "Change your review",
            {
                "body": catalogue.ReviewDraft,
                "answer": catalogue.Review,
                "codes": ((404, "UNKNOWN_REVIEW"), *_NO_PRODUCT),
            },
        ),
        (
            "DELETE",
            _PRODUCT + "/reviews/mine",
            "buyer",
            "Delete your review",
            {"status": 204, "codes": ((404, "UNKNOWN_REVIEW"), *_NO_PRODUCT)},
        ),
        (
            "POST",
            "/v1/admin/products",
            "merchant",
            "Add a product",
            {
                "body": catalogue.NewProduct,
                "answer": catalogue.Product,
                "status": 201,
                "codes": ((409, "SKU_TAKEN"),),
            },
        ),
        (
            "PUT",
            _ADMIN_PRODUCT,
            "merchant",
            "Replace what is said of a product",
            {
                "body": catalogue.ProductDraft,
                "answer": catalogue.Product,
                "headers": ("If-Match",),
                "codes": (*_NO_PRODUCT, *_VERSIONED),
            },
        ),
        (
            "DELETE",
            _ADMIN_PRODUCT,
            "merchant",
            "Take a product out of the catalogue",
            {"status": 204, "headers": ("If-Match",), "codes": (*_NO_PRODUCT, *_VERSIONED)},
        ),
        (
            "POST",
            _ADMIN_PRODUCT + "/images",
            "merchant",
            "Ask where to upload a picture",
            {
                "body": catalogue.ImageUpload,
                "answer": catalogue.ImageTicket,
                "status": 201,
                "codes": (*_NO_PRODUCT, (409, "TOO_MANY_IMAGES")),
            },
        ),
        (
            "GET",
            _ADMIN_PRODUCT + "/images/{imageId}",
            "merchant",
            "How far a picture is",
            {"answer": catalogue.ImageStatus, "codes": ((404, "UNKNOWN_IMAGE"), *_NO_PRODUCT)},
        ),
        (
            "DELETE",
            _ADMIN_PRODUCT + "/images/{imageId}",
            "merchant",
            "Remove a picture",
            {"status": 204, "codes": ((404, "UNKNOWN_IMAGE"), *_NO_PRODUCT)},
        ),
    ),
    *_calls(
        "cart",
        (
            "GET",
            "/v1/cart",
            "anyone",
            "The cart with live prices",
            {
                "answer": shopping.Cart,
                "headers": ("X-Cart-Token",),
                "codes": ((404, "UNKNOWN_CART"),),
            },
        ),
        (
            "POST",
            "/v1/cart/add",
            "anyone",
            "Add units of a product",
            {
                "body": shopping.CartItem,
                "answer": shopping.CartChanged,
                "headers": ("X-Cart-Token",),
                "codes": _CART,
            },
        ),
        (
            "PUT",
            "/v1/cart/update",
            "anyone",
            "Set the units of a product in the cart",
            {
                "body": shopping.CartItem,
                "answer": shopping.CartChanged,
                "headers": ("X-Cart-Token",),
                "codes": _CART,
            },
        ),
        (
            "DELETE",
            "/v1/cart/remove",
            "anyone",
            "Take a product out of the cart",
            {
                "query": RemoveQuery,
                "answer": shopping.CartChanged,
                "headers": ("X-Cart-Token",),
                "codes": ((404, "UNKNOWN_CART"),),
            },
        ),
        (
            "POST",
            "/v1/cart/merge",
            "buyer",
            "Take over a cart from before log-in",
            {
                "body": shopping.CartMerge,
                "answer": shopping.CartChanged,
                "codes": ((404, "UNKNOWN_CART"),),
            },
        ),
    ),
    *_calls(
        "checkout",
        (
            "GET",
            "/v1/sales",
            "anyone",
            "Flash sales",
            {"query": PageQuery, "answer": api.SaleList},
        ),
        (
            "GET",
            "/v1/sales/{saleId}",
            "anyone",
            "One flash sale",
            {"answer": api.Sale, "codes": _GONE},
        ),
        (
            "POST",
            "/v1/checkout",
            "buyer",
            "Place an order and hold its units",
            {
                "body": api.Checkout,
                "answer": api.CheckoutDone,
                "status": 201,
                "headers": ("Idempotency-Key",),
                "codes": _ORDER_CODES,
            },
        ),
        (
            "GET",
            "/v1/admin/discounts",
            "merchant",
            "Discounts",
            {"query": PageQuery, "answer": shopping.DiscountList},
        ),
        (
            "GET",
            "/v1/admin/discounts/{code}",
            "merchant",
            "One discount",
            {"answer": shopping.Discount, "codes": ((404, "UNKNOWN_DISCOUNT_CODE"),)},
        ),
        (
            "PUT",
            "/v1/admin/discounts/{code}",
            "merchant",
            "Make or change a discount",
            {"body": shopping.DiscountDraft, "answer": shopping.Discount},
        ),
        (
            "DELETE",
            "/v1/admin/discounts/{code}",
            "merchant",
            "End a discount",
            {"status": 204, "codes": ((404, "UNKNOWN_DISCOUNT_CODE"),)},
        ),
    ),
    *_calls(
        "inventory",
        (
            "GET",
            "/v1/admin/stock/{productId}",
            "merchant",
            "Stock of a product",
            {"answer": shopping.Stock, "codes": _NO_PRODUCT},
        ),
        (
            "PUT",
            "/v1/admin/stock/{productId}",
            "merchant",
            "Set the stock of a product",
            {
                "body": shopping.StockLevel,
                "answer": shopping.Stock,
                "codes": (*_NO_PRODUCT, (409, "MANAGED_BY_POOL"), (409, "BELOW_COMMITTED")),
            },
        ),
    ),
    *_calls(
        "payment",
        (
            "POST",
            "/v1/payment",
            "buyer",
            "Pay an order",
            {
                "body": api.Payment,
                "answer": api.PaymentDone,
                "headers": ("Idempotency-Key",),
                "owned": True,
                "codes": _PAYMENT_CODES,
            },
        ),
        (
            "POST",
            "/v1/webhooks/psp",
            "anyone",
            "News from the payment provider, signed by it",
            {
                "status": 204,
                "headers": ("Stripe-Signature",),
                "codes": ((400, "BAD_SIGNATURE"),),
            },
        ),
    ),
    *_calls(
        "order",
        (
            "GET",
            "/v1/orders",
            "buyer",
            "Your orders, newest first",
            {"query": PageQuery, "answer": api.OrderList},
        ),
        (
            "GET",
            _ORDER,
            "buyer",
            "One order",
            {"answer": api.Order, "owned": True, "codes": _NO_ORDER},
        ),
        (
            "GET",
            _ORDER + "/status",
            "buyer",
            "Status of an order",
            {"answer": api.OrderStatus, "owned": True, "codes": _NO_ORDER},
        ),
        (
            "GET",
            _ORDER + "/events",
            "buyer",
            "Status of an order, live",
            {
                "owned": True,
                "codes": (*_NO_ORDER, (429, "TOO_MANY_STREAMS")),
                "media_type": "text/event-stream",
            },
        ),
        (
            "POST",
            _ORDER + "/cancel",
            "buyer",
            "Cancel an order before it is shipped",
            {
                "body": fulfilment.Cancel,
                "answer": api.OrderStatus,
                "owned": True,
                "codes": (*_NO_ORDER, (409, "NOT_CANCELLABLE")),
            },
        ),
        (
            "POST",
            _ORDER + "/return",
            "buyer",
            "Ask to return a delivered order",
            {
                "body": fulfilment.Return,
                "answer": api.OrderStatus,
                "owned": True,
                "codes": (*_NO_ORDER, (409, "NOT_RETURNABLE")),
            },
        ),
        (
            "GET",
            "/v1/admin/orders",
            "admin",
            "All orders",
            {"query": fulfilment.AdminOrderQuery, "answer": fulfilment.AdminOrderList},
        ),
        (
            "GET",
            _ADMIN_ORDER,
            "admin",
            "Any order",
            {"answer": fulfilment.AdminOrder, "codes": _NO_ORDER},
        ),
        (
            "POST",
            _ADMIN_ORDER + "/shipments",
            "admin",
            "Enter a shipment",
            {
                "body": fulfilment.Shipment,
                "answer": api.OrderStatus,
                "codes": (*_NO_ORDER, (409, "NOT_SHIPPABLE")),
            },
        ),
        (
            "POST",
            _ADMIN_ORDER + "/deliveries",
            "admin",
            "Enter a delivery",
            {
                "body": fulfilment.Delivered,
                "answer": api.OrderStatus,
                "codes": (*_NO_ORDER, (409, "NOT_SHIPPED")),
            },
        ),
        (
            "POST",
            _ADMIN_ORDER + "/cancel",
            "admin",
            "Cancel an order before it is shipped",
            {
                "body": fulfilment.Cancel,
                "answer": api.OrderStatus,
                "codes": (*_NO_ORDER, (409, "NOT_CANCELLABLE")),
            },
        ),
        (
            "POST",
            _ADMIN_ORDER + "/returns",
            "admin",
            "Accept a return",
            {
                "body": fulfilment.Return,
                "answer": api.OrderStatus,
                "codes": (*_NO_ORDER, (409, "NOT_RETURNABLE")),
            },
        ),
    ),
    *_calls(
        "notification",
        (
            "GET",
            "/v1/notifications/preferences",
            "buyer",
            "How you are told",
            {"answer": shopping.NotificationPreferences},
        ),
        (
            "PUT",
            "/v1/notifications/preferences",
            "buyer",
            "Change how you are told",
            {"body": shopping.NotificationPreferences, "answer": shopping.NotificationPreferences},
        ),
        (
            "GET",
            "/v1/admin/letters",
            "admin",
            "Messages that did not arrive",
            {"query": fulfilment.LetterQuery, "answer": fulfilment.LetterList},
        ),
        (
            "POST",
            "/v1/admin/letters:redrive",
            "admin",
            "Try failed messages again",
            {"body": fulfilment.Redrive, "answer": fulfilment.Redriven},
        ),
    ),
)
