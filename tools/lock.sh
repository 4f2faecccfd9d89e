#!/usr/bin/env bash
# Writes requirements.lock: every package with its hashes, no index address.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d); trap 'rm -rf "$scratch"' EXIT
.venv/bin/python -m venv "$scratch"
"$scratch/bin/pip" install --quiet uv
"$scratch/bin/uv" pip compile pyproject.toml --all-extras --universal --python-version 3.11 --quiet \
  --generate-hashes --no-emit-index-url --no-emit-find-links --no-header -o requirements.lock
