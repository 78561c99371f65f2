#!/bin/sh
# embed.sh FILE.lua... - print one row of C for each script:
#
#   SCRIPT(commit, "da39a3ee5e6b4b0d3255bfef95601890afd80709", "local x = 1\n" ...)
#
# Comment lines (first non-blank characters --) and blank lines are dropped before hashing: Redis
# keeps each script's text in memory and the digest names exactly the text that is sent.
set -eu

for file in "$@"; do
    body=$(sed -e '/^[[:space:]]*--/d' -e '/^[[:space:]]*$/d' "$file")
    name=$(basename "$file" .lua)
    sha=$(printf '%s\n' "$body" | sha1sum | cut -c1-40)
    printf 'SCRIPT(%s, "%s",\n' "$name" "$sha"
    printf '%s\n' "$body" | sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/^/    "/' -e 's/$/\\n"/'
    printf ')\n'
done
