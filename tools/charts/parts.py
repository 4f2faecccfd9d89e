"""The parts that have a chart: their program, their settings, and who calls whom."""

import dataclasses
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from doorbuster.kit.config import ProcessConfig, boolean

# Where a container finds these is the chart's business.
MOUNTED = {"DOORBUSTER_SERVICE_KEY_FILE": "key", "DOORBUSTER_SERVICE_KEYS_DIR": "public keys"}
FIXED = frozenset(
    {"DOORBUSTER_HOST", "DOORBUSTER_PORT", "DOORBUSTER_ADMIN_PORT", "DOORBUSTER_FAILPOINTS"}
    # The Stripe client's own switch would log what it sends; the rest comes from the cluster itself.
    | {"STRIPE_LOG", "KUBECONFIG", "DOORBUSTER_OPERATOR_NAMESPACE", "DOORBUSTER_OPERATOR_IDENTITY"}
)
_PREFIX = "DOORBUSTER_"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One Deployment of the services' image.

    ``config`` is "module:class" of its settings, ``ports`` the usual ones of its stores and providers. ``public``
    parts are called from outside and balanced by Kubernetes; all others are found by DNS, one address a copy, and
    their callers balance. Parts that do not ``scale`` have one copy at work, whatever their number.
    """

    name: str
    does: str
    config: str
    command: tuple[str, ...] = ()
    migrates: bool = False
    public: bool = False
    replicas: int = 2
    image: str = "doorbuster/services"
    ports: tuple[int, ...] = ()
    memory: str = "320Mi"
    scales: bool = True

    @property
    def argv(self) -> tuple[str, ...]:
        """The arguments of the image's program."""
        return self.command or (self.name,)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One variable of a part's environment; exactly one of ``key``, ``secret``, ``neighbour`` says where it comes from.

    ``schema`` is the JSON type of a value, or "text" for what the program parses itself, which may look like a number;
    a ``required`` one has no default in the program.
    """

    variable: str
    key: str = ""
    secret: str = ""
    neighbour: str = ""
    schema: str = "string"
    required: bool = False


PARTS = (
    Part(
        name="gateway",
        does="the way in: routing, tokens, rate limits, both dialects of the API",
        config="doorbuster.gateway.config:Config",
        public=True,
        ports=(6379,),
    ),
    Part(
        name="user",
        does="accounts, sessions, addresses",
        config="doorbuster.user.config:Config",
        migrates=True,
        ports=(3306,),
    ),
    Part(
        name="product",
        does="the catalogue, reviews and pictures",
        memory="768Mi",  # one large picture takes half a gigabyte while its thumbnails are made
        config="doorbuster.product.config:ProductConfig",
        ports=(27017, 6379, 9092, 443),
    ),
    Part(
        name="search",
        does="the product index",
        config="doorbuster.search.config:SearchConfig",
        ports=(9200, 6379, 9092),
    ),
    Part(
        name="cart",
        does="carts",
        config="doorbuster.cart.config:CartConfig",
        migrates=True,
        ports=(5432, 6379, 9092),
    ),
    Part(
        name="checkout",
        does="orders before they are paid, and the running sales",
        config="doorbuster.checkout.config:CheckoutConfig",
        migrates=True,
        ports=(5432, 6379, 9092),
    ),
    Part(
        name="inventory",
        does="the truth about units, and the gate of every sale",
        config="doorbuster.inventory.config:Config",
        migrates=True,
        ports=(5432, 6379, 9092),
    ),
    Part(
        name="payment",
        does="payments, captures and refunds through the payment service provider",
        config="doorbuster.payment.config:PaymentConfig",
        migrates=True,
        ports=(5432, 9092, 443),
    ),
    Part(
        name="order",
        does="orders after they were placed: history, shipments, returns",
        config="doorbuster.order.config:OrderConfig",
        migrates=True,
        ports=(3306, 9092),
    ),
    Part(
        name="notification",
        does="letters and text messages",
        config="doorbuster.notification.config:NotificationConfig",
        migrates=True,
        ports=(5432, 9092, 25, 465, 587, 443),
    ),
    Part(
        name="cdc",
        does="the watcher that makes and repairs the connectors of change data capture",
        config="doorbuster.cdc.config:CdcConfig",
        command=("cdc", "watch"),
        replicas=1,
        scales=False,
        ports=(8083, 5432, 27017),
    ),
)
OPERATOR = Part(
    name="operator",
    does="the operator: turns FlashSales and InventoryPools into armed stock and warm capacity",
    config="doorbuster_operator.config:OperatorConfig",
    image="doorbuster/operator",
    scales=False,
    ports=(443, 6443, 9092),
)
NAMES = tuple(part.name for part in PARTS)


def camel(variable: str) -> str:
    """Return the key of a value: DOORBUSTER_TAX_PERCENT is taxPercent."""
    first, *others = variable.removeprefix(_PREFIX).lower().split("_")
    return first + "".join(word.capitalize() for word in others)


def secret_key(variable: str) -> str:
    """Return the key in a Secret: DOORBUSTER_REDIS_URL is redis-url."""
    return variable.removeprefix(_PREFIX).lower().replace("_", "-")


def fields(part: Part) -> Iterator["dataclasses.Field[Any]"]:
    """The program's settings in their order, its own first; those of every process follow."""
    module, _, name = part.config.partition(":")
    own = getattr(importlib.import_module(module), name)
    common = {field.name for field in dataclasses.fields(ProcessConfig)}
    yield from (field for field in dataclasses.fields(own) if field.name not in common)
    yield from dataclasses.fields(ProcessConfig)


def settings(part: Part) -> list[Setting]:
    """What a part is told through its environment, without what is mounted or fixed."""
    found = []
    for field in fields(part):
        variable = field.metadata["env"]
        if variable in FIXED or variable in MOUNTED:
            continue
        required = field.default is dataclasses.MISSING
        neighbour = variable.removeprefix(_PREFIX).removesuffix("_URLS").lower()
        if not field.repr:
            found.append(
                Setting(variable=variable, secret=secret_key(variable), required=required)
            )
        elif variable.endswith("_URLS") and neighbour in NAMES:
            found.append(Setting(variable=variable, key=camel(variable), neighbour=neighbour))
        else:
            kinds = {int: "integer", float: "number", boolean: "boolean", str: "string"}
            found.append(
                Setting(
                    variable=variable,
                    key=camel(variable),
                    schema=kinds.get(field.metadata["parse"], "text"),
                    required=required,
                )
            )
    return found


def mounts(part: Part) -> set[str]:
    """Which of key and public keys the part reads."""
    return {MOUNTED[f.metadata["env"]] for f in fields(part) if f.metadata["env"] in MOUNTED}


def neighbours(part: Part) -> list[str]:
    """The parts that this one calls, in the order of its settings."""
    return [each.neighbour for each in settings(part) if each.neighbour]


def callers(part: Part) -> list[str]:
    """The parts that call this one."""
    return [other.name for other in (*PARTS, OPERATOR) if part.name in neighbours(other)]
