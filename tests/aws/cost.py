#!/usr/bin/env python3
"""What an order costs on AWS, from recorded calls.

    cost.py calls.jsonl --orders 20 --invocations '{"receive": 180, "decide": 200, "act": 120}'

Counted: calls, request units and bytes as recorded; an API request for each invocation of a webhook, a receive and a
delete of its batch for each of a worker, `--log-bytes` of log for each. Lambda's time is `--milliseconds` {stage: ms}, else 50
each: a local debug build on shared cores says nothing about it. Schedules run whether there are orders or not and are
left out, as are reads of secrets; what the tick sends is not. Prices: infra/prices.json.
"""
import argparse
import collections
import json
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SCHEDULES = ("tick", "sweep-", "settle-")
MEMORY_GB, MILLISECONDS = 0.25, 50


def count(recorded, invocations, orders):
    """Counts for each order."""
    out = collections.Counter()
    for call in recorded:
        function, service = call["function"].split("-", 2)[2], call["call"].split(":")[0]
        if service == "secretsmanager":
            continue  # once in five minutes, whatever comes
        out[f"calls {service}"] += 1
        out["write units"] += call["write"]
        out["read units"] += 0 if function.startswith(SCHEDULES) and call["call"].endswith("Query") else call["read"]
        if service == "sqs":
            kind = "fifo" if any("fifo" in r for _, r in call["actions"]) else "standard"
            # Each 64 KB of a call is a request.
            out[f"requests sqs {kind}"] += -(-call["in"] // 65536)
        if call["call"] == "s3:PutObject":
            out["s3 puts"] += 1
    for stage, times in invocations.items():
        if stage == "schedules":
            continue
        out["invocations"] += times
        if stage == "receive":
            out["api requests"] += times
        else:
            out["requests sqs fifo" if stage == "decide" else "requests sqs standard"] += 2 * times
    out["calls"] = sum(n for name, n in out.items() if name.startswith("calls "))
    return {name: n / orders for name, n in sorted(out.items())}


def price(counts, invocations, orders, milliseconds, log_bytes, prices):
    """Dollars a million orders, by what they are for."""
    take = counts.get
    seconds = sum(n * milliseconds.get(s, MILLISECONDS) / 1000 for s, n in invocations.items() if s != "schedules") / orders
    return {
        "api": take("api requests", 0) * prices["api_gateway_http_per_million_requests"],
        "functions": take("invocations", 0) * prices["lambda_per_million_requests"]
        + seconds * MEMORY_GB * prices["lambda_arm64_per_gb_second"] * 1_000_000,
        "queues": take("requests sqs fifo", 0) * prices["sqs_fifo_per_million_requests"]
        + take("requests sqs standard", 0) * prices["sqs_standard_per_million_requests"],
        "table": take("write units", 0) * prices["dynamodb_per_million_write_units"]
        + take("read units", 0) * prices["dynamodb_per_million_read_units"],
        "logs": take("invocations", 0) * log_bytes / 1000 * prices["logs_per_gb_ingested"],
        "claim checks": take("s3 puts", 0) * prices["s3_per_thousand_puts"] * 1000,
    }


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("calls", type=pathlib.Path)
    arguments.add_argument("--orders", type=int, required=True)
    arguments.add_argument("--invocations", type=json.loads, required=True, help="by stage, in all")
    arguments.add_argument("--log-bytes", type=int, default=1000, help="an invocation")
    arguments.add_argument("--milliseconds", type=json.loads, default={})
    given = arguments.parse_args()
    recorded = [json.loads(line) for line in given.calls.read_text(encoding="utf-8").splitlines()]
    prices = json.loads((ROOT / "infra" / "prices.json").read_text(encoding="utf-8"))
    counts = count(recorded, given.invocations, given.orders)
    dollars = price(counts, given.invocations, given.orders, given.milliseconds, given.log_bytes, prices)
    print(json.dumps({"an order": {k: round(v, 2) for k, v in counts.items()},
                      "dollars a million orders": {k: round(v, 2) for k, v in dollars.items()},
                      "total": round(sum(dollars.values()), 2)}, indent=1))


if __name__ == "__main__":
    main()
