#!/usr/bin/env bash
# Compiles the lab's helper programs (packages/lab/native) into build/lab. Does nothing when they are up to date.
set -euo pipefail
cd "$(dirname "$0")/.."

source_directory=packages/lab/native
output_directory=build/lab
mkdir -p "$output_directory"

for program in enter namespace serve dial raw; do
  output="$output_directory/$program"
  if [[ "$output" -nt "$source_directory/$program.c" && "$output" -nt "$source_directory/common.h" ]]; then
    continue
  fi
  # Written beside and renamed: another process may be running the old program or building the same one.
  temporary="$output.$$"
  "${CC:-cc}" -std=gnu17 -O2 -Wall -Wextra -Werror -D_GNU_SOURCE -o "$temporary" "$source_directory/$program.c"
  mv -f "$temporary" "$output"
done
