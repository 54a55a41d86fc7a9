#!/usr/bin/env bash
# Makes the Python tools of tests/aws in .tools/aws (450 MB, two minutes) and does nothing where they are there.
# Prints the path of their python. `tools.sh --check` only says whether they are there.
set -eu
cd "$(dirname "$0")/../.."
there=.tools/aws
want=$(cat tests/aws/requirements.txt tests/aws/constraints.txt)
if [ ! -x "$there/bin/python" ] || [ "$want" != "$(cat "$there/made-from" 2>/dev/null)" ]; then
  if [ "${1:-}" = "--check" ]; then echo "no tools: run tests/aws/tools.sh" >&2; exit 1; fi
  rm -rf "$there"
  python3 -m venv "$there"
  "$there/bin/pip" install --quiet --disable-pip-version-check --no-input --requirement tests/aws/requirements.txt \
    --constraint tests/aws/constraints.txt >&2
  printf '%s\n' "$want" >"$there/made-from"
fi
echo "$PWD/$there/bin/python"
