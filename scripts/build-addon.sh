#!/usr/bin/env bash
# Builds build/kmesh-linux.node and build/kmesh-tunnel.node, compiling only what is stale. One build at a time; others wait for it.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p build
exec 9>build/.addon-lock
flock 9
for package in linux tunnel; do
  make --no-print-directory --silent -j2 -f "packages/$package/native/Makefile" "$@"
done
