#!/bin/sh
# Starts as root only to hand a fresh volume to the user `node`, then gives root up for good. One capability stays: ports
# 80 and 443. Started as another user (docker run --user), it changes nothing.
set -eu
if [ "$(id -u)" = 0 ]; then
  mkdir -p /data/certs
  chown node:node /data /data/certs
  exec setpriv --reuid node --regid node --init-groups --no-new-privs \
    --inh-caps=-all,+net_bind_service --ambient-caps=-all,+net_bind_service --bounding-set=-all,+net_bind_service \
    -- skerry "$@"
fi
exec skerry "$@"
