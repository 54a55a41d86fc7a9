"""Request units of DynamoDB, worked out from requests and answers, as its price page describes them.

A write costs a unit a KB of the larger of old and new item, twice in a transaction, whether its condition held or not;
each index whose entry comes, goes or moves costs a unit for the new entry and one for the old (KEYS_ONLY entries are
under a KB). A consistent read costs a unit for 4 KB of each item, one for an item that is not there; reading an index
half a unit for 4 KB in all. What an item was before is remembered from the writes seen here.
"""
import math
import threading

INDEXES = {"due": ("shard", "at"), "list": ("list", "sort")}


def size(value):
    """Bytes of an attribute value as DynamoDB counts them."""
    (kind, said), = value.items()
    if kind == "B":
        return len(said) * 3 // 4
    if kind == "N":
        return len(said.lstrip("-").replace(".", "")) // 2 + 2
    return len(str(said).encode())


def whole(item):
    """Bytes of an item."""
    return sum(len(name.encode()) + size(value) for name, value in item.items())


def kilobytes(count, step=1024):
    return max(1, math.ceil(count / step))


class Units:
    """Counts; one for a run."""

    def __init__(self):
        self.known, self.lock = {}, threading.Lock()

    def of(self, operation, asked, answered, ok):
        """`(write units, read units)` of a call."""
        with self.lock:
            if operation == "TransactWriteItems":
                return sum(self.write(kind, part, 2, ok) for item in asked["TransactItems"] for kind, part in item.items()), 0
            if operation in ("UpdateItem", "DeleteItem", "PutItem"):
                return self.write(operation[:-4], asked, 1, ok), 0
            if operation == "GetItem":
                return 0, kilobytes(whole(answered.get("Item", {})), 4096)
            if operation == "BatchGetItem":
                found = [i for items in answered.get("Responses", {}).values() for i in items]
                wanted = sum(len(t["Keys"]) for t in asked["RequestItems"].values())
                return 0, sum(kilobytes(whole(i), 4096) for i in found) + max(0, wanted - len(found))
            if operation in ("Query", "Scan"):
                read = kilobytes(sum(whole(i) for i in answered.get("Items", [])), 4096)
                return 0, read if asked.get("ConsistentRead") else read / 2
            return 0, 0

    def write(self, kind, part, factor, ok):
        item = part["Item"] if kind == "Put" else part["Key"]
        key = (part["TableName"], item["pk"]["S"], item["sk"]["S"])
        before, places = self.known.get(key, (0, {}))
        if kind == "ConditionCheck":
            return factor * kilobytes(before)
        now, held = 0, {}
        if kind == "Update":
            names, values = part.get("ExpressionAttributeNames", {}), part.get("ExpressionAttributeValues", {})
            set_to = {n[1:]: values[":" + n[1:]] for n in names if ":" + n[1:] in values}
            now, held = whole(part["Key"] | set_to) + 8, placed(set_to)
        elif kind == "Put":
            now, held = whole(item), placed(item)
        moved = 0
        if ok:
            moved = sum((i in held) + (i in places) for i in INDEXES if held.get(i) != places.get(i))
            self.known[key] = (now, held)
        return factor * kilobytes(max(before, now)) + moved


def placed(item):
    """The places in the indexes that an item has."""
    return {index: tuple(str(item[a]) for a in names) for index, names in INDEXES.items() if all(a in item for a in names)}
