"""The buyers' own history: one JSON line per fact, written as it happens, read back by the checker.

Lines hold no e-mail address, no password and no card number: a buyer is ``b00001`` and a user id.
``at`` is monotonic and ``wall`` is Unix time, both in milliseconds of the crowd's machine.

A call's line is with the kernel before the call is on its way, so a crowd that is killed leaves a history in which
every call that the shop may have seen is there, at worst without its answer. A last line that is torn is skipped
and counted; any other broken line is an error. docs/buyers.md describes every record.
"""

import collections
import pathlib
import time
from collections.abc import Iterator
from typing import BinaryIO, Literal

import msgspec

Op = Literal["checkout", "pay", "status"]
Outcome = Literal["ok", "fail", "unknown"]
EndReason = Literal["paid", "sold_out", "left", "no_card", "closed", "refused", "gave_up"]
FLUSH_BYTES = 64 * 1024
FORMAT = 1


class HistoryError(Exception):
    """The history is not one: it has no run, an answer without its call, a broken line, or a format of the future."""


class Run(msgspec.Struct, frozen=True, tag_field="kind", tag="run"):
    """The first line: what was played. ``open_ms`` is the authority's clock, ``offset_ms`` = authority - wall."""

    seed: int
    sale: str
    product: str
    open_ms: int
    offset_ms: float
    at: float
    wall: float
    units: int | None = None
    format: int = FORMAT


class Enrolled(msgspec.Struct, frozen=True, tag_field="kind", tag="buyer", omit_defaults=True):
    """One buyer of the crowd and what the plan makes of him."""

    buyer: str
    user: str
    is_able: bool


class Invoke(msgspec.Struct, frozen=True, tag_field="kind", tag="invoke", omit_defaults=True):
    """A call was sent."""

    call: int
    buyer: str
    op: Op
    key: str
    at: float
    wall: float
    order: str | None = None


class Answered(msgspec.Struct, frozen=True, tag_field="kind", omit_defaults=True):
    """What the three ends of a call have in common; ``millis`` is its duration."""

    call: int
    buyer: str
    op: Op
    key: str
    at: float
    wall: float
    millis: float
    status: int = 0
    code: str = ""
    order: str | None = None
    amount: str | None = None
    pay_by: str | None = None
    transaction: str | None = None


class Ok(Answered, frozen=True, tag="ok"):
    """The call did what it was sent for."""


class Fail(Answered, frozen=True, tag="fail"):
    """The call was refused for certain."""


class Unknown(Answered, frozen=True, tag="unknown"):
    """Nobody told the buyer: the call may have had its effect or not."""


class Ended(msgspec.Struct, frozen=True, tag_field="kind", tag="end", omit_defaults=True):
    """The buyer went home."""

    buyer: str
    reason: EndReason
    at: float
    wall: float
    code: str = ""


class Sample(msgspec.Struct, frozen=True, tag_field="kind", tag="sample", omit_defaults=True):
    """The counters of the product and the sums of its ledger, read in one statement; I1, I2 and I6 while it runs."""

    at: float
    wall: float
    available: int
    reserved: int
    sold: int
    total: int
    ledger_reserved: int
    ledger_sold: int
    ledger_returned: int = 0


class Finished(msgspec.Struct, frozen=True, tag_field="kind", tag="finish", omit_defaults=True):
    """The last line: everybody went home or was given up. Without it the run was cut off."""

    at: float
    wall: float


class Torn(msgspec.Struct, frozen=True, tag_field="kind", tag="torn", omit_defaults=True):
    """Never written: what the reader yields for a last line that the crowd's death tore."""


Record = Run | Enrolled | Invoke | Ok | Fail | Unknown | Ended | Sample | Finished | Torn
_RECORDS = msgspec.json.Decoder(Record)
_OUTCOMES: dict[Outcome, type[Answered]] = {"ok": Ok, "fail": Fail, "unknown": Unknown}


def now_ms() -> tuple[float, float]:
    """Return (monotonic, wall) in milliseconds."""
    return time.monotonic() * 1000, time.time() * 1000


class Recorder:
    """Appends records to a file and counts them for the live display; close it to have the last lines."""

    def __init__(self, path: pathlib.Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = path.open("wb", buffering=FLUSH_BYTES)
        self._encoder = msgspec.json.Encoder()
        self._calls = 0
        self.codes: collections.Counter[str] = collections.Counter()
        self.endings: collections.Counter[str] = collections.Counter()

    def write(self, record: Record) -> None:
        """Append one record."""
        self._file.write(self._encoder.encode(record) + b"\n")

    def invoke(self, buyer: str, op: Op, key: str, order: str | None = None) -> Invoke:
        """Record that a call is sent now, and return its record for ``answered``."""
        self._calls += 1
        at, wall = now_ms()
        call = Invoke(call=self._calls, buyer=buyer, op=op, key=key, at=at, wall=wall, order=order)
        self.write(call)
        self._file.flush()
        return call

    def answered(
        self,
        call: Invoke,
        outcome: Outcome,
        *,
        status: int = 0,
        code: str = "",
        order: str | None = None,
        amount: str | None = None,
        pay_by: str | None = None,
        transaction: str | None = None,
    ) -> None:
        """Record how a call ended."""
        at, wall = now_ms()
        self.codes[code or outcome] += 1
        record = _OUTCOMES[outcome](
            call=call.call,
            buyer=call.buyer,
            op=call.op,
            key=call.key,
            at=at,
            wall=wall,
            millis=at - call.at,
            status=status,
            code=code,
            order=order or call.order,
            amount=amount,
            pay_by=pay_by,
            transaction=transaction,
        )
        self.write(record)  # type: ignore[arg-type] # one of the three by the table above

    def ended(self, buyer: str, reason: EndReason, code: str = "") -> None:
        """Record that a buyer is through."""
        at, wall = now_ms()
        self.endings[reason] += 1
        self.write(Ended(buyer=buyer, reason=reason, at=at, wall=wall, code=code))

    def sampled(self, sample: Sample) -> None:
        """Record a look at the counters, and bring all that is buffered to the kernel."""
        self.write(sample)
        self._file.flush()

    def finished(self) -> None:
        """Record that the run came to its end."""
        at, wall = now_ms()
        self.write(Finished(at=at, wall=wall))

    def close(self) -> None:
        """Write what is buffered and close the file."""
        self._file.close()


def read_history(path: pathlib.Path) -> Iterator[Record]:
    """Yield the records of a history, :class:`Torn` for a torn last line.

    Raises HistoryError on any other broken line; it names the line, never its content.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            is_whole = line.endswith(b"\n")
            try:
                record = _RECORDS.decode(line)
            except msgspec.DecodeError as error:
                if is_whole:
                    raise HistoryError(f"line {number} of {path.name} is no record") from error
                record = Torn()
            if isinstance(record, Run) and record.format > FORMAT:
                raise HistoryError(
                    f"{path.name} has format {record.format}, this program reads up to {FORMAT}"
                )
            yield record
