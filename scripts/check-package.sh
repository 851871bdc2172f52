#!/usr/bin/env bash
# Builds the package as it would be published, installs the tarball in an empty folder, and uses it from there.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
export PATH="$root/node_modules/.bin:$PATH"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

rm -rf dist
npm run --silent build
tarball=$(npm pack --silent --ignore-scripts --pack-destination "$work")
tar -tzf "$work/$tarball" | sed 's,^package/,,' >"$work/files"
if grep -E '^(test|bench|certs|docs)/|\.env|(^|/)\.npmrc$' "$work/files"; then
  echo "the tarball holds what it should not (above)" >&2
  exit 1
fi

mkdir "$work/app"
cd "$work/app"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund "$work/$tarball"

want=$(node -p "require('$root/package.json').version")
got=$(npx --no-install skerry --version)
[ "$got" = "$want" ] || { echo "skerry --version says '$got', not '$want'" >&2; exit 1; }

cat >check.mjs <<'JS'
import { defineEdge, proxy } from "skerry";
import * as middleware from "skerry/middleware";

for (const [name, value] of Object.entries({ defineEdge, proxy, ...middleware }))
  if (value === undefined) throw new Error(`${name} is not exported`);
if (typeof defineEdge !== "function" || typeof proxy !== "function") throw new Error("the API is not there");
JS
for runtime in "node" "bun" "deno run -A"; do
  $runtime check.mjs
  echo "imported with $runtime"
done
echo "package: $(wc -l <"$work/files") files, skerry $got"
