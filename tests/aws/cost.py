#!/usr/bin/env python3
"""What an order costs on AWS, from recorded calls.

    cost.py calls.jsonl --orders 20 --invocations '{"receive": 180, "decide": 200, "act": 120}' --logs '{"lines": 300, "bytes": 72000}'

Counted: calls, request units and bytes as recorded; an API request for each invocation of a webhook, a receive and a
delete of its batch for each of a worker. Lambda's time is `--milliseconds` {stage: ms}, else 50 each: a local debug build on
shared cores says nothing about it. Schedules run whether there are orders or not and are left out, as are reads of secrets;
what the tick sends is not. Prices: infra/prices.json.

Logs: the lines our functions wrote, as recorded (`--logs`), each with what CloudWatch counts beside a line's text and what
Lambda adds to a line in JSON; a line of the API's access log for each webhook, filled in from the template's format; Lambda's own
lines where the environment's SystemLogLevel lets them through (`--environment`, prod unless told: WARN, so of what succeeds none).

Tracing stands beside the total, for what it costs depends on how many orders a month share its seconds (`--orders-a-month`): X-Ray
records the first request of each second and 5 % of the others, by Lambda's documentation; of all functions together, with the month's
orders evenly spread.

`--at-most DOLLARS`, `--at-most-writes UNITS`: fail above it.
"""
import argparse
import collections
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SCHEDULES = ("tick", "sweep-", "settle-")
MEMORY_GB, MILLISECONDS = 0.25, 50
# X-Ray's sampling where nobody sets another: one request a second, and this part of the others.
SAMPLED, SECONDS_A_MONTH = 0.05, 30 * 86400
# PutLogEvents counts 26 bytes for each event beside its text.
EVENT = 26
# Lambda gives a line in JSON that has neither a timestamp and a level: `"timestamp":"2026-11-29T03:00:00.000Z","level":"INFO",`.
ADDED = 59
# What Lambda itself writes of an invocation at INFO in JSON: platform.start and platform.report, with a trace.
PLATFORM = (240, 410)
# Longest usual values of the access log; a webhook that went well has no error.
ACCESS = {"requestTime": "29/Nov/2026:03:00:00 +0000", "requestId": "K7sHdjkYIAMEPmA=", "identity.sourceIp": "203.100.113.200",
          "routeKey": "POST /webhooks/{connection}/paymentstatusupdate", "status": "202", "responseLength": "21",
          "responseLatency": "120", "integrationErrorMessage": "-", "error.message": "-"}


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
        if call["call"] in ("s3:PutObject", "s3:CopyObject"):
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


def log_bytes(counts, logs, orders, environment):
    """Bytes of log for each order, by who writes them."""
    template = (ROOT / "infra" / "template.yaml").read_text(encoding="utf-8")
    form = re.search(r"AccessLogSettings:\n.*\n +Format: >-\n((?: {10}\S.*\n)+)", template)[1]
    form = " ".join(line.strip() for line in form.splitlines())
    access = EVENT + len(re.sub(r"\$context\.([A-Za-z.]+[A-Za-z])", lambda name: ACCESS[name[1]], form))
    level = re.search(rf"^    {environment}: {{.*SystemLog: (\w+)", template, re.M)[1]
    platform = sum(EVENT + length for length in PLATFORM) if level != "WARN" else 0
    return {
        "our lines": (logs["bytes"] + logs["lines"] * (EVENT + ADDED)) / orders,
        "access log": counts.get("api requests", 0) * access,
        "Lambda's lines": counts.get("invocations", 0) * platform,
    }


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
        "logs": log_bytes / 1000 * prices["logs_per_gb_ingested"],
        "claim checks": take("s3 puts", 0) * prices["s3_per_thousand_puts"] * 1000,
    }


def tracing(invocations, a_month, prices):
    """Dollars a million orders for X-Ray. `invocations`: of an order; `a_month`: how many orders are traced in a month."""
    requests = invocations * a_month
    first = min(requests, SECONDS_A_MONTH)
    return (first + SAMPLED * (requests - first)) / a_month * prices["xray_per_million_traces"]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("calls", type=pathlib.Path)
    arguments.add_argument("--orders", type=int, required=True)
    arguments.add_argument("--invocations", type=json.loads, required=True, help="by stage, in all")
    arguments.add_argument("--logs", type=json.loads, required=True, help="lines and bytes our functions wrote, in all")
    arguments.add_argument("--environment", default="prod", help="as in the template's Mappings")
    arguments.add_argument("--milliseconds", type=json.loads, default={})
    arguments.add_argument("--orders-a-month", type=int, default=1_000_000, help="what tracing is shown for")
    arguments.add_argument("--at-most", type=float, help="dollars a million orders")
    arguments.add_argument("--at-most-writes", type=float, help="write units an order")
    given = arguments.parse_args()
    recorded = [json.loads(line) for line in given.calls.read_text(encoding="utf-8").splitlines()]
    prices = json.loads((ROOT / "infra" / "prices.json").read_text(encoding="utf-8"))
    counts = count(recorded, given.invocations, given.orders)
    logs = log_bytes(counts, given.logs, given.orders, given.environment)
    dollars = price(counts, given.invocations, given.orders, given.milliseconds, sum(logs.values()), prices)
    total = round(sum(dollars.values()), 2)
    print(json.dumps({"an order": {k: round(v, 2) for k, v in counts.items()},
                      "bytes of log": {k: round(v) for k, v in logs.items()},
                      "dollars a million orders": {k: round(v, 2) for k, v in dollars.items()},
                      "total": total,
                      "beside it, tracing (X-Ray)": round(tracing(counts["invocations"], given.orders_a_month, prices), 2)}, indent=1))
    if given.at_most is not None and total > given.at_most:
        sys.exit(f"{total} dollars a million orders, at most {given.at_most}")
    if given.at_most_writes is not None and counts["write units"] > given.at_most_writes:
        sys.exit(f"{counts['write units']} write units an order, at most {given.at_most_writes}")


if __name__ == "__main__":
    main()
