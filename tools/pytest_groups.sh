#!/usr/bin/env bash
# Runs groups of test folders, so many at once, one pytest and one stack of servers each: they mostly wait.
#   pytest_groups.sh 4 "tests/chaos -m 'not variant'" "tests/contract" "tests/operator_api tests/e2e"
# The next group starts when one ends, so name the longest first. Shows each group's output and its seconds when it has
# ended; fails when any group failed.
set -uo pipefail
cd "$(dirname "$0")/.."
at_once=$1
shift
logs=$(mktemp -d)

run() { # number, group
  trap 'kill -TERM "$pytest" 2>/dev/null; wait "$pytest"; exit 143' INT TERM
  local began=$SECONDS
  eval ".venv/bin/pytest -q $2" >"$logs/$1" 2>&1 </dev/null & # a group is several words by intent
  pytest=$!
  wait "$pytest"
  local code=$?
  printf '\n== %s: %d s\n' "$2" "$((SECONDS - began))" >"$logs/$1.head"
  echo "$code" >"$logs/$1.code"
}

failed=0
show_ended() {
  local ended
  for ended in "$logs"/*.code; do
    [ -e "$ended" ] || continue
    cat "${ended%.code}.head" "${ended%.code}"
    [ "$(cat "$ended")" = 0 ] || failed=1
    rm "$ended"
  done
}

stop() {
  # shellcheck disable=SC2046  # a word a process by intent
  kill -TERM $(jobs -rp) 2>/dev/null
  wait
  rm -rf "$logs"
  exit 130
}
trap stop INT TERM

for group in "$@"; do
  while [ "$(jobs -rp | wc -l)" -ge "$at_once" ]; do
    wait -n
    show_ended
  done
  number=$((${number:-0} + 1))
  run "$number" "$group" &
done
while [ -n "$(jobs -rp)" ]; do
  wait -n
  show_ended
done
show_ended
rm -rf "$logs"
exit "$failed"
