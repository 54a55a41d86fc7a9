#!/usr/bin/env python3
"""The `tillway` command on a stack on the local AWS: secrets, explain, parked, unhandled, erase, restored; and DEPLOY's
"Restore from a backup" with the real functions.

    desk.py --binaries target/debug --tillway target/debug/tillway

Built before: `cargo build -p tillway-functions` and `cargo build -p tillway --features aws`. About a minute.
"""
import argparse
import base64
import hashlib
import hmac
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import expand  # noqa: E402
import stack  # noqa: E402

OLD, NEW = (f"whsec_{base64.b64encode(c * 32).decode()}" for c in (b"o", b"n"))
CANARIES = (OLD, NEW, "canary", "6d" * 32, stack.intake_key("6d" * 32))
# Nobody listens there: what is decided is seen, what is sent is not.
CONFIG = """connections:
  shop: { system: clarity, base_url: "http://127.0.0.1:9/api/v1" }
  stripe: { system: stripe, base_url: "http://127.0.0.1:9" }
pairs:
  main: { flow: stripe-clarity, shop: shop, gateway: stripe, return_url: "https://shop.example/return" }
"""


class Desk:
    """Runs the command against the stack, and remembers all it said."""

    def __init__(self, local, exe, config):
        self.exe, self.config, self.said = exe, config, ""
        self.environment = {"AWS_ENDPOINT_URL": local.endpoint, "AWS_REGION": stack.REGION, "USER": "tester",
                            "AWS_ACCESS_KEY_ID": stack.ACCOUNT, "AWS_SECRET_ACCESS_KEY": "none", "HOME": str(config.parent)}

    def run(self, *arguments, given="", fails=False, name="tillway-dev"):
        done = subprocess.run([self.exe, *arguments, "--config", self.config, "--aws", name], input=given, text=True,
                              capture_output=True, env=self.environment, timeout=60)
        self.said += done.stdout + done.stderr
        if (done.returncode != 0) != fails:
            raise AssertionError(f"{arguments}: {done.returncode}: {done.stdout}{done.stderr}")
        return done.stderr if fails else done.stdout


