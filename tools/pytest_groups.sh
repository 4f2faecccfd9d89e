#!/usr/bin/env bash
# Runs groups of test folders at the same time, one pytest and one stack of servers each: they mostly wait.
#   pytest_groups.sh "tests/contract tests/integration" "tests/operator_api tests/e2e"
# The first group is shown live, the others when it has ended; fails when any group failed.
set -uo pipefail
cd "$(dirname "$0")/.."
logs=$(mktemp -d)
pids=()
stop() { [ "${#pids[@]}" = 0 ] || kill -TERM "${pids[@]}" 2>/dev/null; wait; rm -rf "$logs"; exit 130; }
trap stop INT TERM

number=0
for folders in "${@:2}"; do
  number=$((number + 1))
  # shellcheck disable=SC2086  # a group is several words by intent
  .venv/bin/pytest -q $folders >"$logs/$number" 2>&1 </dev/null &
  pids+=($!)
done
# shellcheck disable=SC2086
.venv/bin/pytest -q $1 </dev/null &
first=$!
pids+=("$first")
wait "$first"
failed=$?
for index in $(seq 0 $((number - 1))); do
  wait "${pids[$index]}" || failed=1
  cat "$logs/$((index + 1))"
done
rm -rf "$logs"
exit "$failed"
