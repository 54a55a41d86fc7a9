"""What the subjects are handed: webhooks as API Gateway hands them over, signed anew each time, and messages as SQS does."""
import base64
import hashlib
import hmac
import json
import pathlib
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
STRIPE_SECRET = "whsec_bench"
CLARITY_SECRET = "whsec_" + base64.b64encode(b"bench" * 6).decode()
MASTER_KEY = hashlib.sha256(b"bench").hexdigest()
# By the names that Secrets Manager would know them under.
SECRETS = {
    "tillway/bench/tillway": {"master_key": MASTER_KEY},
    "tillway/bench/intake": {"key": hmac.new(bytes.fromhex(MASTER_KEY), b"intake", hashlib.sha256).hexdigest()},
    "tillway/bench/stripe": {"webhook_secret": STRIPE_SECRET, "api_key": "none"},
    "tillway/bench/shop": {"webhook_secret": CLARITY_SECRET, "client_id": "none", "client_secret": "none"},
}


def request(path, headers, body):
    """An HTTP API's event, payload version 2, as small as the real one."""
    context = {
        "accountId": "000000000000", "apiId": "bench", "domainName": "bench.execute-api.us-east-1.amazonaws.com", "domainPrefix": "bench",
        "http": {"method": "POST", "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "bench"},
        "requestId": "JKJaXmPLvHcESHA=", "routeKey": f"POST {path}", "stage": "$default",
        "time": "25/Nov/2026:02:00:00 +0000", "timeEpoch": int(time.time() * 1000),
    }
    return json.dumps({
        "version": "2.0", "routeKey": f"POST {path}", "rawPath": path, "rawQueryString": "", "requestContext": context,
        "headers": {"content-type": "application/json; charset=utf-8", "content-length": str(len(body)), "host": "bench", **headers},
        "body": body, "isBase64Encoded": False,
    }).encode()


def stripe(number):
    """`charge.succeeded`, 1.2 KB, as the event of that number."""
    body = (ROOT / "events/stripe/charge.succeeded.json").read_text(encoding="utf-8")
    body = body.replace(json.loads(body)["id"], f"evt_bench{number}")
    now = int(time.time())
    signature = hmac.new(STRIPE_SECRET.encode(), f"{now}.{body}".encode(), hashlib.sha256).hexdigest()
    return request("/webhooks/stripe/payments", {"stripe-signature": f"t={now},v1={signature}"}, body)


def clarity(number):
    """`order.created`, signed by Standard Webhooks."""
    body = (ROOT / "events/clarity/order.created.json").read_text(encoding="utf-8")
    name, now = f"msg_bench{number}", int(time.time())
    key = base64.b64decode(CLARITY_SECRET.removeprefix("whsec_"))
    signature = base64.b64encode(hmac.new(key, f"{name}.{now}.{body}".encode(), hashlib.sha256).digest()).decode()
    headers = {"webhook-id": name, "webhook-timestamp": str(now), "webhook-signature": f"v1,{signature}"}
    return request("/webhooks/shop/orders", headers, body)


def plain_order():
    """The same order as a message of a peer, which seals nothing."""
    body = (ROOT / "events/clarity/order.created.json").read_text(encoding="utf-8")
    return json.dumps({"id": "msg_bench1", **json.loads(body)})


def message(body):
    """A batch of one message of a FIFO queue."""
    attributes = {
        "ApproximateReceiveCount": "1", "SentTimestamp": "1795572000000", "SequenceNumber": "18849496460467696128",
        "MessageGroupId": "shop/A-1001", "SenderId": "AIDAIENQZJOLO23YVJ4VO", "MessageDeduplicationId": "1",
        "ApproximateFirstReceiveTimestamp": "1795572000010",
    }
    return json.dumps({"Records": [{
        "messageId": "00000000-0000-0000-0000-000000000001", "receiptHandle": "bench", "body": body, "attributes": attributes,
        "messageAttributes": {}, "md5OfBody": hashlib.md5(body.encode()).hexdigest(), "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:events.fifo", "awsRegion": "us-east-1"}]}).encode()