def hook(local, topic, event, secret):
    """Sends a webhook as the shop does (Standard Webhooks)."""
    body = json.dumps(event).encode()
    number, at = f"msg_{time.time_ns()}", str(int(time.time()))
    signed = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), f"{number}.{at}.".encode() + body, hashlib.sha256)
    headers = {"Content-Type": "application/json", "webhook-id": number, "webhook-timestamp": at,
               "webhook-signature": f"v1,{base64.b64encode(signed.digest()).decode()}"}
    request = urllib.request.Request(f"{local.url}/webhooks/shop/{topic}", data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 202, answer.status


def sample(name, **members):
    event = json.loads((expand.ROOT / "events" / "clarity" / f"{name}.json").read_text(encoding="utf-8"))
    event["data"].update(members)
    return event


def secrets(desk):
    assert desk.run("secrets", "list").count("none") > 5
    for connection, values in {"tillway": {"master_key": "6d" * 32}, "stripe": {"api_key": "rk_canary", "webhook_secret": "whsec_canary"},
                               "shop": {"client_id": "canary", "client_secret": "canary", "webhook_secret": OLD}}.items():
        desk.run("secrets", "put", connection, *values, given="\n".join(values.values()))
    desk.run("secrets", "rotate", "shop", "webhook_secret", given=NEW)
    listed = desk.run("secrets", "list", "shop")
    assert "2 values" in listed and "AWSCURRENT" in listed and "AWSPREVIOUS" in listed, listed
    assert "neither replaced" in desk.run("secrets", "put", "tillway", "master_key", given="00" * 32, fails=True)
    # As it is it may be put again: what is made of it is mended so.
    assert "key of intake" in desk.run("secrets", "put", "tillway", "master_key", given="6d" * 32)
    assert "key              1 value" in desk.run("secrets", "list", "intake")
    assert "put that one" in desk.run("secrets", "put", "intake", "key", given="00" * 32, fails=True)
    print("secrets are put, listed and rotated")


def wrong(desk):
    assert "no queue tillway-qa-events.fifo" in desk.run("explain", "A-1", name="tillway-qa", fails=True)
    assert "--aws tillway-dev" in desk.run("explain", "A-1", name="tillway/dev", fails=True)
    assert "no secret tillway/qa/stripe" in desk.run("secrets", "put", "stripe", "api_key", given="canary", name="tillway-qa", fails=True)
    print("wrong names say what to do")


def orders(local, desk):
    for order, secret in (("A-1", OLD), ("A-2", NEW)):
        hook(local, "orders", sample("order.created", orderId=order), secret)
    hook(local, "orders", sample("order.created", orderId="A-3", status="Vorgemerkt"), NEW)
    hook(local, "customers", sample("customer.updated"), NEW)

    def so(*arguments, what):
        try:
            return (said := desk.run(*arguments)) and what in said and said
        except AssertionError:
            return False

    for order in ("A-1", "A-2"):
        said = local.until(lambda o=order: so("explain", o, what=f"order shop/{o}"), 60, f"{order} was not worked")
        assert "order.created (webhook" in said and "stripe.ensure_customer" in said, said
    local.until(lambda: so("parked", "list", what="status_unknown"), 60, "A-3 was not parked")
    local.until(lambda: so("unhandled", what="customer.updated"), 60, "customer.updated was not counted")
    item = json.loads(desk.run("parked", "list", "--json"))[0]
    desk.run("parked", "drop", item["id"], "--reason", "a test")
    assert "nothing waits" in desk.run("parked", "list")
    print("orders are explained, parked items listed and dropped, the unhandled counted")


def restore(desk, person):
    assert "could not be swept" in desk.run("sweep", fails=True)
    assert "erased:" in desk.run("erase", person, "--yes")
    said = desk.run("restored")
    assert "applied again" in said and not said.startswith("marked: 0"), said
    print("a sweep tells what could not be reached, erasures outlive the table")


def backup(local, desk, redeploy):
    """infra/DEPLOY.md, "Restore from a backup", step by step."""
    dynamo, sqs = local.client("dynamodb"), local.client("sqs")
    table, queue = f"{local.prefix}-restored", local.queue("events.fifo")
    # What a damage does: an order that the backup knows is gone from the table.
    made = dynamo.create_backup(TableName=local.prefix, BackupName="before")["BackupDetails"]["BackupArn"]
    known = dynamo.query(TableName=local.prefix, KeyConditionExpression="pk = :p",
                         ExpressionAttributeValues={":p": {"S": "order#shop/A-1"}})["Items"]
    assert known
    for item in known:
        dynamo.delete_item(TableName=local.prefix, Key={k: item[k] for k in ("pk", "sk")})
    assert "A-1" in desk.run("explain", "A-1", fails=True)

    redeploy(Paused="yes")
    hook(local, "orders", sample("order.created", orderId="A-4"), NEW)
    waiting = lambda: sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["ApproximateNumberOfMessages"])["Attributes"]  # noqa: E731
    assert waiting()["ApproximateNumberOfMessages"] == "1"
    dynamo.restore_table_from_backup(TargetTableName=table, BackupArn=made)
    local.until(lambda: dynamo.describe_table(TableName=table)["Table"]["TableStatus"] == "ACTIVE", 30, "not restored")
    said = desk.run("restored", "--table", table)
    assert "marked" in said, said
    redeploy(Paused="no", RestoredTable=table)

    def explained(order):
        try:
            return desk.run("explain", order, "--table", table)
        except AssertionError:
            return False

    said = local.until(lambda: explained("A-4"), 60, "what waited was not decided on the restored table")
    assert "order.created (webhook" in said, said
    assert "order shop/A-1" in desk.run("explain", "A-1", "--table", table)
    assert "A-4" in desk.run("explain", "A-4", fails=True), "it was decided on the old table"
    print("restored with the real functions: what waited was decided on the restored table, what was damaged is back")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("binaries", "tillway"):
        arguments.add_argument(f"--{name}", required=True, type=pathlib.Path)
    given = arguments.parse_args()
    names = {expand.binary(p) for p in expand.functions(expand.read()).values()}
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder) / "tillway.yaml"
        config.write_text(CONFIG, encoding="utf-8")
        with stack.Stack(pathlib.Path(folder) / "aws") as local:
            built = {n: given.binaries / n for n in names}
            redeploy = lambda **parameters: local.deploy(built, ConfigPath=str(config), **parameters)  # noqa: E731
            redeploy()
            desk = Desk(local, given.tillway.resolve(), config)
            secrets(desk)
            wrong(desk)
            orders(local, desk)
            restore(desk, sample("order.created")["data"]["customer"]["email"])
            backup(local, desk, redeploy)
            shown = [c for c in CANARIES if c in desk.said]
            assert not shown, f"shown: {shown}"
            print("no secret was shown")


if __name__ == "__main__":
    main()
