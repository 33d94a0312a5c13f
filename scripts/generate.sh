#!/usr/bin/env bash
# Regenerates every committed generated file; with --check fails when one differs from its source.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/node_modules/.bin:$PATH"
# One after the other where they write: some read what others have written.
at_once=1
[ "${1:-}" != --check ] || at_once=$(nproc)
printf '%s\0' scripts/generate-*.ts | xargs -0 -P "$at_once" -I '{}' node '{}' "$@"
