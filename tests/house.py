#!/usr/bin/env python3
"""House rules that no compiler checks: which way crates may depend, file sizes, forbidden text, ignored tests."""
import json
import pathlib
import re
import subprocess
import sys

root = pathlib.Path(__file__).resolve().parent.parent
problems = []

tracked = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=root, capture_output=True, text=True, check=True)
files = [root / name for name in tracked.stdout.splitlines() if (root / name).is_file()]

# Arrows run one way: functions, infra -> aws, local -> host -> engine -> connectors -> core (DESIGN section 8).
rank = {
    "tillway-core": 0,
    "tillway-connectors": 1,
    "tillway-engine": 2,
    "tillway-host": 3,
    "tillway-local": 4,
    "tillway-aws": 4,
    "tillway-functions": 5,
    "tillway": 5,
}
metadata = json.loads(
    subprocess.run(
        ["cargo", "metadata", "--no-deps", "--format-version", "1", "--locked"], cwd=root, capture_output=True, text=True, check=True
    ).stdout
)
for package in metadata["packages"]:
    here = rank.get(package["name"])
    for dependency in package["dependencies"]:
        there = rank.get(dependency["name"])
        if here is not None and there is not None and dependency["kind"] is None and there >= here:
            problems.append(f"{package['name']} may not depend on {dependency['name']}")
    names = {d["name"] for d in package["dependencies"] if d["kind"] is None}
    if package["name"] != "tillway-local" and "rusqlite" in names:
        problems.append(f"{package['name']}: only tillway-local knows SQLite")
    if package["name"] != "tillway-aws" and any(n.startswith("aws-sdk") for n in names):
        problems.append(f"{package['name']}: only tillway-aws knows the AWS SDK")
    if package["name"] == "tillway-core" and names & {"tokio", "reqwest", "rusqlite", "getrandom"}:
        problems.append("tillway-core is pure: no I/O, no clock, no randomness")

# Names of vendors stay out of core and engine (their tests aside).
vendors = re.compile(r"\b(stripe|clarity|cybersource|paytrace|shopify|zoho)\b", re.I)
hosts = re.compile(r"(static|index)\." + r"crates\.io|pypi\." + r"org|registry\." + r"npmjs|deb\." + r"debian", re.I)
secrets = re.compile(r"sk_live_[0-9a-zA-Z]{8,}|AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY")
for path in files:
    name = path.relative_to(root).as_posix()
    if path.stat().st_size > 1_000_000:
        problems.append(f"{name}: over 1 MB")
    if path.suffix not in {".rs", ".toml", ".md", ".yaml", ".yml", ".json", ".py", ".sh", ".txt", ""} or name == "Cargo.lock":
        continue
    text = path.read_text(encoding="utf-8", errors="replace")
    if name != "tests/house.py" and hosts.search(text):
        problems.append(f"{name}: names a package registry's host")
    if secrets.search(text) and name != "tests/house.py":
        problems.append(f"{name}: looks like a secret")
    if path.suffix == ".rs":
        if re.search(r"#\[ignore", text) and "reason" not in text:
            problems.append(f"{name}: an ignored test without a reason")
        if name.startswith(("shared/core/src", "shared/engine/src")):
            code = "\n".join(l for l in text.split("#[cfg(test)]")[0].splitlines() if not l.lstrip().startswith("//"))
            lines = [l for l in code.splitlines() if vendors.search(l)]
            if lines and "_tests" not in name and "settings.rs" not in name and "planted.rs" not in name:
                problems.append(f"{name}: names a vendor: {lines[0].strip()[:80]}")

for problem in problems:
    print(problem)
print(f"house rules: {len(files)} files, {len(problems)} problem(s)")
sys.exit(1 if problems else 0)
