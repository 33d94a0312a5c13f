#!/usr/bin/env bash
# Compiles the lab's helper programs (packages/lab/native) into build/lab. Does nothing when they are up to date.
set -euo pipefail
cd "$(dirname "$0")/.."

source_directory=packages/lab/native
output_directory=build/lab
mkdir -p "$output_directory"

for program in enter namespace serve dial raw dns-load; do
  output="$output_directory/$program"
  if [[ "$output" -nt "$source_directory/$program.c" && "$output" -nt "$source_directory/common.h" ]]; then
    continue
  fi
  # Written beside and renamed: another process may be running the old program or building the same one.
  temporary="$output.$$"
  "${CC:-cc}" -std=gnu17 -O2 -Wall -Wextra -Werror -D_GNU_SOURCE -o "$temporary" "$source_directory/$program.c"
  mv -f "$temporary" "$output"
done

# Resolvers of three runtimes, for tests of DNS; bootstrap.sh without KMESH_BOOTSTRAP=start installs missing compilers.
build_resolver() { # name, source, command that takes the output's path
  local output="$output_directory/$1" source="$2"
  shift 2
  [[ "$output" -nt "$source" ]] && return
  "$@" "$output.$$" && mv -f "$output.$$" "$output"
}
resolve_source="$source_directory/resolve.c"
build_glibc() { "${CC:-cc}" -std=gnu17 -O2 -Wall -Wextra -Werror -D_GNU_SOURCE "$resolve_source" -o "$1"; }
build_musl() { musl-gcc -static -std=gnu17 -O2 -Wall -Wextra -Werror "$resolve_source" -o "$1"; }
build_go() { (output="$PWD/$1" && cd "$source_directory/resolve" && CGO_ENABLED=0 GOFLAGS=-buildvcs=false go build -o "$output" .); }
build_resolver resolve-glibc "$resolve_source" build_glibc
command -v musl-gcc >/dev/null && build_resolver resolve-musl "$resolve_source" build_musl
command -v go >/dev/null && build_resolver resolve-go "$source_directory/resolve/main.go" build_go
exit 0
