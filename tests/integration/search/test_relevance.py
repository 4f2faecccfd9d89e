"""Judged queries over a small fixed catalogue: what buyers type, and what must be among the first three."""

import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from doorbuster.contracts import catalogue, internal
from doorbuster.kit import ids
from doorbuster.search import storage
from doorbuster.search.domain import documents
from doorbuster.search.ports import Write
from doorbuster.search.usecases.live import LiveView
from doorbuster.search.usecases.look import Search

SHARE = 0.95
COLOURS = ("Black", "White", "Blue")
# Manufacturer, category, keywords, price, whether it comes in colours, titles.
FAMILIES: tuple[tuple[str, str, str, int, bool, str], ...] = (
    (
        *("Apple", "smartphones", "mobile phone, cell phone, ios", 89900, True),
        "iPhone 15; iPhone 15 Pro; iPhone 15 Pro Max; iPhone 14; iPhone SE",
    ),
    (
        *("Samsung", "smartphones", "mobile phone, android", 79900, True),
        "Galaxy S24; Galaxy S24 Ultra; Galaxy A55; Galaxy Z Flip 5",
    ),
    (
        *("Google", "smartphones", "mobile phone, android", 69900, True),
        "Pixel 8; Pixel 8 Pro; Pixel 7a",
    ),
    (
        *("Apple", "phone-cases", "cover, protection", 3900, True),
        "Silicone Case for iPhone 15; Leather Case for iPhone 14",
    ),
    (*("Spigen", "phone-cases", "cover, bumper", 1900, True), "Rugged Armor Case for Galaxy S24"),
    (
        *("Apple", "laptops", "notebook, macos, computer", 149900, False),
        "MacBook Air 13; MacBook Pro 14; MacBook Pro 16",
    ),
    (
        *("Lenovo", "laptops", "notebook, windows, computer", 119900, False),
        "ThinkPad X1 Carbon; ThinkPad T14; IdeaPad Slim 5",
    ),
    (
        *("Dell", "laptops", "notebook, windows, computer", 129900, False),
        "XPS 13; XPS 15; Inspiron 14",
    ),
    (
        *("Sony", "headphones", "noise cancelling, bluetooth, over-ear", 34900, True),
        "WH-1000XM5 Wireless Headphones; WH-1000XM4 Wireless Headphones",
    ),
    (
        *("Sony", "headphones", "earbuds, bluetooth, in-ear", 24900, True),
        "WF-1000XM5 Earbuds; LinkBuds S",
    ),
    (
        *("Bose", "headphones", "noise cancelling, bluetooth", 32900, True),
        "QuietComfort 45; QuietComfort Earbuds II",
    ),
    (*("Apple", "headphones", "earbuds, bluetooth", 22900, False), "AirPods Pro 2; AirPods Max"),
    (*("Nikon", "cameras", "mirrorless, photography", 199900, False), "Z6 II Camera; Z50 Camera"),
    (
        *("Canon", "cameras", "mirrorless, dslr, photography", 189900, False),
        "EOS R6 Mark II; EOS R10; PowerShot G7 X",
    ),
    (
        *("Canon", "printers", "ink, scanner, wifi", 12900, False),
        "PIXMA TS5350 Inkjet Printer; MAXIFY GX4050",
    ),
    (*("HP", "printers", "toner, laser", 15900, False), "LaserJet Pro M110we; DeskJet 2720"),
    (
        *("Samsung", "televisions", "tv, smart tv, 4k", 99900, False),
        "QLED 55 Q60C; The Frame 65; Crystal UHD 43",
    ),
    (
        *("LG", "televisions", "tv, smart tv, oled", 139900, False),
        "OLED C3 55; OLED G3 65; NanoCell 50",
    ),
    (
        *("DeLonghi", "coffee-machines", "espresso, kitchen", 39900, False),
        "Magnifica S Espresso Machine; Dedica Pump Espresso",
    ),
    (
        *("Nespresso", "coffee-machines", "capsule, pod, kitchen", 14900, True),
        "Vertuo Pop; Essenza Mini",
    ),
    (
        *("Philips", "kitchen", "air fryer, cooking", 12900, False),
        "Airfryer XXL; Hand Blender 5000",
    ),
    (
        *("KitchenAid", "kitchen", "baking, mixer", 49900, True),
        "Artisan Stand Mixer; Classic Kettle",
    ),
    (
        *("Tefal", "kitchen", "cookware, frying", 4900, False),
        "Non-Stick Frying Pan 28 cm; Saucepan Set",
    ),
    (*("Dyson", "vacuum-cleaners", "cordless, hoover", 59900, False), "V15 Detect; V8 Absolute"),
    (
        *("iRobot", "vacuum-cleaners", "robot vacuum, cleaning", 44900, False),
        "Roomba j7; Roomba Combo i5",
    ),
    (
        *("Nike", "shoes", "running, sneakers, trainers", 12900, True),
        "Air Zoom Pegasus 40; Revolution 7; Air Max 90",
    ),
    (
        *("Adidas", "shoes", "running, sneakers, trainers", 13900, True),
        "Ultraboost Light; Stan Smith; Samba OG",
    ),
    (
        *("Garmin", "watches", "smartwatch, gps, running watch", 39900, True),
        "Forerunner 265; Fenix 7; Venu 3",
    ),
    (*("Casio", "watches", "digital watch, wristwatch", 6900, True), "G-Shock GA-2100; F-91W"),
    (*("Apple", "watches", "smartwatch", 44900, False), "Watch Series 9; Watch Ultra 2"),
    (
        *("Nintendo", "games", "console, gaming", 34900, False),
        "Switch OLED; Switch Lite; Zelda Tears of the Kingdom",
    ),
    (
        *("Sony", "games", "console, gaming, ps5", 54900, False),
        "PlayStation 5; DualSense Controller",
    ),
    (
        *("Microsoft", "games", "console, gaming", 49900, False),
        "Xbox Series X; Xbox Wireless Controller",
    ),
    (
        *("Lego", "toys", "bricks, building set, children", 7900, False),
        "Star Wars Millennium Falcon; Technic Porsche 911; City Police Station",
    ),
    (
        *("Ravensburger", "toys", "jigsaw, puzzle, children", 1900, False),
        "Puzzle 1000 Pieces Neuschwanstein; Memory Game",
    ),
    (
        *("IKEA", "furniture", "bookcase, shelf, living room", 7900, True),
        "Billy Bookcase; Kallax Shelf; Lack Table",
    ),
    (
        *("Herman Miller", "furniture", "office chair, ergonomic", 129900, False),
        "Aeron Chair; Embody Chair",
    ),
    (
        *("Logitech", "accessories", "mouse, wireless, computer", 9900, True),
        "MX Master 3S Mouse; M185 Mouse",
    ),
    (
        *("Logitech", "accessories", "keyboard, wireless, computer", 10900, False),
        "MX Keys Keyboard; K380 Keyboard",
    ),
    (
        *("Anker", "accessories", "charger, usb-c, power bank", 4900, True),
        "PowerCore 20000 Power Bank; Nano 65W Charger",
    ),
    (
        *("SanDisk", "accessories", "memory card, storage", 2900, False),
        "Extreme Pro SDXC 128GB; Ultra microSD 256GB",
    ),
    (
        *("Oral-B", "personal-care", "electric toothbrush, dental", 7900, True),
        "iO 6 Toothbrush; Pro 3 Toothbrush",
    ),
    (
        *("Café Royal", "groceries", "coffee beans, café", 1500, False),
        "Crème Brûlée Coffee Beans; Lungo Capsules",
    ),
)
# What is typed, and how the title of a right answer begins; alternatives behind a bar.
JUDGED: tuple[tuple[str, str], ...] = (
    *(("iPhon", "iPhone"), ("ipone", "iPhone"), ("iphone", "iPhone"), ("IPHONE 15", "iPhone 15")),
    *(("iphone15", "iPhone 15"), ("iphone 15 pro max", "iPhone 15 Pro Max"), ("ihpone", "iPhone")),
    *(("iphnoe 14", "iPhone 14"), ("galaxy s24", "Galaxy S24"), ("samsung galaxy", "Galaxy")),
    *(("samsng galaxy", "Galaxy"), ("galxy s24 ultra", "Galaxy S24 Ultra"), ("gala", "Galaxy")),
    *(("pixel 8 pro", "Pixel 8 Pro"), ("google phone", "Pixel"), ("pixle", "Pixel")),
    *(("smartphones", "iPhone|Galaxy|Pixel"), ("mobile phones", "iPhone|Galaxy|Pixel")),
    *(("android phone", "Galaxy|Pixel"), ("iphone case", "Silicone Case|Leather Case")),
    *(("leather case", "Leather Case"), ("blue iphone 15", "iPhone 15"), ("white pixel", "Pixel")),
    *(
        ("laptop", "MacBook|ThinkPad|IdeaPad|XPS|Inspiron"),
        ("macbok", "MacBook"),
        ("mac book", "MacBook"),
    ),
    *(("notebooks", "MacBook|ThinkPad|IdeaPad|XPS|Inspiron"), ("thinkpad x1", "ThinkPad X1")),
    *(("lenovo laptop", "ThinkPad|IdeaPad"), ("dell xps", "XPS"), ("xps 13", "XPS 13")),
    *(("wh-1000xm4", "WH-1000XM4"), ("wh1000xm5", "WH-1000XM5"), ("sony wh1000xm4", "WH-1000XM4")),
    *(("1000xm5", "WH-1000XM5|WF-1000XM5"), ("sony headphones", "WH-1000|WF-1000|LinkBuds")),
    *(("wireless headphone", "WH-1000"), ("hedphones", "WH-1000|WF-1000|LinkBuds|Quiet|AirPods")),
    *(("noise cancelling", "WH-1000|Quiet"), ("airpods", "AirPods"), ("air pods", "AirPods")),
    *(
        ("bose quietcomfort", "QuietComfort"),
        ("quietcomfrt", "QuietComfort"),
        ("earbud", "WF-|Link|QuietComfort E|AirPods"),
    ),
    *(
        ("nikon camera", "Z6|Z50"),
        ("cameras", "Z6|Z50|EOS|PowerShot"),
        ("cannon camera", "EOS|PowerShot"),
    ),
    *(
        ("eos r6", "EOS R6"),
        ("mirrorless", "Z6|Z50|EOS|PowerShot"),
        ("printer", "PIXMA|MAXIFY|LaserJet|DeskJet"),
    ),
    *(
        ("laser jet", "LaserJet"),
        ("ts5350", "PIXMA TS5350"),
        ("smart tv", "QLED|The Frame|Crystal|OLED|Nano"),
    ),
    *(
        ("lg oled", "OLED"),
        ("televison", "QLED|The Frame|Crystal|OLED|Nano"),
        ("frame tv", "The Frame"),
    ),
    *(("espresso machine", "Magnifica"), ("coffee machines", "Magnifica|Dedica|Vertuo|Essenza")),
    *(
        ("expresso", "Magnifica|Dedica|Vertuo|Essenza"),
        ("nespreso", "Vertuo|Essenza"),
        ("airfryer", "Airfryer"),
    ),
    *(
        ("air fryer", "Airfryer"),
        ("stand mixer", "Artisan"),
        ("frying pans", "Non-Stick Frying Pan"),
    ),
    *(
        ("cordless vacuum", "V15|V8"),
        ("robot vacuum", "Roomba"),
        ("rumba", "Roomba"),
        ("roomba j7", "Roomba j7"),
    ),
    *(
        ("nike running shoes", "Air Zoom|Revolution|Air Max"),
        ("addidas shoes", "Ultraboost|Stan|Samba"),
    ),
    *(
        ("sneakers", "Air |Revolution|Ultraboost|Stan|Samba"),
        ("air max", "Air Max"),
        ("stan smith white", "Stan Smith"),
    ),
    *(
        ("watches", "Forerunner|Fenix|Venu|G-Shock|F-91W|Watch"),
        ("gshock", "G-Shock"),
        ("f91w", "F-91W"),
    ),
    *(
        ("garmin watch", "Forerunner|Fenix|Venu"),
        ("forruner 265", "Forerunner 265"),
        ("apple watch", "Watch"),
    ),
    *(
        ("playstation", "PlayStation"),
        ("play station 5", "PlayStation"),
        ("ps5 controller", "DualSense"),
    ),
    *(
        ("xbox", "Xbox"),
        ("nintendo switch", "Switch"),
        ("zelda", "Zelda"),
        ("lego star wars", "Star Wars"),
    ),
    *(
        ("puzzles", "Puzzle"),
        ("bookcases", "Billy"),
        ("office chair", "Aeron|Embody"),
        ("black billy", "Billy"),
    ),
    *(
        ("wireless mouse", "MX Master|M185"),
        ("mx master", "MX Master"),
        ("keybord", "MX Keys|K380"),
    ),
    *(
        ("usb-c charger", "Nano 65W|PowerCore"),
        ("powerbank", "PowerCore"),
        ("microsd 256gb", "Ultra microSD"),
    ),
    *(("toothbrushes", "iO|Pro 3"), ("creme brulee", "Crème"), ("cafe royal", "Crème|Lungo")),
)


