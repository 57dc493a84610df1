#!/usr/bin/env bash
# A worker of a cluster made by hand: joins the head, and ends when it is told to, or when the head has given it up.
# Have it started again then: ablate-ray@.service does.
#
#     worker.sh HEAD IP [option of `ray start`...]      as: worker.sh 10.0.0.1:6379 10.0.0.2 --num-gpus=8
#
# IP is this host's address in the network of the cluster.
set -euo pipefail
head=${1:?usage: worker.sh HEAD:PORT IP [option of ray start...]} ip=${2:?usage: worker.sh HEAD:PORT IP}
shift 2
here=$(cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=docs/clusters/node.sh
source "$here/node.sh"

exec ray start --block --disable-usage-stats --address="$head" --node-ip-address="$ip" "$@"
