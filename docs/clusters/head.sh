#!/usr/bin/env bash
# The head of a cluster made by hand: Ray with a token, until it is told to end (SIGTERM, Ctrl-C).
#
#     head.sh IP [option of `ray start`...]      as: head.sh 10.0.0.1 --num-cpus=0
#
# IP is this host's address in the network of the cluster. The dashboard, which takes jobs, listens on loopback: reach
# it with `ssh -L 8265:localhost:8265 HEAD`, or set DASHBOARD_HOST to an address in a network that is yours alone.
set -euo pipefail
ip=${1:?usage: head.sh IP [option of ray start...]}
shift
here=$(cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=docs/clusters/node.sh
source "$here/node.sh"

# A node that does not answer is given up after about 4 x (3 + 5) = 32 s; Ray's own settings take 63 s.
export RAY_health_check_initial_delay_ms=5000 RAY_health_check_period_ms=3000
export RAY_health_check_timeout_ms=5000 RAY_health_check_failure_threshold=4

exec ray start --head --block --disable-usage-stats --node-ip-address="$ip" --port="${PORT:-6379}" \
    --dashboard-host="${DASHBOARD_HOST:-127.0.0.1}" --dashboard-port="${DASHBOARD_PORT:-8265}" "$@"
