"""What is sold: every kind of product with its brands' words, its specifications and what it costs."""

from dataclasses import dataclass

Choices = tuple[str | int | float | bool, ...]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One category: how its products are called, described and priced.

    ``prices`` are the lowest and the highest in whole units of money; ``uses`` end sentences of descriptions.
    """

    category: str
    nouns: tuple[str, ...]
    series: tuple[str, ...]
    prices: tuple[int, int]
    specifications: dict[str, Choices]
    keywords: tuple[str, ...]
    uses: tuple[str, ...]


# Invented, with the country of each; every one makes several kinds of things.
BRANDS = (
    *(("Veltro", "IT"), ("Nordvik", "NO"), ("Kumori", "JP"), ("Halberg", "DE"), ("Aurelon", "FR")),
    *(("Brightmoor", "GB"), ("Tessella", "ES"), ("Okiro", "JP"), ("Fjellstad", "NO")),
    *(("Pinecrest", "US"), ("Zandvoort", "NL"), ("Lumenfall", "US"), ("Casterly", "GB")),
    *(("Ravenhill", "GB"), ("Solvanta", "PT"), ("Drachenfels", "DE"), ("Mirabeau", "FR")),
    *(("Hanseong", "KR"), ("Qintai", "CN"), ("Elderwood", "CA"), ("Stroma", "SE")),
    *(("Polaryx", "FI"), ("Vantabay", "US"), ("Corvex", "CZ"), ("Ginevra", "CH")),
)
COLOURS = (
    *("Black", "White", "Silver", "Blue", "Red", "Green", "Graphite", "Sand", "Rose", "Orange"),
)
QUALITIES = (
    *("light", "quiet", "robust", "compact", "elegant", "reliable", "fast", "repairable"),
    *("comfortable", "precise", "durable", "frugal", "versatile", "sturdy"),
)

KINDS = (
    Kind(
        category="smartphones",
        nouns=("Smartphone", "Phone"),
        series=("Nova", "Pulse", "Edge", "Mira", "Zen", "Orbit"),
        prices=(129, 1499),
        specifications={
            "storageGb": (64, 128, 256, 512, 1024),
            "displayInches": (5.8, 6.1, 6.4, 6.7, 6.9),
            "memoryGb": (4, 6, 8, 12, 16),
            "has5g": (True, True, False),
            "batteryMah": (3500, 4200, 5000, 5500),
        },
        keywords=("mobile", "phone", "android", "5g", "dual sim"),
        uses=("photos at night", "a whole day without a charger", "video calls", "travelling"),
    ),
    Kind(
        category="laptops",
        nouns=("Laptop", "Notebook"),
        series=("Book", "Air", "Studio", "Work", "Slate", "Forge"),
        prices=(399, 3499),
        specifications={
            "displayInches": (13.3, 14.0, 15.6, 16.0, 17.3),
            "memoryGb": (8, 16, 32, 64),
            "storageGb": (256, 512, 1024, 2048),
            "processor": ("6 cores", "8 cores", "12 cores", "16 cores"),
            "weightKg": (0.99, 1.2, 1.4, 1.8, 2.3),
        },
        keywords=("computer", "ultrabook", "office", "notebook"),
        uses=("writing on trains", "editing films", "long compilations", "lectures"),
    ),
    Kind(
        category="headphones",
        nouns=("Headphones", "Earbuds", "Headset"),
        series=("Echo", "Hush", "Tone", "Drift", "Wave"),
        prices=(19, 549),
        specifications={
            "wireless": (True, True, False),
            "noiseCancelling": (True, False),
            "batteryHours": (6, 8, 20, 30, 60),
            "style": ("over-ear", "on-ear", "in-ear"),
        },
        keywords=("audio", "music", "bluetooth", "noise cancelling"),
        uses=("open offices", "long flights", "running", "listening late at night"),
    ),
    Kind(
        category="televisions",
        nouns=("Television", "Smart TV"),
        series=("Vista", "Cinema", "Frame", "Lumen"),
        prices=(199, 3999),
        specifications={
            "displayInches": (32, 43, 50, 55, 65, 77),
            "resolution": ("Full HD", "4K", "8K"),
            "panel": ("LCD", "OLED", "Mini LED"),
            "refreshHz": (50, 60, 120, 144),
        },
        keywords=("tv", "4k", "streaming", "home cinema"),
        uses=("films", "bright living rooms", "consoles", "sport"),
    ),
    Kind(
        category="cameras",
        nouns=("Camera", "Mirrorless Camera", "Action Camera"),
        series=("Iris", "Aperture", "Trail", "Focus"),
        prices=(99, 4299),
        specifications={
            "megapixels": (12, 20, 24, 33, 45, 61),
            "sensor": ("1 inch", "APS-C", "full frame"),
            "video": ("1080p", "4K", "6K", "8K"),
            "weatherSealed": (True, False),
        },
        keywords=("photography", "photo", "video", "lens"),
        uses=("birds in flight", "portraits", "family albums", "mountains in the rain"),
    ),
    Kind(
        category="tablets",
        nouns=("Tablet",),
        series=("Pad", "Sketch", "Folio", "Leaf"),
        prices=(99, 1399),
        specifications={
            "displayInches": (8.0, 10.1, 11.0, 12.9),
            "storageGb": (64, 128, 256, 512),
            "pen": (True, False),
            "cellular": (True, False),
        },
        keywords=("drawing", "reading", "touch", "pen"),
        uses=("sketching", "reading in bed", "notes in meetings"),
    ),
    Kind(
        category="smartwatches",
        nouns=("Smartwatch", "Fitness Watch"),
        series=("Pace", "Summit", "Loop", "Tempo"),
        prices=(39, 899),
        specifications={
            "caseMm": (38, 41, 45, 49),
            "gps": (True, False),
            "batteryDays": (1, 2, 7, 14, 30),
            "waterResistance": ("5 ATM", "10 ATM"),
        },
        keywords=("wearable", "fitness", "heart rate", "watch"),
        uses=("marathons", "swimming", "sleep tracking", "hikes over several days"),
    ),
    Kind(
        category="coffee-machines",
        nouns=("Espresso Machine", "Coffee Maker", "Coffee Grinder"),
        series=("Barista", "Crema", "Moka", "Aroma"),
        prices=(29, 2199),
        specifications={
            "pressureBar": (9, 15, 19),
            "waterLitres": (0.8, 1.2, 1.8, 2.5),
            "milkFrother": (True, False),
            "powerWatts": (900, 1250, 1450, 1600),
        },
        keywords=("coffee", "espresso", "kitchen", "cappuccino"),
        uses=("the first cup of the day", "a household of six", "small kitchens"),
    ),
    Kind(
        category="vacuum-cleaners",
        nouns=("Vacuum Cleaner", "Robot Vacuum"),
        series=("Cyclone", "Glide", "Sweep", "Whirl"),
        prices=(79, 1299),
        specifications={
            "cordless": (True, False),
            "suctionPa": (2500, 5000, 8000, 12000),
            "dustLitres": (0.3, 0.5, 1.0, 2.0),
            "noiseDb": (58, 64, 70, 76),
        },
        keywords=("cleaning", "household", "hoover", "pets"),
        uses=("pet hair", "stairs", "deep carpets", "flats without storage"),
    ),
    Kind(
        category="running-shoes",
        nouns=("Running Shoes", "Trail Shoes"),
        series=("Stride", "Bolt", "Cloudline", "Ridge"),
        prices=(49, 279),
        specifications={
            "size": tuple(range(36, 48)),
            "dropMm": (0, 4, 6, 8, 10),
            "surface": ("road", "trail", "track"),
            "weightGrams": (190, 220, 250, 290),
        },
        keywords=("sneakers", "sport", "jogging", "footwear"),
        uses=("the first five kilometres", "muddy paths", "a fast marathon"),
    ),
    Kind(
        category="backpacks",
        nouns=("Backpack", "Rucksack"),
        series=("Nomad", "Commuter", "Alpine", "Carry"),
        prices=(25, 349),
        specifications={
            "litres": (12, 18, 24, 32, 45, 65),
            "waterproof": (True, False),
            "laptopInches": (13, 15, 17),
            "material": ("canvas", "recycled polyester", "leather"),
        },
        keywords=("bag", "travel", "hiking", "school"),
        uses=("commuting by bicycle", "weekends away", "carrying a camera"),
    ),
    Kind(
        category="jackets",
        nouns=("Jacket", "Rain Jacket", "Down Jacket"),
        series=("Storm", "Drizzle", "Fell", "Harbour"),
        prices=(39, 649),
        specifications={
            "size": ("XS", "S", "M", "L", "XL", "XXL"),
            "waterproof": (True, False),
            "material": ("wool", "nylon", "cotton", "recycled down"),
            "hood": (True, False),
        },
        keywords=("outdoor", "clothing", "winter", "rain"),
        uses=("autumn storms", "city winters", "bivouacs"),
    ),
    Kind(
        category="bicycles",
        nouns=("Bicycle", "E-Bike", "Gravel Bike"),
        series=("Meridian", "Cobble", "Ascent", "Towpath"),
        prices=(299, 6999),
        specifications={
            "frame": ("aluminium", "steel", "carbon"),
            "gears": (1, 7, 11, 12, 24),
            "wheelInches": (20, 26, 27.5, 28, 29),
            "motorWatts": (0, 0, 250),
        },
        keywords=("bike", "cycling", "commute", "ebike"),
        uses=("cobbled streets", "touring", "the school run", "climbing"),
    ),
    Kind(
        category="garden-tools",
        nouns=("Hedge Trimmer", "Lawn Mower", "Pruning Shears"),
        series=("Thicket", "Meadow", "Arbor"),
        prices=(15, 899),
        specifications={
            "cordless": (True, False),
            "cutCm": (20, 36, 42, 60),
            "weightKg": (0.4, 2.6, 12.5, 24.0),
        },
        keywords=("garden", "lawn", "outdoor", "hedge"),
        uses=("small gardens", "old orchards", "neighbours who sleep late"),
    ),
    Kind(
        category="cookware",
        nouns=("Frying Pan", "Saucepan", "Dutch Oven", "Chef Knife"),
        series=("Hearth", "Bistro", "Ember"),
        prices=(12, 399),
        specifications={
            "diameterCm": (16, 20, 24, 28, 32),
            "material": ("cast iron", "stainless steel", "carbon steel", "aluminium"),
            "induction": (True, False),
        },
        keywords=("kitchen", "cooking", "pan", "chef"),
        uses=("slow stews", "crisp potatoes", "every kind of stove"),
    ),
    Kind(
        category="board-games",
        nouns=("Board Game", "Card Game", "Puzzle"),
        series=("Caravan", "Lighthouse", "Labyrinth", "Harvest"),
        prices=(9, 119),
        specifications={
            "players": ("1-4", "2", "2-5", "3-8"),
            "minutes": (15, 30, 45, 90, 180),
            "fromAge": (6, 8, 10, 14),
        },
        keywords=("game", "family", "strategy", "gift"),
        uses=("rainy Sundays", "two players", "large families"),
    ),
    Kind(
        category="desk-lamps",
        nouns=("Desk Lamp", "Floor Lamp"),
        series=("Glow", "Beacon", "Halo"),
        prices=(19, 429),
        specifications={
            "lumens": (350, 600, 900, 1400),
            "dimmable": (True, False),
            "colourKelvin": (2700, 3000, 4000, 6500),
        },
        keywords=("light", "led", "office", "lamp"),
        uses=("reading", "drawing at night", "narrow desks"),
    ),
    Kind(
        category="monitors",
        nouns=("Monitor", "Display"),
        series=("Canvas", "Panorama", "Arena"),
        prices=(99, 1999),
        specifications={
            "displayInches": (24, 27, 32, 34, 49),
            "resolution": ("Full HD", "QHD", "4K", "5K"),
            "refreshHz": (60, 75, 144, 240),
            "curved": (True, False),
        },
        keywords=("screen", "pc", "gaming", "office"),
        uses=("two windows side by side", "retouching photographs", "fast games"),
    ),
    Kind(
        category="keyboards",
        nouns=("Keyboard", "Mechanical Keyboard"),
        series=("Tactile", "Chord", "Quill"),
        prices=(19, 349),
        specifications={
            "layout": ("US", "UK", "DE", "FR", "Nordic"),
            "wireless": (True, False),
            "switches": ("linear", "tactile", "clicky", "scissor"),
            "keys": (61, 75, 87, 104),
        },
        keywords=("typing", "pc", "mechanical", "usb"),
        uses=("typing all day", "small desks", "shared offices"),
    ),
    Kind(
        category="speakers",
        nouns=("Speaker", "Soundbar", "Party Speaker"),
        series=("Boom", "Chamber", "Resonance"),
        prices=(25, 1799),
        specifications={
            "powerWatts": (10, 20, 60, 120, 300),
            "bluetooth": (True, True, False),
            "waterproof": (True, False),
            "batteryHours": (0, 8, 12, 24),
        },
        keywords=("audio", "music", "bluetooth", "sound"),
        uses=("garden parties", "film evenings", "kitchens"),
    ),
)
