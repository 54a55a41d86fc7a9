#!/usr/bin/env python3
"""Settles a generated month of trade by Tillway, DuckDB and pandas, in turns in one run, compares what they found and prints
one table with ratios. `run.py --help`; what the figures are not stands in README.md."""
import argparse
import csv
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

root = pathlib.Path(__file__).resolve().parents[3]
here = pathlib.Path(__file__).resolve().parent
binary = root / "target/release/tillway-settle-bench"


def arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--lines", type=int, default=5_000_000)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--rounds", type=int, default=1, help="every subject so often, in turns; the median counts")
    p.add_argument("--build", action="store_true", help="builds the release binary first (minutes)")
    p.add_argument("--only", help="subjects whose name begins with one of these, separated by commas")
    p.add_argument("--folder", type=pathlib.Path, default=root / "target/settle-bench", help="some 5 GB at 5 million lines")
    p.add_argument("--json", type=pathlib.Path, help="figures go there as well")
    return p.parse_args()


def measured(command: list[str]) -> dict:
    """Runs a child; its wall time, its processor time and its greatest resident memory, as the kernel counts them."""
    begun = time.monotonic()
    child = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - begun
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"{command[0]} ended with {child.returncode}")
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "mb": usage.ru_maxrss / 1024}


def warm(folder: pathlib.Path) -> None:
    """Both files into the page cache, for everybody alike."""
    for name in ("lines.csv", "expected.csv"):
        with open(folder / name, "rb") as file:
            while file.read(1 << 24):
                pass


# Counts what is in one result and not in the other; in a process of its own, for it needs DuckDB.
COMPARE = """
import duckdb, json, sys
ours, theirs = sys.argv[1:]
db = duckdb.connect()
db.execute("set enable_progress_bar = false")
columns = "tier, currency, lines_sum, expected_sum, coalesce(tolerance, '') t, lines, expected"
def table(name, text): db.execute(f"create table {name} as {text}")
table("o", f"select {columns} from read_csv('{ours}/tables/*-groups.csv', header = true, all_varchar = true)")
table("t", f"select {columns} from read_csv('{theirs}/groups.csv', header = true, all_varchar = true)")
table("p", f'''select "is", coalesce(lines, '') || coalesce(expected, '') id
    from read_csv('{ours}/tables/*-rest.csv', header = true, all_varchar = true) where "is" like 'open%' ''')
table("q", f'''select "is", id from read_csv('{theirs}/open.csv', header = true, all_varchar = true)''')
one = lambda text: db.execute("select count(*) from " + text).fetchone()[0]
tiers = db.execute('''select tier, currency, count(*), sum(lines_sum::hugeint)::varchar, sum(expected_sum::hugeint)::varchar
    from t group by all order by all''').fetchall()
print(json.dumps({"groups": one("o"), "only ours": one("(from o except all from t)"), "only theirs": one("(from t except all from o)"),
    "open": one("p"), "open only ours": one("(from p except all from q)"), "open only theirs": one("(from q except all from p)"), "tiers": tiers}))
"""


def main() -> None:
    args = arguments()
    if args.build:
        subprocess.run(["cargo", "build", "--release", "--locked", "-p", "tillway-settle-bench"], cwd=root, check=True)
    python = subprocess.run([here / "tools.sh"], capture_output=True, text=True, check=True).stdout.strip()
    data = args.folder / f"{args.lines}-{args.seed}"
    if not (data / "today").exists():
        subprocess.run([binary, "make", data, "--lines", str(args.lines), "--seed", str(args.seed)], check=True)
    out = {}
    subjects = {
        "Tillway": lambda o: [binary, "run", data, o],
        "Tillway, every group sealed (SHA-256)": lambda o: [binary, "run", data, o, "--seal"],
        "DuckDB": lambda o: [python, here / "peers/duck.py", data, o],
        "DuckDB held to 512 MB": lambda o: [python, here / "peers/duck.py", data, o, "512MB"],
        "pandas": lambda o: [python, here / "peers/panda.py", data, o],
    }
    if args.only:
        subjects = {n: c for n, c in subjects.items() if n.lower().startswith(tuple(args.only.lower().split(",")))}
    figures: dict[str, list[dict]] = {name: [] for name in subjects}
    load = os.getloadavg()[0]
    for _ in range(args.rounds):
        for number, (name, command) in enumerate(subjects.items()):
            out[name] = args.folder / f"out-{number}"
            shutil.rmtree(out[name], ignore_errors=True)
            warm(data)
            figures[name].append(measured(command(out[name])))
            print(name, {k: round(v, 1) for k, v in figures[name][-1].items()}, file=sys.stderr)
    versions = (here / "requirements.txt").read_text().split("\n")
    print(f"{data.name.split('-')[0]} lines, seed {args.seed}, {args.rounds} round(s), load average {load:.1f} before and {os.getloadavg()[0]:.1f} after, "
          f"{os.cpu_count()} cores; " + ", ".join(v for v in versions if "==" in v))
    print("\n| subject | wall s | processor s | peak MB | to Tillway: wall, processor, memory |\n|---|---|---|---|---|")
    middle = {n: {k: statistics.median(f[k] for f in fs) for k in ("wall", "cpu", "mb")} for n, fs in figures.items()}
    base = middle.get("Tillway")
    for name, m in middle.items():
        ratio = ", ".join(f"{m[k] / base[k]:.1f}" for k in m) if base and name != "Tillway" else ""
        print(f"| {name} | {m['wall']:.1f} | {m['cpu']:.1f} | {m['mb']:.0f} | {ratio} |")
    compared = {}
    for name in [n for n in out if not n.startswith("Tillway") and "Tillway" in out]:
        text = subprocess.run([python, "-c", COMPARE, out["Tillway"], out[name]], capture_output=True, text=True, check=True)
        compared[name] = json.loads(text.stdout)
        tiers = compared[name].pop("tiers")
        with open(out["Tillway"] / "report.csv") as file:
            ours = [[r["what"], r["currency"], int(r["count"]), r["lines_sum"], r["expected_sum"]] for r in csv.DictReader(file) if r["is"] == "groups"]
        compared[name]["tiers whose counts or sums differ"] = sum(row not in tiers for row in ours) + abs(len(ours) - len(tiers))
        print(f"\n{name}: {compared[name]}")
    if args.json:
        args.json.write_text(json.dumps({"figures": figures, "compared": compared, "load": load}, indent=1))
    if any(v for c in compared.values() for k, v in c.items() if "only" in k or "differ" in k):
        sys.exit("the results differ")


main()
