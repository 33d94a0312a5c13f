#!/usr/bin/env bash
# Replaces packages/linux/vendor/libbpf by what is built of a release of libbpf.
#
#   scripts/update-libbpf.sh SOURCE.tar.gz    a source archive: a release of github.com/libbpf/libbpf
#                                             (archive/refs/tags/vX.Y.Z.tar.gz) or Debian's libbpf_*.orig.tar.*
#   scripts/update-libbpf.sh --check          compares the files with the checksum in packages/linux/vendor/VERSION
set -euo pipefail
cd "$(dirname "$0")/.."
vendor=packages/linux/vendor

# Over names and contents of all files, in the order of their names.
checksum() {
	(cd "$vendor/libbpf" && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1)
}

version() {
	awk '/define LIBBPF_MAJOR_VERSION/ { major = $3 } /define LIBBPF_MINOR_VERSION/ { minor = $3 }
		END { print major "." minor }' "$vendor/libbpf/src/libbpf_version.h"
}

case ${1:-} in
--check)
	expected=$(awk '$1 == "files-sha256" { print $2 }' "$vendor/VERSION")
	if [ "$(checksum)" != "$expected" ]; then
		echo "update-libbpf: $vendor/libbpf differs from what $vendor/VERSION names; restore it or run this with a source archive" >&2
		exit 1
	fi
	exit 0
	;;
'' | -*)
	sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
	exit 2
	;;
esac

archive=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar -xf "$archive" -C "$work" --strip-components=1
if [ ! -f "$work/src/libbpf.c" ]; then
	echo "update-libbpf: $archive is not a source archive of libbpf: it has no src/libbpf.c" >&2
	exit 1
fi
rm -rf "$vendor/libbpf"
mkdir -p "$vendor/libbpf/src"
cp "$work"/LICENSE* "$vendor/libbpf/"
cp "$work"/src/*.c "$work"/src/*.h "$vendor/libbpf/src/"
cp -R "$work/include" "$vendor/libbpf/"
{
	echo "name libbpf"
	echo "version $(version)"
	echo "source https://github.com/libbpf/libbpf"
	echo "archive-sha256 $(sha256sum "$archive" | cut -d' ' -f1)"
	echo "files-sha256 $(checksum)"
} >"$vendor/VERSION"
cat "$vendor/VERSION"
