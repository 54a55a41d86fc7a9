"""A stand-in for a function, to try the template before and without the real ones: a bootstrap in Python that speaks
the Lambda Runtime API. A webhook sends what it got to events.fifo; orchestrate writes it down and sends a command;
act writes that down; a schedule writes that it ran. `source(python)` is the text of the file `bootstrap`."""
import inspect


def source(python, version=1):
    return f"#!{python}\nVERSION = {version}\n" + inspect.getsource(run) + "\nrun()\n"


def run():
    import http.client
    import json
    import os
    import time

    import boto3

    env = os.environ
    name = env["AWS_LAMBDA_FUNCTION_NAME"].split("-", 2)[2]
    sqs, table, secrets = boto3.client("sqs"), boto3.client("dynamodb"), boto3.client("secretsmanager")
    inside = name.split("-")[0] in ("orchestrate", "tick", "sweep", "settle", "triage", "act", "notify")
    secret, key = ("tillway", "master_key") if inside else ("intake", "key")
    own = json.loads(secrets.get_secret_value(SecretId=env["TILLWAY_SECRETS"] + "/" + secret)["SecretString"])
    assert len(own[key]) == 64

    def put(pk, sk, **more):
        key = {"pk": {"S": pk}, "sk": {"S": sk}}
        names = {"#" + n: n for n in ("rev", *more)}
        values = {":" + n: {"N": str(v)} for n, v in {"rev": 1, **more}.items()}
        update = "SET " + ", ".join(f"#{n} = :{n}" for n in ("rev", *more))
        parts = [{"Update": {"TableName": env["TILLWAY_TABLE"], "Key": key, "UpdateExpression": update,
                             "ExpressionAttributeNames": names, "ExpressionAttributeValues": values}}]
        if name.split("-")[0] in ("orchestrate", "tick", "sweep", "triage"):
            parts.append({"ConditionCheck": {"TableName": env["TILLWAY_TABLE"], "Key": {"pk": {"S": "never"}, "sk": {"S": "never"}},
                                             "ConditionExpression": "attribute_not_exists(pk)"}})
        table.transact_write_items(TransactItems=parts)

    def version(_):
        return {"version": VERSION}

    def webhook(event):
        if event["requestContext"]["http"]["method"] == "GET":
            return {"statusCode": 200, "body": "{}"}
        body = event["body"]
        sqs.send_message(QueueUrl=env["TILLWAY_QUEUE_EVENTS"], MessageBody=body, MessageGroupId=json.loads(body)["order"],
                         MessageDeduplicationId=event["requestContext"]["requestId"])
        seen = {"path": event["rawPath"], "ip": event["requestContext"]["http"]["sourceIp"],
                "parameters": event.get("pathParameters")}
        return {"statusCode": 202, "body": json.dumps(seen)}

    def orchestrate(event):
        failed = []
        for record in event["Records"]:
            if "poison" in record["body"]:
                failed.append({"itemIdentifier": record["messageId"]})
                continue
            if "slow" in record["body"] and record["attributes"]["ApproximateReceiveCount"] == "1":
                time.sleep(20)
            order = json.loads(record["body"])["order"]
            put("order#" + order, record["messageId"], shard=3, at=int(time.time() * 1000))
            sqs.send_message(QueueUrl=env["TILLWAY_QUEUE_COMMANDS_STRIPE"], MessageBody=record["body"])
        return {"batchItemFailures": failed}

    def consume(event):
        for record in event["Records"]:
            put(f"{name}#" + json.loads(record["body"])["order"], record["messageId"])
        return {"batchItemFailures": []}

    def schedule(event):
        if name == "tick":
            table.query(TableName=env["TILLWAY_TABLE"], IndexName="due", KeyConditionExpression="#s = :s",
                        ExpressionAttributeNames={"#s": "shard"},
                        ExpressionAttributeValues={":s": {"N": "3"}})
        put("ran#" + name, str(time.time()))
        return {}

    def forbidden(event):
        table.scan(TableName=env["TILLWAY_TABLE"])

    stage = name.split("-")[0]
    work = {"orchestrate": orchestrate, "tick": schedule, "sweep": schedule, "settle": schedule, "triage": consume, "act": consume,
            "notify": consume}.get(stage, webhook)
    api = env["AWS_LAMBDA_RUNTIME_API"]
    while True:
        line = http.client.HTTPConnection(api)
        line.request("GET", "/2018-06-01/runtime/invocation/next")
        answer = line.getresponse()
        event, request = json.loads(answer.read()), answer.headers["Lambda-Runtime-Aws-Request-Id"]
        kind, out = "response", None
        try:
            out = {"forbidden": forbidden, "version": version}.get(event.get("ask"), work)(event)
        except Exception as fault:  # told to the runtime, as any runtime does
            kind, out = "error", {"errorType": type(fault).__name__, "errorMessage": str(fault)}
        print(json.dumps({"function": name, "kind": kind}), flush=True)
        line = http.client.HTTPConnection(api)
        line.request("POST", f"/2018-06-01/runtime/invocation/{request}/{kind}", json.dumps(out))
        line.getresponse().read()
