"""One loopback AWS for what the subjects call: SQS, DynamoDB (a table that is always empty and takes every write), Secrets
Manager, S3 and SNS. It checks nothing and keeps nothing but counts and the last batch sent; it answers at once.

`python3 stub.py SECRETS.json` prints its port. `GET /bench/take` answers counts by operation and the last body sent to each
queue, and forgets them.
"""
import asyncio
import hashlib
import json
import socket
import sys

counts, sent = {}, {}


def md5(text):
    return hashlib.md5(text.encode()).hexdigest()


def accepted(entry, queue):
    sent[queue] = entry["MessageBody"]
    return {"MessageId": "00000000-0000-0000-0000-000000000001", "MD5OfMessageBody": md5(entry["MessageBody"]), "SequenceNumber": "1"}


def send(ask):
    return accepted(ask, ask["QueueUrl"])


def send_batch(ask):
    return {"Successful": [{"Id": e["Id"], **accepted(e, ask["QueueUrl"])} for e in ask["Entries"]], "Failed": []}


def secret(ask):
    name = ask["SecretId"]
    return {"ARN": name, "Name": name, "VersionId": "1", "VersionStages": ["AWSCURRENT"], "SecretString": json.dumps(SECRETS[name])}


def batch_get(ask):
    return {"Responses": {table: [] for table in ask["RequestItems"]}, "UnprocessedKeys": {}}


def nothing(_):
    return {}


ANSWERS = {
    "SendMessage": send, "SendMessageBatch": send_batch, "GetSecretValue": secret, "BatchGetItem": batch_get,
    "GetItem": nothing, "PutItem": nothing, "UpdateItem": nothing, "TransactWriteItems": nothing, "DeleteItem": nothing,
}
PUBLISHED = b"<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>"


def answer(line, headers, body):
    """`(status, content type, body)` of a request."""
    if line.startswith(b"GET /bench/take"):
        told = json.dumps({"counts": counts, "sent": sent}).encode()
        counts.clear()
        sent.clear()
        return b"200 OK", b"application/json", told
    target = headers.get(b"x-amz-target")
    if target is None:  # S3 by path; SNS by a form
        name = "PutObject" if line.startswith(b"PUT ") else "Publish"
        counts[name] = counts.get(name, 0) + 1
        return b"200 OK", b"text/xml", b"" if name == "PutObject" else PUBLISHED
    name = target.decode().rpartition(".")[2]
    counts[name] = counts.get(name, 0) + 1
    if name not in ANSWERS:
        return b"400 Bad Request", b"application/x-amz-json-1.0", b'{"__type":"UnknownOperationException"}'
    return b"200 OK", b"application/x-amz-json-1.0", json.dumps(ANSWERS[name](json.loads(body))).encode()


class Connection(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.kept = transport, b""
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data):
        self.kept += data
        while (end := self.kept.find(b"\r\n\r\n")) >= 0:
            line, *rest = self.kept[:end].split(b"\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (h.partition(b":") for h in rest)}
            if headers.get(b"expect", b"").lower() == b"100-continue" and len(self.kept) == end + 4:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            length = int(headers.get(b"content-length", 0))
            if len(self.kept) < end + 4 + length:
                return
            body, self.kept = self.kept[end + 4:end + 4 + length], self.kept[end + 4 + length:]
            status, kind, told = answer(line, headers, body)
            self.transport.write(b"HTTP/1.1 %b\r\ncontent-type: %b\r\nx-amzn-requestid: 1\r\ncontent-length: %d\r\n\r\n%b"
                                 % (status, kind, len(told), told))


async def main():
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=64)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        SECRETS = json.load(file)
    asyncio.run(main())
