"""Times and durations as kubectl shows and takes them: ages of two units, RFC 3339 in UTC, ``1h30m``."""

import re
from datetime import UTC, datetime, timedelta

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
IN_SECONDS_ONLY = 120
LONGEST = timedelta(days=365)


def duration(text: str) -> timedelta:
    """Read ``90s``, ``10m`` or ``1h30m``; raises ValueError for anything else and for more than a year."""
    parts = _PART.findall(text)
    if not parts or "".join(amount + unit for amount, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration such as 90s, 10m or 1h30m")
    seconds = sum(float(amount) * _SECONDS[unit] for amount, unit in parts)
    if seconds > LONGEST.total_seconds():
        raise ValueError(f"{text!r} is longer than {LONGEST.days} days")
    return timedelta(seconds=seconds)


def timeout(text: str) -> timedelta:
    """Read a duration, or ``0``; raises ValueError."""
    return timedelta(0) if text == "0" else duration(text)


def moment(text: str) -> datetime:
    """Read an RFC 3339 time with its zone, as UTC; raises ValueError."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None or "T" not in text.upper():
        raise ValueError(f"{text!r} is no time such as 2030-11-29T12:00:00Z")
    return found.astimezone(UTC)


def stamp(when: datetime) -> str:
    """Return RFC 3339 in UTC, with milliseconds where there are any."""
    spec = "milliseconds" if when.microsecond >= 1000 else "seconds"
    return when.astimezone(UTC).isoformat(timespec=spec).replace("+00:00", "Z")


def span(length: timedelta) -> str:
    """Return a length in its two largest units: ``45s``, ``9m48s``, ``3h``, ``2d5h``; never below zero."""
    left = max(0, round(length.total_seconds()))
    if left < IN_SECONDS_ONLY:
        return f"{left}s"
    counts = []
    for seconds, letter in _UNITS:
        counts.append((left // seconds, letter))
        left %= seconds
    first = next(place for place, (count, _) in enumerate(counts) if count)
    return "".join(f"{count}{letter}" for count, letter in counts[first : first + 2] if count)


def relative(when: datetime, now: datetime) -> str:
    """Return how long ago or in what time: ``5s ago``, ``in 9m48s``."""
    if when > now:
        return f"in {span(when - now)}"
    return f"{span(now - when)} ago"
