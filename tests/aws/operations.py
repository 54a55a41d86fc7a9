#!/usr/bin/env python3
"""infra/DEPLOY.md walked on the local AWS with stand-in functions: upgrade, rollback, pause, restore from a backup; prod beside dev."""
import json
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import expand  # noqa: E402
import policy  # noqa: E402
import standin  # noqa: E402
from smoke import post  # noqa: E402
from stack import Stack  # noqa: E402


def as_written(stack):
    """That a deployed stack has the names of its environment, and what the template's Mappings give it."""
    names, wanted = policy.Names(stack.template, {"Environment": stack.environment}), stack.template["Mappings"]["Environments"][stack.environment]

    def of(kind):
        return {names.name(n) for n, r in stack.template["Resources"].items() if r["Type"] == kind}
    secrets = {s["Name"] for s in stack.client("secretsmanager").list_secrets(MaxResults=100)["SecretList"] if s["Name"].startswith(f"{stack.secrets}/")}
    queues = {u.rsplit("/", 1)[1] for u in stack.client("sqs").list_queues(QueueNamePrefix=f"{stack.prefix}-")["QueueUrls"]}
    assert secrets == of("AWS::SecretsManager::Secret") and len(secrets) == 7, secrets
    assert queues == of("AWS::SQS::Queue") and len(queues) == 11, queues
    kept = {g["logGroupName"]: g.get("retentionInDays") for g in stack.client("logs").describe_log_groups()["logGroups"]}
    assert {kept[g] for g in of("AWS::Logs::LogGroup")} == {wanted["Retention"]}, (wanted, kept)
    api = stack.client("apigatewayv2")
    # The emulator answers these in the template's spelling, which boto3 leaves out: the answer is read as it came.
    api.meta.events.register("before-parse.apigatewayv2.GetStage", lambda response_dict, customized_response_dict, **_:
                             customized_response_dict.update(json.loads(response_dict["body"])))
    throttle = api.get_stage(ApiId=stack.outputs["ApiId"], StageName="$default")["defaultRouteSettings"]
    assert (throttle["ThrottlingRateLimit"], throttle["ThrottlingBurstLimit"]) == (wanted["Rate"], wanted["Burst"]), (wanted, throttle)
    most = {m["EventSourceArn"].rsplit(":", 1)[1]: m["ScalingConfig"]["MaximumConcurrency"]
            for m in stack.client("lambda").list_event_source_mappings()["EventSourceMappings"] if f":{stack.prefix}-" in m["EventSourceArn"]}
    assert most[f"{stack.prefix}-events.fifo"] == wanted["Deciders"] and most[f"{stack.prefix}-commands-stripe"] == wanted["Actors"], (wanted, most)
    return wanted


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

            prod = stack.beside("prod")
            prod.deploy(versions[1])
            prod.put_secret("tillway", {"master_key": "1" * 64})
            assert post(f"{prod.url}/webhooks/shop/orders", {"order": "fifth"})[0] == 202
            stack.until(lambda: rows(prod.prefix, "order#fifth"), 20, "prod's order is not done")
            assert not rows(restored, "order#fifth") and not rows(stack.prefix, "order#fifth")
            assert not rows(prod.prefix, "order#first") and as_written(stack) != as_written(prod)
            print("prod beside dev: names, secrets, queues, log retention, throttle and workers of its own, as the template's Mappings say")


if __name__ == "__main__":
    main()
