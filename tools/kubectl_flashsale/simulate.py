"""The crowd against a sale that is meant for tests: ``buyers run``, then ``buyers check`` and its exit code."""

import argparse
import contextlib
import pathlib
import subprocess
import sys
import tempfile

from .errors import ClusterError
from .model import TEST_LABEL, FlashSale
from .times import stamp

UNTOLD = 2


def simulate(sale: FlashSale, options: argparse.Namespace) -> int:
    """Play and judge; returns 0 (held), 1 (broken) or 2 (not to be told). Raises ClusterError."""
    name = sale.metadata.name
    if sale.metadata.labels.get(TEST_LABEL) != "true" and not options.yes:
        raise ClusterError(
            f'error: FlashSale "{name}" has no label {TEST_LABEL}=true: {options.buyers} made-up'
            " buyers would take its units from real ones; --yes if that is meant"
        )
    if options.url is None:
        raise ClusterError("error: where is the shop? Give --url or set DOORBUSTER_PUBLIC_URL")
    sys.stderr.write(f"{options.buyers} buyers wait for {stamp(sale.spec.open_time)}\n")
    with contextlib.ExitStack() as kept:
        history = options.history
        if history is None:
            folder = kept.enter_context(tempfile.TemporaryDirectory(prefix="flashsale-"))
            history = str(pathlib.Path(folder) / "history.jsonl")
        if _buyers(*_run_words(sale, options, history), is_quiet=True) != 0:
            return UNTOLD
        json = ("--json",) if options.output == "json" else ()
        return _buyers("check", "--history", history, *json)


def _run_words(sale: FlashSale, options: argparse.Namespace, history: str) -> list[str]:
    words = ["run", "--sale", f"{sale.metadata.namespace}.{sale.metadata.name}"]
    words += ["--buyers", str(options.buyers), "--url", options.url, "--history", history]
    further = {
        "--seed": options.seed,
        "--units": options.units,
        "--patience": options.patience,
        "--ca-file": options.ca_file,
    }
    for flag, value in further.items():
        if value is not None:
            words += [flag, str(value)]
    return words


def _buyers(*words: str, is_quiet: bool = False) -> int:
    """Run the buyers command with our own output, or with stderr as its stdout; returns its exit code."""
    argv = (sys.executable, "-P", "-m", "buyers", *words)
    return subprocess.run(argv, stdout=sys.stderr if is_quiet else None, check=False).returncode
