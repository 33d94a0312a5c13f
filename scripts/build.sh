#!/usr/bin/env bash
# Builds what is not TypeScript: the native addon, the BPF objects, the lab's helper programs. Incremental.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/node_modules/.bin:$PATH"
bash scripts/build-addon.sh
bash scripts/build-bpf.sh
bash scripts/build-lab.sh
