"""``make demo``: the stack, a thousand buyers, one real FlashSale, the verdict."""

import asyncio
import contextlib
import os
import pathlib
import signal
import time
from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from devstack.catalogue import SALE_PARTS
from devstack.layout import default_root
from devstack.progress import shown
from devstack.stack import Progress as TakeStep
from devstack.stack import Stack, Step

from . import catalogue, crowd, enrol, manifest, plan, play, report, stores
from .history import Recorder
from .kubectl import Kubectl
from .verdict import Verdict

OPENS_IN_SECONDS = 8.0  # applied, accepted, armed; and every buyer opens his connection
OPENS_IN_SECONDS_A_BUYER = 0.004
TICK_SECONDS = 0.5


def folder() -> pathlib.Path:
    """Return where the demo keeps its crowd's accounts, its sale, history and report."""
    return default_root().parent / "demo"


class Stage:
    """What the audience sees: lines that stay, and bars that move on a terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._began = time.monotonic()
        self._take: TakeStep | None = None
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
            console=console,
            disable=not console.is_terminal,
            refresh_per_second=4,
            transient=True,
        )

    @contextlib.contextmanager
    def steps(self) -> Iterator[None]:
        """Show the steps of the stack while the block runs."""
        with shown(self.console) as take:
            self._take = take
            yield
        self._take = None

    def step(self, step: Step) -> None:
        """Take one step of the stack."""
        if self._take is not None:
            self._take(step)

    def line(self, text: str, style: str = "") -> None:
        """Print a line with the seconds since the beginning."""
        seconds = time.monotonic() - self._began
        words = Text.assemble((f"{seconds:6.1f} s  ", "dim"), (text, style))
        self.console.print(words, highlight=False, soft_wrap=True)


async def show(buyers: int, units: int, seed: int) -> int:
    """Run the demo; returns the exit status: 0 when the promise held."""
    console = Console()
    stays = console.is_terminal and os.environ.get("DEMO_EXIT", "") in ("", "0")
    stage = Stage(console)
    plans = plan.draw_plans(buyers, seed)
    end = _end_signal()
    stack = Stack(progress=stage.step)  # the one that `devstack` speaks of
    work = asyncio.create_task(_perform(stage, stack, plans, units, seed))
    ended = asyncio.create_task(end.wait())
    try:
        await asyncio.wait({work, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
            await asyncio.wait({work})
            return 130
        verdict = work.result()
        if stays:
            stage.line("opening the rest of the shop: search, carts, change data capture")
            with stage.steps():
                await asyncio.to_thread(stack.up)
            _print_addresses(console, stack.env())
            await end.wait()
    finally:
        ended.cancel()
        stage.line("taking the shop down")
        with stage.steps():
            await asyncio.to_thread(stack.down)
    return 0 if verdict.is_promise_held else 1


async def _perform(
    stage: Stage, stack: Stack, plans: Sequence[plan.Plan], units: int, seed: int
) -> Verdict:
    stage.line("starting the real servers, what sells, the catalogue and the operator")
    with stage.steps():
        await asyncio.to_thread(stack.up, (*SALE_PARTS, "product"))
    with stage.progress:
        environment = stack.env()
        addresses = stores.Addresses.from_environment(environment)
        url = environment["DOORBUSTER_PUBLIC_URL"]
        entrances = await _enrol(stage, url, plans)
        kubectl = Kubectl(environment=environment)
        number = take_number(await asyncio.to_thread(kubectl.names, "fsale"))
        suffix = f"-{number}" if number > 1 else ""
        await _open_catalogue(stage, environment, f"{catalogue.SKU}{suffix}")
        sale = await _announce(stage, kubectl, suffix, len(plans), units)
        people = crowd.Crowd(
            plans=plans,
            entrances=entrances,
            seed=seed,
            patience_seconds=play.patience_seconds(sale),
        )
        game = play.Game(url=url, sale=sale.path, units=units)
        async with kubectl.watching("fsale", sale.name, lambda line: stage.line(line, "cyan")):
            history = folder() / "history.jsonl"
            await _fight(stage, game, people, Recorder(history), addresses)
            stage.line("everybody went home; waiting until the stores are at rest")
            verdict = await play.judge(history, addresses, units)
    path = folder() / "report.json"
    path.write_bytes(verdict.to_json())
    stage.console.print(report.verdict_panel(verdict))
    stage.line(f"the report is {path}")
    return verdict


async def _enrol(stage: Stage, url: str, plans: Sequence[plan.Plan]) -> dict[str, enrol.Entrance]:
    """Bring the crowd in; the accounts of an earlier demo are used again."""
    path = folder() / "accounts.json"
    book = enrol.read_book(path)
    task = stage.progress.add_task("buyers sign up and in", total=len(plans), note="")
    began = time.monotonic()
    try:
        entrances = await enrol.enrol(
            url, plans, book, lambda done: stage.progress.update(task, completed=done)
        )
    finally:
        enrol.write_book(path, book)
        stage.progress.remove_task(task)
    seconds = time.monotonic() - began
    stage.line(
        f"{len(entrances):,} buyers are in, each with an address of his own ({seconds:.1f} s)"
    )
    return entrances


async def _open_catalogue(stage: Stage, environment: Mapping[str, str], sku: str) -> None:
    """Show some goods and what will be sold; the sale does not wait for a catalogue that is away."""
    try:
        exhibit = await catalogue.fill(environment, sku)
    except OSError as error:
        stage.line(f"no catalogue this time: {error}", "yellow")
        return
    stage.line(f"{catalogue.PRODUCTS} products are on show, and what the sale will sell")
    stage.line(f"{environment['DOORBUSTER_PUBLIC_URL']}/v1/products/{exhibit.product_id}", "cyan")
    stage.line(exhibit.picture, "cyan")


async def _announce(
    stage: Stage, kubectl: Kubectl, suffix: str, buyers: int, units: int
) -> manifest.Sale:
    """Apply the sample with names that no earlier run used, to open soon."""
    sale = manifest.render(
        opens_in=OPENS_IN_SECONDS + OPENS_IN_SECONDS_A_BUYER * buyers,
        units=units,
        suffix=suffix,
    )
    (folder() / "sale.yaml").write_text(sale.text, encoding="utf-8")
    stage.line(f"kubectl apply -f {folder() / 'sale.yaml'}")
    for said in (await asyncio.to_thread(kubectl.apply, sale.text)).splitlines():
        stage.line(said, "cyan")
    stage.line(f"kubectl get fsale {sale.name} -w")
    return sale


def take_number(names: Sequence[str]) -> int:
    """Return a number that no sale has and no earlier demo took, even if its sale was deleted."""
    path = folder() / "number"
    taken = [int(path.read_text(encoding="ascii"))] if path.exists() else [0]
    taken += [int(digits) for name in names if (digits := name.rpartition("-")[2]).isdigit()]
    number = max(1 if names else 0, *taken) + 1
    path.write_text(str(number), encoding="ascii")
    return number


async def _fight(
    stage: Stage,
    game: play.Game,
    people: crowd.Crowd,
    recorder: Recorder,
    addresses: stores.Addresses,
) -> None:
    """Let the crowd fight and show how many went home and with what."""
    task = stage.progress.add_task("buyers went home", total=len(people.plans), note="")

    async def show_tally() -> None:
        while True:
            codes, endings = recorder.codes, recorder.endings
            stage.progress.update(
                task,
                completed=endings.total(),
                note=f"{codes['HELD']} held, {codes['WAITING']} times waiting, "
                f"{endings['paid']} paid, {endings['left']} left, {endings['sold_out']} sold out",
            )
            await asyncio.sleep(TICK_SECONDS)

    tally = asyncio.create_task(show_tally())
    try:
        await play.play(game, people, recorder, addresses)
    finally:
        tally.cancel()
        recorder.close()
        stage.progress.remove_task(task)


def _print_addresses(console: Console, environment: dict[str, str]) -> None:
    console.print(f"\nThe shop stays open: [bold]{environment['DOORBUSTER_PUBLIC_URL']}[/bold]")
    search = f"{environment['DOORBUSTER_PUBLIC_URL']}/v1/products/search?term=iphon"
    for line in (
        f"curl '{search}'",
        'eval "$(.venv/bin/devstack env)"      # every URL, kubectl, the first admin',
        "kubectl get fsale,ipool               # the sale and its stock",
        ".venv/bin/devstack status             # what runs",
    ):
        console.print(f"  {line}", markup=False, highlight=False)
    console.print("Ctrl-C takes it down.")


def _end_signal() -> asyncio.Event:
    """Return an event that is set by Ctrl-C or SIGTERM."""
    end = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, end.set)
    return end
