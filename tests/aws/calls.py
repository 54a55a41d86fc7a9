"""What an HTTP request to AWS is in the words of IAM: the operation, and each action with the resource it touches."""
import json
import urllib.parse

# Operations whose permission has another name.
SAME_AS = {
    "sqs:SendMessageBatch": "sqs:SendMessage",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
    "sns:PublishBatch": "sns:Publish",
    "s3:HeadObject": "s3:GetObject",
}
TARGETS = {"DynamoDB_20120810": "dynamodb", "AmazonSQS": "sqs", "secretsmanager": "secretsmanager", "TrentService": "kms",
           "Logs_20140328": "logs"}
# A transaction has no permission of its own.
TRANSACT = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem",
            "Get": "GetItem"}


class Place:
    """Account and region, for writing ARNs."""

    def __init__(self, account="000000000000", region="us-east-1"):
        self.account, self.region = account, region

    def arn(self, service, rest, where=True):
        if not where:
            return f"arn:aws:{service}:::{rest}"
        return f"arn:aws:{service}:{self.region}:{self.account}:{rest}"


def read(method, path, headers, body, place):
    """`(operation, [(action, resource)], items)` of a request, or `None` where it is no call of an AWS service."""
    target = headers.get("x-amz-target", "")
    if "." in target:
        name, operation = target.split(".", 1)
        service = TARGETS.get(name, name.lower())
        said = json.loads(body or b"{}")
        return named(service, operation, said, place)
    form = headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    if form and b"Action=" in body:
        said = {k: v[0] for k, v in urllib.parse.parse_qs(body.decode()).items()}
        operation = said["Action"]
        if "TopicArn" in said or operation.startswith("Publish"):
            return one("sns", operation, said.get("TopicArn", "*"))
        if "QueueUrl" in said:
            return named("sqs", operation, said, place)
        return one("unknown", operation, "*")
    if "aws4-hmac-sha256" in headers.get("authorization", "").lower() and "/s3/" in headers["authorization"]:
        key = urllib.parse.unquote(path.split("?", 1)[0]).lstrip("/")
        operation = {"PUT": "PutObject", "GET": "GetObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}.get(method, method)
        if "/" not in key:
            operation = f"{method} bucket"
        if "x-amz-copy-source" in headers:
            # A copy has no permission of its own: it reads the one and writes the other.
            source = urllib.parse.unquote(headers["x-amz-copy-source"].split("?", 1)[0]).lstrip("/")
            return "s3:CopyObject", [(f"s3:{action}Object", place.arn("s3", name, where=False))
                                     for action, name in (("Get", source), ("Put", key))], 1
        return one("s3", operation, place.arn("s3", key, where=False))
    return None


def named(service, operation, said, place):
    """A call of a service that speaks JSON."""
    if service == "dynamodb":
        return table(operation, said, place)
    if service == "sqs":
        queue = place.arn("sqs", said.get("QueueUrl", "").rstrip("/").rsplit("/", 1)[-1])
        operation, actions, _ = one("sqs", operation, queue)
        return operation, actions, len(said.get("Entries", [0]))
    if service == "secretsmanager":
        secret = said.get("SecretId", "*")
        return one(service, operation, secret if secret.startswith("arn:") else place.arn(service, f"secret:{secret}"))
    return one(service, operation, said.get("KeyId", "*"))


def table(operation, said, place):
    """A call of DynamoDB: transactions and batches are taken apart."""
    def arn(name, index=None):
        name = name if name.startswith("arn:") else place.arn("dynamodb", f"table/{name}")
        return f"{name}/index/{index}" if index else name

    if operation.startswith("Transact"):
        parts = [(kind, part["TableName"]) for item in said["TransactItems"] for kind, part in item.items()]
        return f"dynamodb:{operation}", sorted({(f"dynamodb:{TRANSACT[k]}", arn(t)) for k, t in parts}), len(parts)
    if operation.startswith("Batch"):
        asked = said["RequestItems"]
        items = sum(len(v["Keys"]) if "Keys" in v else len(v) for v in asked.values())
        return f"dynamodb:{operation}", [(f"dynamodb:{operation}", arn(t)) for t in asked], items
    return one("dynamodb", operation, arn(said.get("TableName", "*"), said.get("IndexName")))


def one(service, operation, resource):
    """A call of one action on one resource."""
    name = f"{service}:{operation}"
    return name, [(SAME_AS.get(name, name), resource)], 1
