#!/usr/bin/env bash
# Regenerates every committed generated file; with --check fails when one differs from its source.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/node_modules/.bin:$PATH"
# In sequence, because some read the output of others.
at_once=1
[ "${1:-}" != --check ] || at_once=$(nproc)
printf '%s\0' scripts/generate-*.ts | xargs -0 -P "$at_once" -I '{}' node '{}' "$@"
