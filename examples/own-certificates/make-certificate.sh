#!/bin/sh
# A self-signed certificate for app.localhost in the folder that is named, or in this one.
set -eu
cd "${1:-$(dirname "$0")}"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=app.localhost \
  -addext subjectAltName=DNS:app.localhost -keyout key.pem -out cert.pem 2>/dev/null
chmod 600 key.pem
