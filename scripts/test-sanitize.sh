#!/usr/bin/env bash
# Builds both addons with AddressSanitizer and UndefinedBehaviorSanitizer into build/sanitize, and runs the tests of the
# tunnel engine and its fuzz with them: `npm run test:sanitize`, or with the test files to run. Fails on any report.
# KMESH_FUZZ_SECONDS: how long each fuzz runs, 150 by default. Tests that measure memory are left out.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/node_modules/.bin:$PATH"

output="$PWD/build/sanitize"
mkdir -p "$output"
rm -f "$output"/report.*
bash scripts/build-addon.sh SANITIZE=1 BUILD=build/sanitize

if [[ $# -gt 0 ]]; then
  files=("$@")
else
  tests=test/tunnel-path
  files=("$tests"/{drain-end,endings,random-endings,hbone-pool,passthrough,outbound,inbound,tunnel,nested-sessions,tunnel-certificates,session-ends,tunnel-fuzz}.test.ts
    packages/tunnel/test/engine.test.ts)
fi

export KMESH_ADDON_DIRECTORY="$output"
export KMESH_FUZZ_SECONDS="${KMESH_FUZZ_SECONDS:-150}"
export KMESH_TEST_BYTES="${KMESH_TEST_BYTES:-67108864}"
# Node.js itself is built without sanitizers, and does not free its memory at exit.
export ASAN_OPTIONS="detect_leaks=0:abort_on_error=1:log_path=$output/report"
export UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1:log_path=$output/report"
compiler="${CXX:-g++}"
libraries="$("$compiler" -print-file-name=libasan.so):$("$compiler" -print-file-name=libubsan.so)"

status=0
LD_PRELOAD="$libraries" node --test --test-concurrency=1 --test-reporter=spec --test-timeout=1800000 "${files[@]}" || status=$?
if compgen -G "$output/report.*" >/dev/null; then
  cat "$output"/report.*
  echo "test-sanitize: the sanitizers report the above" >&2
  exit 1
fi
exit "$status"
