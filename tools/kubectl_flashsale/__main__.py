"""``kubectl flashsale``: what kubectl runs under that name, once ``kubectl-flashsale`` is on the path."""

import os
import sys
from collections.abc import Sequence

from . import arguments, commands
from .cluster import Access, connect
from .errors import ClusterError
from .model import UnreadableError

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point: 0 when it worked, 1 with a sentence when it did not; ``simulate`` ends as its checker does."""
    options = arguments.parse(argv)
    seconds = options.request_timeout.total_seconds()
    access = Access(
        kubeconfig=options.kubeconfig,
        context=options.context,
        namespace=options.namespace,
        request_seconds=seconds or None,
    )
    try:
        with connect(access) as cluster:
            code = commands.run(cluster, options)
        sys.stdout.flush()
    except ClusterError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from error
    except UnreadableError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(1) from error
    except BrokenPipeError:
        # Whoever read us has enough; nothing may be flushed into the pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    raise SystemExit(code)


if __name__ == "__main__":
    main()
