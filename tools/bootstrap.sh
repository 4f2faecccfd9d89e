#!/usr/bin/env bash
# Makes .venv from requirements.lock (hashes checked). Installs Debian's python3-venv where it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}
say() { printf 'bootstrap: %s\n' "$*" >&2; }

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { say "Python 3.11 or newer is needed"; exit 1; }
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  say "installing python3-venv"
  sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -qq && $sudo apt-get install -y -qq --no-install-recommends python3-venv
fi
say "installing the locked Python packages (once)"
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
