"""The platform on real servers, with short deadlines, for rows of the crash table; one copy of each service.

One copy, so that a call meets the process whose failpoint is armed. The deadlines are as short as the calls that
they must outlast allow.
"""

import itertools

import pytest

from buyers import enrol
from chaos import scene
from devstack.errors import StackError

SERVICES = (
    *("user", "inventory", "checkout-0", "payment", "order", "notification"),
    *("gateway-0", "nginx"),
)
SETTINGS = {
    "DOORBUSTER_PERMIT_SECONDS": "4",
    "DOORBUSTER_PIN_SWEEP_SECONDS": "5",
    "DOORBUSTER_PAYMENT_ANSWER_SECONDS": "4",
    "DOORBUSTER_PAYMENT_RECOVER_SECONDS": "6",
    "DOORBUSTER_PAYMENT_ORDER_KNOWN_SECONDS": "4",
}


@pytest.fixture(scope="session")
def shop(stack):
    """The stack of these tests; what ran before runs anew, with these settings."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        try:
            for part in SERVICES:
                stack.stop(part)
            stack.up(only=SERVICES)
        except StackError as error:
            pytest.fail(str(error), pytrace=False)
    return stack, enrol.CredentialBook(), itertools.count()


@pytest.fixture
async def stage(shop):
    """The stack as it usually is, before and after."""
    stack, book, turns = shop
    opened = scene.Stage(stack, SETTINGS, book, turns)
    try:
        yield opened
    finally:
        await opened.stores.behave()
        await opened.close()
