#!/bin/sh
# Checks that includes follow the arrows of the architecture: a folder includes itself and those named for it.
cd "${LATENTD_SRC:-$(dirname "$0")/..}" || exit 2
bad=0
allow() { # FOLDER ALLOWED-PREFIXES…
    dir=$1; shift
    [ -d "$dir" ] || return 0
    pattern=$(printf '%s|' "$dir" "$@"); pattern=${pattern%|}
    out=$(grep -rnE '^#include "' --include='*.c' --include='*.h' "$dir" |
        grep -vE "#include \"($pattern)/" ; true)
    if [ -n "$out" ]; then
        printf '%s may include only: %s %s\n%s\n' "$dir" "$dir" "$*" "$out"
        bad=1
    fi
}
allow base
allow proto base
allow gpu base shaders
allow model base gpu shaders
allow train base model
allow index base
allow daemon base proto gpu model index train
allow clients/c base proto clients/c
allow clients/cli base proto clients/c
exit $bad
