"""``doorbuster-operator``: run the operator with the settings of the environment."""

import os
import sys

import uvloop

from doorbuster.kit import config, telemetry
from doorbuster_operator import app
from doorbuster_operator.cluster import ClusterError
from doorbuster_operator.config import OperatorConfig


def main() -> None:
    """Run until a signal; exits 1 with one line when it cannot start or does not lead any more."""
    try:
        settings = config.load(OperatorConfig)
        telemetry.start("operator", settings.log_level)
        code = uvloop.run(app.run(settings))
    except (config.ConfigError, ClusterError, OSError, TypeError) as error:
        sys.stderr.write(f"doorbuster-operator: {error}\n")
        raise SystemExit(1) from error
    # Everything is closed by now; taking the Kubernetes client's models down one by one would cost two seconds.
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
