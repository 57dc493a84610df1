# What every node of a cluster has in common; head.sh, worker.sh and slurm.sbatch read it. Nothing here ends a Ray that
# runs already: a host may have others.
# shellcheck shell=bash

# The Python that Ray and our jobs run with: `python` and `ray` are looked for in BIN.
BIN=${BIN:-$(cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)/.venv/bin}
export PATH="$BIN:$PATH"

# The token: the same on every node, and on the machines that submit. The head makes one where there is none.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}
unset RAY_AUTH_TOKEN
if [ ! -s "$RAY_AUTH_TOKEN_PATH" ] && [ "$(basename "$0")" = head.sh ]; then
    (umask 077 && mkdir -p "$(dirname "$RAY_AUTH_TOKEN_PATH")" && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$RAY_AUTH_TOKEN_PATH")
    echo "a new token is in $RAY_AUTH_TOKEN_PATH: copy it to every node and to whoever submits" >&2
fi
if [ ! -s "$RAY_AUTH_TOKEN_PATH" ]; then
    echo "error: $RAY_AUTH_TOKEN_PATH: there is no token; copy it from the head" >&2
    exit 2
fi
if [ -n "$(find -L "$RAY_AUTH_TOKEN_PATH" -perm /077)" ]; then
    echo "error: $RAY_AUTH_TOKEN_PATH: other users can read the token; chmod 600 $RAY_AUTH_TOKEN_PATH" >&2
    exit 2
fi

export RAY_USAGE_STATS_ENABLED=0
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
