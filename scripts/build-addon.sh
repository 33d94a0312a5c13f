#!/usr/bin/env bash
# Builds build/kmesh-runtime.node, compiling only what is stale. One build at a time; others wait for it.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p build
exec 9>build/.addon-lock
flock 9
exec make --no-print-directory --silent -j2 -f packages/runtime/native/Makefile "$@"
