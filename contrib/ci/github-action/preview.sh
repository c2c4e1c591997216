#!/usr/bin/env bash
# What the action does, so that it can be run and tested without one.
# In: DESIRED, SNAPSHOTS (may be empty), SIGNERS (may be empty), GITHUB_OUTPUT, GITHUB_STEP_SUMMARY, RUNNER_TEMP.
set -euo pipefail

markdown="$RUNNER_TEMP/reconciler.md"
echo "markdown=$markdown" >>"$GITHUB_OUTPUT"
: >"$markdown"

reconciler validate "$DESIRED" --format github
reconciler lint "$DESIRED" --format github || true

if [ -z "$SNAPSHOTS" ]; then
    echo "code=0" >>"$GITHUB_OUTPUT"
    exit 0
fi

shopt -s nullglob
files=("$SNAPSHOTS"/*.json)
if [ ${#files[@]} -eq 0 ]; then
    echo "::error::$SNAPSHOTS holds no snapshot; 'reconciler observe --out $SNAPSHOTS/HOST.json' on a host writes one"
    exit 1
fi
words=("$DESIRED" --detailed-exitcode --snapshot "${files[@]}")
if [ -n "$SIGNERS" ]; then words+=(--snapshot-signers "$SIGNERS"); fi

code=0
reconciler plan "${words[@]}" --format github || code=$?
echo "code=$code" >>"$GITHUB_OUTPUT"
case "$code" in 0 | 2 | 3) ;; *) exit "$code" ;; esac
reconciler plan "${words[@]}" --format markdown >"$markdown" 2>/dev/null || true
# What would be refused on a host turns the check red; changes alone do not.
[ "$code" -ne 3 ]
