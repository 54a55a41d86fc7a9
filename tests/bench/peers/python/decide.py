"""What is comparable to a decision: load the order's state, decide a new status, write it on condition together with the
mark of the event, send a command. Calls: BatchGetItem, TransactWriteItems, SendMessage. It has no flow, no mapping, no journal
and seals nothing: Tillway's `orchestrate` does more with as many calls."""
import json
import os

import boto3
from aws_lambda_powertools.utilities.batch import SqsFifoPartialProcessor, process_partial_response

TABLE, QUEUE = os.environ["TABLE"], os.environ["QUEUE_COMMANDS"]
sqs, dynamodb = boto3.client("sqs"), boto3.client("dynamodb")
processor = SqsFifoPartialProcessor()


def key(pk, sk):
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def put(pk, sk, body, rev):
    names = {"#pk": "pk"} if rev == 0 else {"#rev": "rev"}
    condition = "attribute_not_exists(#pk)" if rev == 0 else "#rev = :seen"
    item = {**key(pk, sk), "rev": {"N": str(rev + 1)}, "body": {"S": json.dumps(body)}}
    values = {} if rev == 0 else {"ExpressionAttributeValues": {":seen": {"N": str(rev)}}}
    return {"Put": {"TableName": TABLE, "Item": item, "ConditionExpression": condition, "ExpressionAttributeNames": names, **values}}


def decide(record):
    event = json.loads(record.body)
    order = event["data"]["orderId"]
    keys = [key("order#" + order, "state"), key("seen#" + event["id"], "seen")]
    found = dynamodb.batch_get_item(RequestItems={TABLE: {"Keys": keys, "ConsistentRead": True}})["Responses"].get(TABLE, [])
    if any(item["pk"]["S"].startswith("seen#") for item in found):
        return
    rev = next((int(item["rev"]["N"]) for item in found), 0)
    status = {"order": order, "status": "charging", "amount": event["data"]["total"]}
    command = {"do": "create_payment", **status}
    dynamodb.transact_write_items(TransactItems=[
        put("order#" + order, "state", status, rev), put("seen#" + event["id"], "seen", {}, 0),
        put("command#" + event["id"], "command", command, 0)])
    sqs.send_message(QueueUrl=QUEUE, MessageBody=json.dumps(command))


def handler(event, context):
    return process_partial_response(event=event, record_handler=decide, processor=processor, context=context)