def _entries() -> list[internal.CatalogueEntry]:
    entries = []
    for maker, category, keywords, price, coloured, titles in FAMILIES:
        for title, colour in itertools.product(titles.split("; "), COLOURS if coloured else ("",)):
            sku = f"p-{len(entries)}"
            entries.append(
                internal.CatalogueEntry(
                    product_id=ids.product_id(sku),
                    sku=sku,
                    title=f"{title} {colour}".strip(),
                    description=f"{title} by {maker}, with two years of warranty. Ships in a day.",
                    category=category,
                    keywords=keywords.split(", "),
                    manufacturer=maker,
                    price_minor=price + len(entries),
                    currency="EUR",
                    thumbnail=None,
                    rating=None,
                    rating_count=0,
                    available_qty=len(entries) % 4,
                    created_at=datetime(2026, 1, 1, tzinfo=UTC),
                    version=1,
                )
            )
    return entries


class Away:
    """Neighbours that do not answer: nothing live."""

    def __getattr__(self, name: str) -> Any:
        async def refuse(*_arguments: Any) -> Any:
            raise ConnectionError(name)

        return refuse


@pytest.fixture
async def search(elasticsearch_url: str) -> AsyncIterator[Search]:
    async with storage.open_index(elasticsearch_url, search_seconds=60.0) as index:
        await index.ensure()
        writes = [
            Write(product_id=entry.product_id, version=1, document=documents.document(entry))
            for entry in _entries()
        ]
        assert await index.write(documents.ALIAS, writes) == len(writes)
        await index.mark_filled(documents.ALIAS)
        away = Away()
        yield Search(index=index, products=away, live=LiveView(stock=away, inventory=away))


