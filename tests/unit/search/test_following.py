"""Following the catalogue without servers: late, repeated and old changes, deletions, an index being built."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from doorbuster.contracts import internal
from doorbuster.kit import ids
from doorbuster.kit.consumer import Delivery
from doorbuster.search.domain import changes, documents
from doorbuster.search.ports import Write
from doorbuster.search.usecases.bury import PAGE, GhostSweep, Undertaker
from doorbuster.search.usecases.fill import Filler
from doorbuster.search.usecases.follow import Follower

PHONE = ids.product_id("phone")
READ = changes.Reader("https://cdn.example/")


@dataclass
class FakeIndex:
    """Documents by alias, written as Elasticsearch does with external versions."""

    stored: dict[str, dict[str, Write]] = field(default_factory=lambda: defaultdict(dict))
    building: bool = False
    filled: bool = True

    async def is_building(self) -> bool:
        return self.building

    async def write(self, alias: str, writes: Sequence[Write]) -> int:
        written = 0
        for write in writes:
            known = self.stored[alias].get(write.product_id)
            if known is None or write.version > known.version:
                self.stored[alias][write.product_id] = write
                written += 1
        return written

    async def versions(self, alias: str, product_ids: Sequence[str]) -> dict[str, int]:
        found = self.stored[alias]
        return {name: found[name].version for name in product_ids if name in found}

    async def living(self, *, after: str, limit: int) -> list[str]:
        stored = sorted(self.stored[documents.ALIAS].items())
        names = [name for name, write in stored if not write.document["gone"] and name > after]
        return names[:limit]

    async def ensure(self) -> bool:
        return not self.filled

    async def mark_filled(self, alias: str) -> None:
        self.filled = True

    async def begin_next(self) -> str:
        self.building = True
        self.stored[documents.NEXT_ALIAS] = {}
        return "products-2"

    async def swap(self, name: str) -> None:
        self.building = False
        self.stored[documents.ALIAS] = self.stored.pop(documents.NEXT_ALIAS)

    def title(self, alias: str = documents.ALIAS) -> str | None:
        write = self.stored[alias].get(PHONE)
        return None if write is None or write.document["gone"] else write.document["title"]


@dataclass
class FakeProducts:
    """What product sells now, by id; pages of one."""

    entries: dict[str, internal.CatalogueEntry] = field(default_factory=dict)

    async def sold(self, product_ids: Sequence[str]) -> set[str]:
        return set(product_ids) & set(self.entries)

    async def page(self, after: str | None, size: int) -> internal.CataloguePage:
        names = sorted(name for name in self.entries if name > (after or ""))
        rest = names[1:]
        return internal.CataloguePage(
            entries=[self.entries[name] for name in names[:1]],
            next=names[0] if rest else None,
            total=len(self.entries),
        )


def record(version: int | None, title: str = "Phone") -> changes.Change:
    key = msgspec.json.encode({"id": PHONE})
    if version is None:
        change = READ(key, None, {})
    else:
        document = {
            "_id": PHONE,
            "sku": "phone",
            "title": title,
            "category": "smartphones",
            "priceMinor": 89900,
            "currency": "EUR",
            "keywords": {"_0": "mobile", "_1": "ios"},
            "images": {"_0": {"imageId": "a", "thumbnail": "p/a-320.webp"}},
            "manufacturer": {"name": "Apple", "country": "US"},
            "rating": {"sum": 9, "count": 2},
            "availableQty": 5,
            "createdAt": 1_795_354_678_951,
            "version": version,
        }
        change = READ(key, msgspec.json.encode(document), {})
    assert change is not None
    return change


async def take_in(follower: Follower, *seen: changes.Change) -> None:
    await follower.take_in(
        [Delivery(event=change, topic=changes.TOPIC, carrier={}) for change in seen]
    )


def following() -> tuple[Follower, FakeIndex, FakeProducts]:
    index, products = FakeIndex(), FakeProducts()
    return Follower(index, Undertaker(index, products)), index, products


def test_a_captured_document_is_read_as_product_would_list_it() -> None:
    entry = record(7).entry
    assert entry is not None
    assert entry.keywords == ["mobile", "ios"]
    assert entry.thumbnail == "https://cdn.example/p/a-320.webp"
    assert (entry.rating, entry.rating_count, entry.version) == (4.5, 2, 7)
    assert entry.manufacturer == "Apple"


def test_the_rest_of_a_document_that_was_deleted_meanwhile_is_skipped() -> None:
    key = msgspec.json.encode({"id": PHONE})
    assert READ(key, b'{"version":2,"_id":"x"}', {}) is None


def test_a_record_that_is_no_json_is_refused() -> None:
    with pytest.raises(msgspec.MsgspecError):
        READ(b"{", b"{}", {})


async def test_an_old_change_told_late_changes_nothing() -> None:
    follower, index, _ = following()
    await take_in(follower, record(3, "New"))
    await take_in(follower, record(2, "Old"))
    await take_in(follower, record(3, "Again"))
    assert index.title() == "New"


async def test_a_deleted_product_stays_away_when_everything_is_told_again() -> None:
    follower, index, _ = following()
    await take_in(follower, record(1), record(2))
    await take_in(follower, record(None))
    assert index.title() is None
    for change in (record(1), record(2), record(None)):
        await take_in(follower, change)
        assert index.title() is None


async def test_a_product_made_anew_survives_the_deletion_of_the_old_one_told_again() -> None:
    follower, index, products = following()
    await take_in(follower, record(2), record(None))
    reborn = record(4, "Reborn")
    assert reborn.entry is not None
    products.entries[PHONE] = reborn.entry
    for change in (reborn, record(2), record(None), reborn):
        await take_in(follower, change)
        assert index.title() == "Reborn"


async def test_changes_go_into_both_indices_while_one_is_built() -> None:
    follower, index, _ = following()
    index.building = True
    await take_in(follower, record(1))
    assert index.title(documents.ALIAS) == index.title(documents.NEXT_ALIAS) == "Phone"
    await take_in(follower, record(None))
    assert index.title(documents.ALIAS) is index.title(documents.NEXT_ALIAS) is None


async def test_a_rebuilt_index_keeps_the_later_change_and_drops_what_is_not_sold() -> None:
    follower, index, products = following()
    old, new = record(1, "Old"), record(2, "New")
    assert old.entry is not None
    products.entries[PHONE] = old.entry
    ghost = Write(product_id="prod_ghost", version=1, document={"gone": False})
    await index.write(documents.ALIAS, [ghost])
    await index.begin_next()
    await take_in(follower, new)
    seen: list[Any] = []
    filler = Filler(index, products)
    await filler._fill(documents.NEXT_ALIAS, lambda done, total: seen.append((done, total)))
    await index.swap("products-2")
    assert index.title() == "New"
    assert set(index.stored[documents.ALIAS]) == {PHONE}
    assert seen == [(1, 1)]


async def test_the_first_index_is_filled_once() -> None:
    _, index, products = following()
    index.filled = False
    entry = record(1).entry
    assert entry is not None
    products.entries[PHONE] = entry
    filler = Filler(index, products)
    await filler.fill_first()
    assert index.title() == "Phone"
    index.stored.clear()
    await filler.fill_first()
    assert index.title() is None


async def test_a_product_whose_deletion_was_never_told_is_buried_by_the_sweep() -> None:
    _, index, products = following()
    sold = record(7).entry
    assert sold is not None
    names = sorted(ids.product_id(f"phone-{number}") for number in range(PAGE + 2))
    for name in names:
        write = Write(product_id=name, version=7, document={"gone": False, "title": name})
        await index.write(documents.ALIAS, [write])
        products.entries[name] = sold
    for ghost in (names[3], names[PAGE + 1]):
        del products.entries[ghost]
    sweep = GhostSweep(index, Undertaker(index, products))
    assert await sweep.step(), "there is a second page"
    assert not await sweep.step()
    left = await index.living(after="", limit=2 * PAGE)
    assert left == [name for name in names if name in products.entries]
    assert index.stored[documents.ALIAS][names[3]].version == 8
    assert await sweep.step(), "it begins again"


async def test_a_ghost_that_is_sold_again_comes_back_after_its_burial() -> None:
    follower, index, products = following()
    await take_in(follower, record(7))
    sweep = GhostSweep(index, Undertaker(index, products))
    assert not await sweep.step()
    assert index.title() is None
    await take_in(follower, record(9, "Phone again"))  # as product counts on: 8 was its deletion
    assert index.title() == "Phone again"
