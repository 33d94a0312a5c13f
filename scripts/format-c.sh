#!/usr/bin/env bash
# Formats our C and C++ sources (--write), or fails when one is not formatted (--check).
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
  --write) arguments=(-i) ;;
  --check) arguments=(--dry-run --Werror) ;;
  *)
    echo "usage: scripts/format-c.sh --check|--write" >&2
    exit 2
    ;;
esac
if ! command -v clang-format >/dev/null; then
  echo "format-c: clang-format is missing; on Debian: apt-get install clang-format" >&2
  exit 1
fi
find bpf packages/*/native bench test -name node_modules -prune -o -type f \
  \( -name '*.c' -o -name '*.h' -o -name '*.cc' \) -print0 |
  sort -z | xargs -0 --no-run-if-empty clang-format "${arguments[@]}"
