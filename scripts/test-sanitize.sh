#!/usr/bin/env bash
# `npm run test:sanitize`: builds the tunnel engine with AddressSanitizer and UndefinedBehaviorSanitizer, then runs its tests,
# the endings of connections and the fuzz of its protocols with it. KMESH_FUZZ_SECONDS: seconds each way, 150 by default.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/node_modules/.bin:$PATH"

sanitized=build/sanitize
mkdir -p "$sanitized"
make --no-print-directory --silent -j2 -f packages/tunnel/native/Makefile SANITIZE=1 BUILD="$sanitized"
ln -sfn "$PWD/build/kmesh-linux.node" "$sanitized/kmesh-linux.node"

# Node.js itself is not instrumented: the run-time library comes first, and what Node.js never frees is no leak of ours.
library=$(gcc -print-file-name=libasan.so):$(gcc -print-file-name=libubsan.so)
export KMESH_ADDON_DIRECTORY="$PWD/$sanitized"
export KMESH_FUZZ_SECONDS=${KMESH_FUZZ_SECONDS:-150}
export ASAN_OPTIONS=detect_leaks=0:halt_on_error=1:abort_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
for file in packages/tunnel/test/engine.test.ts test/tunnel-path/endings.test.ts test/tunnel-path/tunnel-fuzz.test.ts; do
  LD_PRELOAD=$library node --test --test-timeout=900000 --test-reporter=spec "$file"
done
