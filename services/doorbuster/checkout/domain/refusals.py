"""Every way checkout says no, named for the business; app.py turns them into HTTP."""

from typing import ClassVar


class RefusalError(Exception):
    """Checkout refuses; the message is for the buyer, ``reason`` for metrics.

    ``product_id`` names the line that failed, ``retry_after`` (whole seconds) says when to come again.
    """

    reason: ClassVar[str] = "refused"
    says: ClassVar[str] = "this cannot be bought now"

    def __init__(
        self,
        *,
        product_id: str | None = None,
        retry_after: int | None = None,
        says: str | None = None,
    ) -> None:
        super().__init__(says or self.says)
        self.product_id = product_id
        self.retry_after = retry_after


class SoldOutError(RefusalError):
    """No unit is left and none can come back from a hold."""

    reason = "sold_out"
    says = "every unit is sold"


class WaitingError(RefusalError):
    """Others hold the units; some of them may come back."""

    reason = "waiting"
    says = "others hold the last units; try again with the same key"


class WaitingRoomError(RefusalError):
    """The sale lets buyers in one after the other; ``position`` 1 is the next."""

    reason = "waiting_room"
    says = "it is not your turn yet; your place in the queue is kept"

    def __init__(self, *, product_id: str, position: int, retry_after: int) -> None:
        super().__init__(product_id=product_id, retry_after=retry_after)
        self.position = position


class PriceChangedError(RefusalError):
    """The buyer saw another price."""

    reason = "price_changed"
    says = "the price is not the one you saw"


class SaleNotOpenError(RefusalError):
    """The sale has not opened yet."""

    reason = "not_open"
    says = "the sale is not open yet"


class SaleClosedError(RefusalError):
    """The sale is over or was cancelled."""

    reason = "closed"
    says = "the sale is over"


class SaleSuspendedError(RefusalError):
    """The sale is paused by its owner."""

    reason = "suspended"
    says = "the sale is paused"


class PerUserLimitError(RefusalError):
    """The buyer has, or wants, more than one person may have."""

    reason = "user_limit"
    says = "this is more than one person may buy in this sale"


class HoldExpiredError(RefusalError):
    """The units of this order went back to the others."""

    reason = "hold_expired"
    says = "the units are no longer held for this order; order again with a new key"


class PaymentInProgressError(RefusalError):
    """Another payment attempt of this order is under way."""

    reason = "payment_in_progress"
    says = "another payment of this order is under way"


class AlreadyPaidError(RefusalError):
    """The order is paid."""

    reason = "already_paid"
    says = "this order is paid already"


class KeyReusedError(RefusalError):
    """The Idempotency-Key belongs to an order with another body."""

    reason = "key_reused"
    says = "this Idempotency-Key was used for another order"


class UnknownProductError(RefusalError):
    """Nobody sells this product."""

    reason = "unknown_product"
    says = "there is no such product on sale"


class MixedCurrencyError(RefusalError):
    """An order has one currency."""

    reason = "mixed_currency"
    says = "one order is paid in one currency"


class DuplicateProductError(RefusalError):
    """A product stands in two lines, maybe at two prices: nobody can tell what the buyer means."""

    reason = "duplicate_product"
    says = "each product may appear once; put the number of units into its quantity"


class UnknownAddressError(RefusalError):
    """The address is none of the buyer's."""

    reason = "unknown_address"
    says = "there is no such address"


class UnknownDiscountCodeError(RefusalError):
    """No such discount."""

    reason = "unknown_discount_code"
    says = "there is no such discount code"


class NoDiscountError(UnknownDiscountCodeError):
    """A merchant asks for a discount that is not there."""


class DiscountNotApplicableError(RefusalError):
    """The discount exists, but not for this order."""

    reason = "discount_not_applicable"
    says = "the discount does not apply to this order"


class DiscountUsedUpError(RefusalError):
    """Every use of the discount, or of this buyer's share of it, is taken."""

    reason = "discount_used_up"
    says = "the discount code is used up"


class UnknownCartError(RefusalError):
    """The cart is none of the buyer's."""

    reason = "unknown_cart"
    says = "there is no such cart"


class CartChangedError(RefusalError):
    """The cart holds something else than what the buyer wants to pay for."""

    reason = "cart_changed"
    says = "the cart has changed since; look at it and order again"


class AmountTooLargeError(RefusalError):
    """The sum is beyond what can be paid at once."""

    reason = "amount_too_large"
    says = "the order is too large to be paid at once"


class AmountTooSmallError(RefusalError):
    """No card is charged with so little."""

    reason = "amount_too_small"
    says = "the order is less than a card can be charged with"


class UnknownOrderError(RefusalError):
    """There is no order under this id."""

    reason = "unknown_order"
    says = "there is no such order"
