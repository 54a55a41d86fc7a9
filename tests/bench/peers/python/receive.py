"""The job of a receiving function as Powertools' guides show it: verify Stripe's signature over the raw body, make it
happen once by the idempotency table, send it to SQS. Calls: PutItem, SendMessage, UpdateItem; GetSecretValue at start."""
import base64
import hashlib
import hmac
import json
import os
import time

import boto3
from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent_function

QUEUE = os.environ["QUEUE_EVENTS"]
sqs = boto3.client("sqs")
table = DynamoDBPersistenceLayer(table_name=os.environ["TABLE"])
once = IdempotencyConfig(event_key_jmespath="id", expires_after_seconds=3 * 86400)
SECRET = json.loads(boto3.client("secretsmanager").get_secret_value(SecretId=os.environ["SECRET"])["SecretString"])


def genuine(header, body):
    parts = [p.split("=", 1) for p in header.split(",")]
    stamp = next((v for k, v in parts if k == "t"), "")
    expected = hmac.new(SECRET["webhook_secret"].encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    fits = any(hmac.compare_digest(expected, v) for k, v in parts if k == "v1")
    return fits and abs(time.time() - int(stamp)) <= 300


@idempotent_function(data_keyword_argument="event", config=once, persistence_store=table)
def take(event, body):
    group = event["data"]["object"]["id"]
    sqs.send_message(QueueUrl=QUEUE, MessageBody=body, MessageGroupId=group, MessageDeduplicationId=event["id"])
    return {"id": event["id"]}


def handler(request, context):
    once.register_lambda_context(context)
    text = request["body"]
    body = base64.b64decode(text) if request["isBase64Encoded"] else text.encode()
    if not genuine(request["headers"].get("stripe-signature", ""), body):
        return {"statusCode": 400, "body": '{"error":"signature"}'}
    take(event=json.loads(body), body=body.decode())
    return {"statusCode": 202, "body": '{"code":"accepted"}'}
