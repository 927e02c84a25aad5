#!/bin/sh
# Ask a server whether it lives (/healthz). One that is up and does not answer, three times in a row, is started again;
# one that is down is systemd's business already.
#
#   health.sh [READY_FILE] [UNIT]
set -eu
ready="${1:-/run/safa-stream/ready.json}"
unit="${2:-safa-stream.service}"

[ -e "$ready" ] || exit 0
address="$(sed -n 's/.*"url": "\([a-z]*:\/\/[^/#]*\).*/\1/p' "$ready")"
for try in 1 2 3; do
    # The certificate, where there is one, is for the outside's name; this asks from the inside.
    if curl --silent --insecure --fail --max-time 5 --output /dev/null "$address/healthz"; then
        exit 0
    fi
    sleep 1
done
echo "$unit does not answer at $address; starting it again"
exec systemctl restart "$unit"
