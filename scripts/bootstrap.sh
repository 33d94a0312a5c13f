#!/usr/bin/env bash
# Prepares a fresh Debian 12 machine for `npm start` and `npm test`: Debian packages, npm packages,
# the native addon, the BPF objects and the lab's helper programs. Every step is skipped when it has nothing to do.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
	printf 'kmesh: %s\n' "$1" >&2
	exit 1
}

[ "$(uname -s)" = Linux ] || fail "Kmesh runs on Linux only (this is $(uname -s)): use a Linux machine or a virtual machine."
[ "$(id -u)" = 0 ] || fail "this needs root, for network namespaces and BPF: run it again as root (sudo npm start)."

# Packages to build and run Kmesh, then those of the tests.
packages=(clang llvm clang-format bpftool g++ make pkg-config libelf-dev zlib1g-dev
	iproute2 iptables nftables ipset ethtool procps curl openssl)
if [ "${KMESH_BOOTSTRAP:-}" != start ]; then
	packages+=(nghttp2-client prometheus chromium wrk nginx-light containerd runc bind9-dnsutils unbound musl-tools golang-go)
fi
# Packages of the cluster of `npm run test:cluster`.
if [ "${KMESH_BOOTSTRAP:-}" = cluster ]; then
	packages+=(etcd-server containernetworking-plugins conntrack python3-pip)
fi

missing=()
for package in "${packages[@]}"; do
	dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
	command -v apt-get >/dev/null || fail "missing ${missing[*]}, and there is no apt-get to install them: install them by hand."
	echo "kmesh: installing Debian packages: ${missing[*]}" >&2
	# Services of the packages must not start on this machine.
	policy=/usr/sbin/policy-rc.d
	placed=
	if [ ! -e "$policy" ]; then
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod +x "$policy"
		placed=1
	fi
	trap '[ -z "$placed" ] || rm -f "$policy"' EXIT
	log=$(mktemp)
	if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
		tail -n 20 "$log" >&2
		rm -f "$log"
		fail "apt-get could not install ${missing[*]}: see the lines above."
	fi
	rm -f "$log"
	[ -z "$placed" ] || rm -f "$policy"
	trap - EXIT
fi

stamp=node_modules/.kmesh-stamp
wanted=$(cat package.json package-lock.json packages/*/package.json | sha256sum)
if [ ! -x node_modules/.bin/node ] || [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
	echo "kmesh: installing npm packages" >&2
	# Meanwhile the steps that do not need them.
	bash scripts/build-bpf.sh &
	bpf=$!
	bash scripts/build-lab.sh &
	lab=$!
	bash scripts/build-addon.sh build/libbpf/libbpf.a &
	libbpf=$!
	npm ci --loglevel=error >&2
	printf '%s\n' "$wanted" >"$stamp"
	wait "$bpf"
	wait "$lab"
	wait "$libbpf"
fi

bash scripts/build.sh
