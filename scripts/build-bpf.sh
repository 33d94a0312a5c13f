#!/usr/bin/env bash
# Compiles bpf/*.bpf.c and links them into build/bpf/kmesh.bpf.o: one object, so that the programs share their
# maps without anything being matched by name at run time. Does nothing when the object is up to date.
# KMESH_BPF_OUTPUT and KMESH_BPF_DEFINES (such as -DNAME) build a variant for a test.
set -euo pipefail
cd "$(dirname "$0")/.."

libbpf=packages/linux/vendor/libbpf
output=${KMESH_BPF_OUTPUT:-build/bpf/kmesh.bpf.o}
mkdir -p build/bpf

newest_source="$(ls -t bpf/*.[ch] scripts/build-bpf.sh | head -n 1)"
if [[ "$output" -nt "$newest_source" ]]; then
  exit 0
fi

bpftool="$(command -v bpftool || echo /usr/sbin/bpftool)"
for tool in clang llvm-strip "$bpftool"; do
  if ! command -v "$tool" >/dev/null; then
    echo "build-bpf: $tool is missing; on Debian: apt-get install clang llvm bpftool" >&2
    exit 1
  fi
done

# Written beside and renamed: another process may be reading the old object or building the same one.
work="build/bpf/work.$$"
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/include"
ln -s "$PWD/$libbpf/src" "$work/include/bpf"

compile() {
  # The kernel headers' asm/ folder is in the architecture's own path, which clang -target bpf does not search.
  clang -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Werror -Wno-unused-parameter ${KMESH_BPF_DEFINES:-} \
    -I "$work/include" -I "$libbpf/include/uapi" -idirafter "/usr/include/$(uname -m)-linux-gnu" \
    -c "$1" -o "$2"
  llvm-strip -g "$2" # keeps .BTF, drops DWARF
}

objects=()
for source in bpf/*.bpf.c; do
  object="$work/$(basename "${source%.c}").o"
  compile "$source" "$object"
  objects+=("$object")
done
"$bpftool" gen object "$work/kmesh.bpf.o" "${objects[@]}"
mv -f "$work/kmesh.bpf.o" "$output"
