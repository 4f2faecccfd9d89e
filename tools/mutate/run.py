"""A run over properties: several at once, one outcome each, one summary."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec

from devstack.stack import Stack
from doorbuster.kit import client
from doorbuster_operator.testing.cluster import RefusedByServerError

from . import capacity, pools, sales, topics  # noqa: F401 (they enter their mutations)
from .stage import Stage
from .table import MUTATIONS, Verdict

AT_ONCE = 10
OPERATOR = "operator"
SUPERVISE_EVERY_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One property: its verdict, or why it counts as ignored."""

    path: str
    seconds: float
    verdict: Verdict | None = None
    problem: str = ""

    def line(self) -> str:
        """Return the outcome in one line."""
        if self.verdict is None:
            return f"IGNORED  {self.path}: {self.problem}"
        if self.verdict.words:
            return f"refused  {self.path} ({self.seconds:.1f} s): {self.verdict.words}"
        seen = self.verdict
        return (
            f"followed {self.path} ({self.seconds:.1f} s): {seen.seen_in}, "
            f"{seen.there_seconds:.2f} s there, {seen.back_seconds:.2f} s back"
        )


class Summary(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The last line of a run."""

    properties_in_schema: int
    mutated: int
    followed: int
    refused_with_message: int
    ignored: int
    seconds: float


@asynccontextmanager
async def supervised(stack: Stack) -> AsyncIterator[None]:
    """Start the operator again whenever it has left, as a Deployment would: on a busy machine it may lose its lease."""

    async def supervise() -> None:
        while True:
            await asyncio.sleep(SUPERVISE_EVERY_SECONDS)
            if not await asyncio.to_thread(stack.is_running, OPERATOR):
                await asyncio.to_thread(stack.restart, OPERATOR)

    task = asyncio.create_task(supervise(), name="supervise")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def mutate(stage: Stage, path: str) -> Outcome:
    """Run the mutation of one property; a property without one is ignored, and so is what does not follow."""
    began = time.monotonic()
    mutation = MUTATIONS.get(path)
    if mutation is None:
        return Outcome(path=path, seconds=0.0, problem="nobody has said how to mutate it")
    try:
        verdict = await mutation(stage)
    except (
        AssertionError,
        RefusedByServerError,
        client.RefusedError,
        client.UnavailableError,
    ) as error:
        problem = f"{type(error).__name__}: {error}"
        return Outcome(path=path, seconds=time.monotonic() - began, problem=problem)
    return Outcome(path=path, seconds=time.monotonic() - began, verdict=verdict)


async def mutate_all(
    stage: Stage, paths: Iterable[str], told: Callable[[str], None]
) -> list[Outcome]:
    """Mutate each property, some at once, and tell each outcome as it comes."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(path: str) -> Outcome:
        async with limit:
            outcome = await mutate(stage, path)
        told(outcome.line())
        return outcome

    return list(await asyncio.gather(*map(one, paths)))


def summarize(outcomes: Sequence[Outcome], in_schema: int, seconds: float) -> Summary:
    """Count what became of the properties; one that was not run at all is ignored as well."""
    verdicts = [outcome.verdict for outcome in outcomes if outcome.verdict is not None]
    refused = sum(1 for verdict in verdicts if verdict.words)
    return Summary(
        properties_in_schema=in_schema,
        mutated=sum(1 for outcome in outcomes if outcome.path in MUTATIONS),
        followed=len(verdicts) - refused,
        refused_with_message=refused,
        ignored=in_schema - len(verdicts),
        seconds=round(seconds, 1),
    )
