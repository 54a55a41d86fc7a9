#!/usr/bin/env bash
# Makes the peers of tests/bench/settle in .tools/settle (500 MB, a minute) and does nothing where they are there. Prints the
# path of their python.
set -eu
cd "$(dirname "$0")/../../.."
there=.tools/settle
want=$(cat tests/bench/settle/requirements.txt; python3 --version)
if [ ! -x "$there/bin/python" ] || [ "$want" != "$(cat "$there/made-from" 2>/dev/null)" ]; then
  rm -rf "$there"
  python3 -m venv "$there"
  "$there/bin/pip" install --quiet --disable-pip-version-check --no-input --requirement tests/bench/settle/requirements.txt >&2
  printf '%s\n' "$want" >"$there/made-from"
fi
echo "$PWD/$there/bin/python"