async def _titles(search: Search, term: str) -> list[str]:
    answer = await search.find(catalogue.SearchQuery(term=term, size=3))
    return [card.title for card in answer.products]


async def test_the_expected_product_is_among_the_first_three(search: Search) -> None:
    wrong = {}
    for term, expected in JUDGED:
        titles = await _titles(search, term)
        if not any(title.startswith(tuple(expected.split("|"))) for title in titles):
            wrong[term] = (expected, titles)
    assert len(JUDGED) >= 60
    assert len(wrong) <= (1 - SHARE) * len(JUDGED), wrong


async def test_who_types_right_gets_nothing_that_only_resembles_it(search: Search) -> None:
    answer = await search.find(catalogue.SearchQuery(term="zelda", size=100))
    assert [card.title for card in answer.products] == ["Zelda Tears of the Kingdom"]


async def test_nonsense_finds_nothing(search: Search) -> None:
    answer = await search.find(catalogue.SearchQuery(term="qqqwwwxxxyyy"))
    assert answer.products == []
    assert answer.suggestions == []


async def test_what_cannot_be_found_together_brings_suggestions_that_find_something(
    search: Search,
) -> None:
    answer = await search.find(catalogue.SearchQuery(term="zelda thinkpad"))
    assert answer.products == []
    assert answer.suggestions
    for term in answer.suggestions:
        assert await _titles(search, term)
