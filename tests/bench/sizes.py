#!/usr/bin/env python3
"""Sizes of the built functions, stripped and zipped as `cargo lambda build --output-format zip` does: `sizes.py [FOLDER]`, by
default target/function; target/lambda holds what `cargo lambda build` left, for either processor. Ends with 1 where a budget
of DESIGN.md section 9 is missed."""
import io
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
RECEIVE, OTHER = 3_000_000, 4_000_000


def functions():
    """`(name, whether it receives)` of every binary of the package."""
    manifest = (ROOT / "functions/Cargo.toml").read_text(encoding="utf-8")
    return [(name, path.startswith("webhooks/")) for name, path in re.findall(r'name = "([\w-]+)"\npath = "([^"]+)"', manifest)]


def sizes(binary):
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "bootstrap"
        # The profile strips already; this machine's `strip` knows its own processor alone.
        stripped = shutil.which("strip") and subprocess.run(["strip", "-o", out, binary], capture_output=True, check=False)
        if not stripped or stripped.returncode:
            shutil.copy(binary, out)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
            file.write(out, "bootstrap")
        return out.stat().st_size, len(packed.getvalue())


def main():
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "function"
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else target
    missed = 0
    print("| function | binary MB | zip MB | at most | |\n|---|---|---|---|---|")
    for name, receives in functions():
        binary = folder / name / "bootstrap" if (folder / name).is_dir() else folder / name
        if not binary.exists():
            continue
        whole, packed = sizes(binary)
        most = RECEIVE if receives else OTHER
        missed += packed > most
        print(f"| {name} | {whole / 1e6:.2f} | {packed / 1e6:.2f} | {most / 1e6:g} | {'met' if packed <= most else '**missed**'} |")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
