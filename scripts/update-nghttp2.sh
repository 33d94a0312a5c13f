#!/usr/bin/env bash
# Updates packages/tunnel/vendor/nghttp2 from the crate libnghttp2-sys, whose version names nghttp2's after the plus sign.
set -euo pipefail
cd "$(dirname "$0")/.."

crate=${1:?usage: scripts/update-nghttp2.sh CRATE_VERSION, such as 0.1.13+1.68.1}
version=${crate#*+}
vendor=packages/tunnel/vendor/nghttp2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cargo init --quiet --name update "$work"
cargo add --quiet --manifest-path "$work/Cargo.toml" "libnghttp2-sys@=${crate%%+*}"
cargo vendor --quiet --manifest-path "$work/Cargo.toml" "$work/vendor" >/dev/null
source=$work/vendor/libnghttp2-sys/nghttp2
IFS=. read -r major minor patch <<<"$version"
number=$(printf '0x%02x%02x%02x' "$major" "$minor" "$patch")
cp "$source/lib/includes/nghttp2/nghttp2.h" "$vendor/include/nghttp2/"
cp "$source/COPYING" "$vendor/"
sed -e "s/@PACKAGE_VERSION@/$version/;s/@PACKAGE_VERSION_NUM@/$number/" \
  "$source/lib/includes/nghttp2/nghttp2ver.h.in" >"$vendor/include/nghttp2/nghttp2ver.h"
echo "update-nghttp2: headers of $version in $vendor; write the versions into its README.md"
