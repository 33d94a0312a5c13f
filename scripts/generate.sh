#!/usr/bin/env bash
# Regenerates every committed generated file; with --check fails when one differs from its source.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/node_modules/.bin:$PATH"
for generator in scripts/generate-*.ts; do
	node "$generator" "$@"
done
