#!/usr/bin/env bash
# Makes the Python tools of tests/aws in .tools/aws (450 MB, two minutes) and does nothing where they are there.
# Prints the path of their python. `tools.sh --check` only says whether they are there.
set -eu
cd "$(dirname "$0")/../.."
here=tests/aws/requirements.txt
there=.tools/aws
if [ ! -x "$there/bin/python" ] || ! cmp -s "$here" "$there/requirements.txt"; then
  if [ "${1:-}" = "--check" ]; then echo "no tools: run tests/aws/tools.sh" >&2; exit 1; fi
  rm -rf "$there"
  python3 -m venv "$there"
  "$there/bin/pip" install --quiet --disable-pip-version-check --no-input --requirement "$here" >&2
  cp "$here" "$there/requirements.txt"
fi
echo "$PWD/$there/bin/python"
