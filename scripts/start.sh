#!/usr/bin/env bash
# `npm start`: set up what is missing, then run the demo mesh.
set -euo pipefail
cd "$(dirname "$0")/.."
KMESH_BOOTSTRAP=start bash scripts/bootstrap.sh >&2
exec node_modules/.bin/node packages/kmesh/src/main.ts demo "$@"
