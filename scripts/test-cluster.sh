#!/usr/bin/env bash
# `npm run test:cluster`: installs what is missing, starts a cluster, runs all cases in it, and removes it. Arguments are those of
# "up", such as --proxy and --nodes. The image is built from this tree.
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
