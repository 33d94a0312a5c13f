#!/usr/bin/env bash
# `npm run test:cluster`: sets up what is missing, then a cluster from nothing, all cases in it, and nothing of it left. Arguments are those of "up", as
# --proxy and --nodes. The image is that of this tree, as it is now.
set -euo pipefail
cd "$(dirname "$0")/.."
KMESH_BOOTSTRAP=cluster bash scripts/bootstrap.sh >&2
export PATH="$PWD/node_modules/.bin:$PATH"

npm run --silent build:image
status=0
trap 'node istio-integration/cluster/main.ts down' EXIT
node istio-integration/cluster/main.ts up "$@"
node istio-integration/cluster/main.ts test || status=$?
exit "$status"
