"""``python -m charts`` writes the made files under charts/; ``--check`` only tells which differ, and fails."""

import argparse
import sys
from pathlib import Path

from .assemble import SOURCE, assemble
from .render import all_files


def main() -> None:
    """Write or compare."""
    parser = argparse.ArgumentParser(prog="charts", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    parser.add_argument(
        "--assemble", type=Path, metavar="FOLDER", help="then write whole charts there"
    )
    arguments = parser.parse_args()
    check: bool = arguments.check
    stale = []
    for name, text in all_files().items():
        path = SOURCE / name
        if path.exists() and path.read_text() == text:
            continue
        stale.append(name)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    for name in stale:
        print(f"{'differs' if check else 'written'}: charts/{name}")
    if arguments.assemble is not None:
        assemble(arguments.assemble)
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    main()
