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

# A copy, because a test of the release rebuilds dist/.
executable() {
	node scripts/build-binary.ts
	rm -rf build/test/executable
	mkdir -p build/test/executable
	cp -a dist/kmesh dist/kmeshctl build/test/executable/
}

step 'set-up' bash scripts/bootstrap.sh
export PATH="$PWD/node_modules/.bin:$PATH"
step 'format and lint' npm run --silent lint
step 'types' npm run --silent types
step 'generated code' bash scripts/generate.sh --check
step 'vendored code' bash scripts/update-libbpf.sh --check
step 'unit tests' npm run --silent test:unit
step 'executable' executable
# Daemons run the shipped executable, which also starts in a third of the time.
KMESH_BINARY="$PWD/build/test/executable/kmesh" step 'tests across packages' npm run --silent test:e2e
