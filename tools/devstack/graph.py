"""Running one action for each of many parts, as concurrently as their order allows."""

import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait


def run_in_order(
    waits_for: Mapping[str, tuple[str, ...]],
    action: Callable[[str], None],
    *,
    abort: threading.Event,
) -> None:
    """Call ``action(name)`` once for every key, after all of its ``waits_for`` that are keys too.

    The first error sets ``abort`` (running actions are expected to look at it), nothing new is
    begun, and that error is raised when all have come to an end. Ctrl-C does the same.
    """
    left = {name: {n for n in needs if n in waits_for} for name, needs in waits_for.items()}
    running: dict[Future[None], str] = {}
    failure: BaseException | None = None
    with ThreadPoolExecutor(max_workers=max(8, 4 * (os.cpu_count() or 1))) as pool:
        try:
            while (left and failure is None) or running:
                if failure is None:
                    for name in [name for name, needs in left.items() if not needs]:
                        del left[name]
                        running[pool.submit(action, name)] = name
                assert running, f"a circle among {sorted(left)}"
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    name = running.pop(future)
                    error = future.exception()
                    if error is not None:
                        failure = failure or error
                        abort.set()
                    for needs in left.values():
                        needs.discard(name)
        except BaseException:
            abort.set()
            raise
    if failure is not None:
        raise failure
