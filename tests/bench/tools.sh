#!/usr/bin/env bash
# Makes the peers of tests/bench in .tools/bench (220 MB, a minute) and does nothing where they are there: a Python with
# boto3 and Powertools, and the handlers for Node bundled by esbuild. A peer that cannot be made is left out and said so.
set -u
cd "$(dirname "$0")/../.."
there=$PWD/.tools/bench peers=$PWD/tests/bench/peers
want=$(cat "$peers/requirements.txt" "$peers/package.json" "$peers"/node/*.mjs; python3 --version; node --version 2>&1)
[ "$want" = "$(cat "$there/made-from" 2>/dev/null)" ] && exit 0
rm -rf "$there"
mkdir -p "$there/node"

python3 -m venv "$there/python" &&
  "$there/python/bin/pip" install --quiet --disable-pip-version-check --no-input --requirement "$peers/requirements.txt" >&2 ||
  { echo "the peer in Python cannot be made" >&2; rm -rf "$there/python"; want=; }

# Bundled as Powertools' and the SDK's guides recommend. Without a lock file: versions of direct dependencies are exact.
cp "$peers/package.json" "$peers"/node/*.mjs "$there/node/" &&
  (cd "$there/node" && npm install --silent --no-package-lock --no-audit --no-fund --ignore-scripts >&2 &&
    for handler in receive decide; do
      npx --no-install esbuild $handler.mjs --bundle --minify --platform=node --target=node20 --format=esm --main-fields=module,main \
        --log-level=warning --banner:js="import{createRequire}from'module';const require=createRequire(import.meta.url);" \
        --outfile=bundle/$handler.mjs || exit 1
    done && cp ric.mjs bundle/) >&2 ||
  { echo "the peer in Node cannot be made" >&2; rm -rf "$there/node/bundle"; want=; }

printf '%s\n' "$want" >"$there/made-from"
