#!/usr/bin/env python3
"""Start-up, first and warm invocation and memory of functions on a local Lambda Runtime API: `run.py --help`, README.md here."""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import urllib.request

import events
import runtime_api
import subjects

BINARIES = "stripe-payments orchestrate clarity-orders"
EXAMPLES = "hello hello-sdk"
# DESIGN.md section 9.
RECEIVE_START, RECEIVE_WARM, RECEIVE_MEMORY, OTHER_MEMORY = 0.7, 0.25, 8.0, 16.0


def target():
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", events.ROOT / "target")) / "function"


def build():
    # As `cargo lambda build --profile function` builds them, for this machine.
    # Apart: what the examples need of shared crates would be built into the functions too.
    for package, kind, names in (("tillway-functions", "--bin", BINARIES), ("tillway-aws", "--example", EXAMPLES)):
        wanted = [word for name in names.split() for word in (kind, name)]
        subprocess.run(["cargo", "build", "--locked", "--profile", "function", "-p", package, *wanted], cwd=events.ROOT, check=True)


class Stub:
    def __init__(self, folder):
        file = pathlib.Path(folder) / "secrets.json"
        file.write_text(json.dumps(events.SECRETS), encoding="utf-8")
        script = pathlib.Path(__file__).with_name("stub.py")
        self.process = subprocess.Popen([sys.executable, script, file], stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def take(self):
        return json.load(urllib.request.urlopen(f"http://127.0.0.1:{self.port}/bench/take", timeout=5))

    def stop(self):
        self.process.kill()
        self.process.wait()


def sealed_order(binaries, environment, stub):
    """What clarity-orders sends for an order: the sealed message on which orchestrate decides."""
    subject = runtime_api.Subject([str(binaries / "clarity-orders")], environment)
    try:
        _, answer = subject.invoke(events.clarity(1))
        if answer["statusCode"] != 202:
            raise runtime_api.Failed(f"clarity-orders: {answer}: {subject.said()}")
        (body,) = stub.take()["sent"].values()
        return body
    finally:
        subject.stop()


def cold(row, environment, stub, warm, out):
    """One process of a subject from start to end."""
    stub.take()
    subject = runtime_api.Subject(row.command, environment, row.folder)
    try:
        out["init"].append(subject.init)
        out["at start"] = stub.take()["counts"]
        times = []
        for number in range(warm + 1):
            event = row.event(number)
            took, answer = subject.invoke(event)
            times.append(took)
            if not row.good(answer):
                raise runtime_api.Failed(f"{row.name}: {answer}: {subject.said()}")
            if number == 0:
                out["at first"] = stub.take()["counts"]
        out["calls"] = {name: count / warm for name, count in stub.take()["counts"].items()}
        out["first"].append(times[0])
        out["warm"].extend(times[1:])
        out["memory"].append(subject.memory())
        out["processor"].append(subject.processor())
    finally:
        subject.stop()


def figures(out):
    warm = sorted(out["warm"])
    return {
        "init_min": min(out["init"]), "init_p50": statistics.median(out["init"]), "first_p50": statistics.median(out["first"]),
        "warm_min": warm[0], "warm_p50": statistics.median(warm), "warm_p99": warm[int(len(warm) * 0.99)],
        "memory": max(out["memory"]), "processor": statistics.median(out["processor"]),
        "calls_at_start": out["at start"], "calls_at_first": out["at first"], "calls": out["calls"],
    }


def table(rows, found):
    """One table; ratios are against Tillway's row of the same job, for Tillway's against the bare hello."""
    base = {row.job: found[row.name] for row in rows if "Tillway" in row.name and row.name in found}
    print("| subject | init min / p50 ms | first p50 ms | warm p50 / p99 ms | peak MB | AWS calls, start + each | × init | × warm | × MB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        if row.name not in found:
            print(f"| {row.name} | {row.missing} | | | | | | | |")
            continue
        f, b = found[row.name], base.get(row.job)
        calls = f"{sum(f['calls_at_start'].values())} + {sum(f['calls'].values()):g}"
        ratios = [f"{f[k] / b[k]:.1f}" for k in ("init_p50", "warm_p50", "memory")] if b and b is not f else ["1" if b else ""] * 3
        print(f"| {row.name} | {f['init_min']:.2f} / {f['init_p50']:.2f} | {f['first_p50']:.2f} | {f['warm_p50']:.3f} / {f['warm_p99']:.2f} "
              f"| {f['memory']:.1f} | {calls} | {' | '.join(ratios)} |")


def budgets(found):
    receive, decide = found.get("stripe-payments (Tillway)"), found.get("orchestrate (Tillway)")
    clients = found.get("hello + SDK clients (Rust)")
    lines = []
    if receive and clients:
        for key, name in (("init_p50", "p50"), ("init_min", "least")):
            lines.append((f"receive: start / start of hello with SDK clients, {name}", receive[key] / clients[key], RECEIVE_START))
    if receive:
        lines += [("receive: warm p50, ms", receive["warm_p50"], RECEIVE_WARM), ("receive: peak MB", receive["memory"], RECEIVE_MEMORY)]
    if decide:
        lines.append(("orchestrate: peak MB", decide["memory"], OTHER_MEMORY))
    print("\n| budget | figure | at most | |\n|---|---|---|---|")
    for what, figure, most in lines:
        print(f"| {what} | {figure:.2f} | {most:g} | {'met' if figure <= most else '**missed**'} |")


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--cold", type=int, default=15, help="processes of each subject")
    arguments.add_argument("--warm", type=int, default=200, help="warm invocations of each process")
    arguments.add_argument("--build", action="store_true", help="build functions and examples first (profile function: minutes)")
    arguments.add_argument("--only", default="", help="subjects whose name holds this text")
    arguments.add_argument("--binaries", type=pathlib.Path, default=target(), help="folder of the built functions")
    arguments.add_argument("--roots", default=subjects.ROOTS, help="bundle of root certificates")
    arguments.add_argument("--json", action="store_true", help="figures as JSON instead of tables")
    given = arguments.parse_args()
    if given.build:
        build()
    peers = subprocess.run([pathlib.Path(__file__).with_name("tools.sh")], check=False)
    with tempfile.TemporaryDirectory(prefix="tillway-bench-") as folder:
        stub = Stub(folder)
        try:
            config = events.ROOT / "infra/config/tillway/tillway.yaml"
            environment = subjects.environment(stub.port, config, given.roots)
            sealed = sealed_order(given.binaries, environment, stub)
            rows = [row for row in subjects.rows(given.binaries, sealed) if given.only in row.name]
            outs = {row.name: {"init": [], "first": [], "warm": [], "memory": [], "processor": []} for row in rows if not row.missing}
            there = [row for row in rows if not row.missing]
            before = os.getloadavg()[0]
            # In turns, each time beginning with another: what disturbs, disturbs all alike.
            for turn in range(given.cold):
                for row in there[turn % len(there):] + there[:turn % len(there)]:
                    cold(row, environment, stub, given.warm, outs[row.name])
            load = f"load {before:.1f} before, {os.getloadavg()[0]:.1f} after"
        finally:
            stub.stop()
    found = {name: figures(out) for name, out in outs.items()}
    if given.json:
        print(json.dumps({"load": load, "peers": peers.returncode, "subjects": found}, indent=1))
        return
    print(f"{given.cold} processes of each subject in turns, {given.warm} warm invocations of each; {os.cpu_count()} processors; {load}\n")
    table(rows, found)
    budgets(found)
    for row in there:
        told = [", ".join(f"{n:g} {c}" for c, n in found[row.name][k].items()) or "none" for k in ("calls_at_start", "calls_at_first", "calls")]
        print(f"\n{row.name}: {row.what}. Calls: {told[0]} at start; {told[1]} at first; {told[2]} when warm.", end="")
    print()


if __name__ == "__main__":
    main()
