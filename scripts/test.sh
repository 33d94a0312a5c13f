#!/usr/bin/env bash
# `npm test`: set up what is missing, then check everything. Each step names itself and its time.
set -euo pipefail
cd "$(dirname "$0")/.."

step() {
	local name=$1 started=$SECONDS
	shift
	printf '\n== %s\n' "$name"
	"$@"
	printf -- '-- %s: %ss\n' "$name" "$((SECONDS - started))"
}

step 'set-up' bash scripts/bootstrap.sh
export PATH="$PWD/node_modules/.bin:$PATH"
step 'format and lint' npm run --silent lint
step 'types' npm run --silent types
step 'generated code' bash scripts/generate.sh --check
step 'vendored code' bash scripts/update-libbpf.sh --check
step 'unit tests' npm run --silent test:unit
step 'tests across packages' npm run --silent test:e2e
