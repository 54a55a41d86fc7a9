#!/usr/bin/env python3
"""infra/DEPLOY.md walked on the local AWS with stand-in functions: upgrade, rollback, pause, restore from a backup."""
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import expand  # noqa: E402
import standin  # noqa: E402
from smoke import post  # noqa: E402
from stack import Stack  # noqa: E402


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        names = {expand.binary(p) for p in expand.functions(expand.read()).values()}
        versions = {}
        for version in (1, 2):
            path = folder / f"bootstrap-{version}"
            path.write_text(standin.source(sys.executable, version))
            versions[version] = dict.fromkeys(names, path)
        with Stack(folder / "aws") as stack:
            dynamo, sqs = stack.client("dynamodb"), stack.client("sqs")

            def rows(table, pk):
                return dynamo.query(TableName=table, KeyConditionExpression="pk = :p", ExpressionAttributeValues={":p": {"S": pk}})["Items"]

            def order(name, table=stack.prefix):
                assert post(f"{stack.url}/webhooks/shop/orders", {"order": name})[0] == 202
                stack.until(lambda: rows(table, f"order#{name}"), 20, f"order {name} is not done")

            def serves(version):
                for name in ("orchestrate", "tick", "stripe-payments"):
                    error, answer = stack.invoke(name, {"ask": "version"})
                    assert not error and answer == {"version": version}, (name, answer)

            stack.deploy(versions[1])
            stack.put_secret("tillway", {"master_key": "0" * 64})
            serves(1)
            order("first")
            url, queue = stack.url, stack.queue("events.fifo")

            stack.deploy(versions[2])
            serves(2)
            order("second")
            assert rows(stack.prefix, "order#first") and (url, queue) == (stack.url, stack.queue("events.fifo"))
            print("upgraded in place: same address, same queue, same table")

            stack.deploy(versions[1])
            serves(1)
            order("third")
            print("rolled back by deploying the version before")

            stack.deploy(versions[1], Paused="yes")
            assert post(f"{stack.url}/webhooks/shop/orders", {"order": "fourth"})[0] == 202
            depth = lambda: sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["ApproximateNumberOfMessages"])["Attributes"]  # noqa: E731
            assert depth()["ApproximateNumberOfMessages"] == "1" and not rows(stack.prefix, "order#fourth")
            print("paused: a webhook is answered 202 and waits in the queue")

            restored = f"{stack.prefix}-restored"
            backup = dynamo.create_backup(TableName=stack.prefix, BackupName="before")["BackupDetails"]["BackupArn"]
            dynamo.restore_table_from_backup(TargetTableName=restored, BackupArn=backup)
            stack.until(lambda: dynamo.describe_table(TableName=restored)["Table"]["TableStatus"] == "ACTIVE", 30, "not restored")
            stack.deploy(versions[1], RestoredTable=restored)
            stack.until(lambda: rows(restored, "order#fourth"), 20, "the waiting order was not decided")
            assert rows(restored, "order#first") and not rows(stack.prefix, "order#fourth")
            print("restored: what waited was decided on the restored table, the old one is untouched")


if __name__ == "__main__":
    main()
