#!/usr/bin/env bash
# `npm run test:kernels`: the BPF programs under the running kernel and under Debian 12's, in an emulated machine.
# Installs the emulator when it is missing; the kernel is unpacked under build/, not installed on this machine.
set -euo pipefail
cd "$(dirname "$0")/.."

bash scripts/bootstrap.sh
export PATH="$PWD/node_modules/.bin:$PATH:/usr/sbin:/sbin"
if ! command -v qemu-system-x86_64 >/dev/null; then
	echo "kmesh: installing qemu-system-x86" >&2
	log=$(mktemp)
	trap 'rm -f "$log"' EXIT
	if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends qemu-system-x86; } >"$log" 2>&1; then
		tail -n 20 "$log" >&2
		echo "kmesh: apt-get could not install qemu-system-x86: see the lines above." >&2
		exit 1
	fi
	rm -f "$log"
fi
exec node test/vm/main.ts "$@"
