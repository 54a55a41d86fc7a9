#!/usr/bin/env python3
"""The real template with stand-in functions on the local AWS: webhook -> events.fifo -> orchestrate -> commands ->
act -> table, dead letters, schedules, and that a missing permission is refused. Needs no Rust. About 75 seconds with
`--schedules`, which waits for the tick to be fired by its schedule; ten without."""
import json
import pathlib
import sys
import tempfile
import time
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import expand  # noqa: E402
import policy  # noqa: E402
import standin  # noqa: E402
from stack import Stack  # noqa: E402


def post(url, body, content_type="application/json"):
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers={"Content-Type": content_type})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def main(schedules):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        bootstrap = folder / "bootstrap"
        bootstrap.write_text(standin.source(sys.executable))
        names = {expand.binary(p) for p in expand.functions(expand.read()).values()}
        with Stack(folder / "aws") as stack:
            began = time.time()
            stack.deploy(dict.fromkeys(names, bootstrap))
            print(f"deployed {len(stack.template['Resources'])} resources in {time.time() - began:.1f} s: {stack.url}")
            stack.put_secret("tillway", {"master_key": "0" * 64})
            table = stack.client("dynamodb")
            rows = lambda pk: table.query(TableName=stack.prefix, KeyConditionExpression="pk = :p",  # noqa: E731
                                          ExpressionAttributeValues={":p": {"S": pk}})["Items"]

            routes = [("stripe", t) for t in "payments events refunds disputes billing customers payouts".split()]
            cybersource = "payments refunds fraud-decisions paymentstatusupdate refundstatusupdate frauddecisionupdate".split()
            routes += [("cybersource", t) for t in cybersource]
            routes += [("shop", t) for t in "orders customers inventory".split()]
            for number, (connection, topic) in enumerate(routes):
                status, body = post(f"{stack.url}/webhooks/{connection}/{topic}", {"order": f"A-{number}"})
                assert status == 202, (connection, topic, status, body, stack.tail())
            for topic in cybersource:
                with urllib.request.urlopen(f"{stack.url}/webhooks/cybersource/{topic}") as answer:
                    assert answer.status == 200, topic
            status, body = post(f"{stack.url}/webhooks/stripe/unknown", {})
            assert status == 404, (status, body)
            for number in range(len(routes)):
                stack.until(lambda n=number: rows(f"order#A-{n}") and rows(f"act-stripe#A-{n}"), 30, f"order A-{number} is not done")
            print(f"{len(routes)} routes, each through orchestrate and act-stripe into the table")

            stack.impatient("events.fifo", 1, 2)
            post(f"{stack.url}/webhooks/shop/orders", {"order": "P", "poison": True})
            stack.until(lambda: rows("triage#P"), 30, "the poison message did not reach triage")
            print("a poison message went to the dead-letter queue and from there to triage")

            stack.impatient("events.fifo", 1, 5)
            had = set(stack.processes("orchestrate"))
            post(f"{stack.url}/webhooks/shop/orders", {"order": "S", "slow": True})
            time.sleep(1)
            stack.kill("orchestrate")
            stack.until(lambda: rows("order#S"), 20, "an order whose function was killed did not come again")
            assert not had & set(stack.processes("orchestrate"))
            print("a function was killed in mid-flight and its message came again")

            error, answer = stack.invoke("tick", {"ask": "forbidden"})
            assert error and "AccessDenied" in answer["errorMessage"], answer
            print("a call without permission is refused:", answer["errorMessage"][:110])

            for name in ("tick", "sweep-stripe", "sweep-cybersource", "sweep-clarity", "settle-stripe", "settle-cybersource"):
                error, answer = stack.invoke(name)
                assert not error, answer
            invoked = stack.invocations()
            assert invoked["receive"] >= len(routes) and invoked["decide"] and invoked["act"], invoked
            written = sum(c["write"] for c in stack.calls() if c["function"].endswith("orchestrate"))
            assert written >= 4 * len(routes), written  # an update and a check, each twice in a transaction
            assert any('"kind": "response"' in line for line in stack.logs("schedules"))
            if schedules:
                had = len(rows("ran#tick"))
                stack.until(lambda: len(rows("ran#tick")) > had, 90, "the schedule did not fire")
                print("tick fired by its schedule")
            recorded = stack.calls()
            granted = policy.permissions(stack.template, policy.Names(stack.template))
            # The stand-ins do less than the real functions: surplus is not asked for here, only what is not allowed.
            wrong = [p for p in policy.compare(recorded, granted, {"* *": "stand-ins"})]
            assert len(wrong) == 2 and all("Scan" in p for p in wrong), wrong
            print(f"{len(recorded)} calls recorded; the forbidden one is the only one outside the policies")


if __name__ == "__main__":
    main("--schedules" in sys.argv)
