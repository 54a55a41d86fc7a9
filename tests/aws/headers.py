"""What each function's main says under `May:` against what its role allows, both ways."""
import fnmatch
import re

import expand

# Words of a header, and what of a role they stand for: an action, and what its resource ends with or is.
WORDS = [
    (r"\breceive\b", "sqs:ReceiveMessage", "*"),
    (r"\bdelete from\b", "sqs:DeleteMessage", "*"),
    (r"\bgive back\b", "sqs:ChangeMessageVisibility", "*"),
    (r"\bsend\b[^;,]* events\b", "sqs:SendMessage", "*-events.fifo"),
    (r"\bsend\b[^;,]* commands queues\b", "sqs:SendMessage", "*-commands-*"),
    (r"\bread\b[^;]* items of the table\b", "dynamodb:GetItem", "*"),
    (r"\bwrite\b[^;]* items of the table\b", "dynamodb:UpdateItem", "*"),
    (r"\bdelete items of the table\b", "dynamodb:DeleteItem", "*"),
    (r"\bquery the table and\b", "dynamodb:Query", "*:table/tillway-dev"),
    (r"\bquery\b[^;]*`due`", "dynamodb:Query", "*/index/due"),
    (r"\bquery\b[^;]*`list`", "dynamodb:Query", "*/index/list"),
    (r"\bput\b[^;]* objects\b", "s3:PutObject", "*/claims/*"),
    (r"\bget\b[^;]* objects\b", "s3:GetObject", "*/claims/*"),
    (r"\bdelete objects\b", "s3:DeleteObject", "*/claims/*"),
    (r"\bget\b[^;]* documents of settlement\b", "s3:GetObject", "*/settlement/*"),
    (r"\bput\b[^;]* documents of settlement\b", "s3:PutObject", "*/settlement/*"),
    (r"\bdelete the documents of settlement\b", "s3:DeleteObject", "*/settlement/*"),
    (r"\bthrown away\b", "s3:PutObject", "*/settlement-gone/*"),
    (r"\bpublish alerts\b", "sns:Publish", "*"),
]
SYSTEMS = ("stripe", "cybersource", "clarity")


def said(binary):
    """What stands behind `May:` in the main of a binary, in one line; empty where there is none."""
    main = next((expand.ROOT / "functions").glob(f"*/{binary}.rs"), None)
    lines = [line[3:].strip() for line in main.read_text(encoding="utf-8").splitlines() if line.startswith("//!")] if main else []
    return " ".join(lines).partition("May: ")[2]


def secrets(text):
    """The secrets that a header names: ours by name, those of a system's connections by the system."""
    named = re.search(r"read the secrets? ([^;]*?)(?:[;,] publish| for |,? and nothing|\.?$|;)", text)
    if not named:
        return set()
    found = set(re.findall(r"`([a-z]+)`", named[1])) | {s for s in SYSTEMS if f"the {s} connections" in named[1]}
    return found | (set(SYSTEMS) if "every connection" in named[1] else set())


def compare(binary, allowed, secret_of):
    """Problems, each a sentence. `secret_of`: ARN of a secret -> its name in headers."""
    text = said(binary)
    if not text:
        return [f"{binary}: its main does not say what it may"]
    has = {secret_of.get(resource, resource) for action, resource in allowed if action == "secretsmanager:GetSecretValue"}
    problems = [f"{binary}: its main says that it reads the secret {n}, its role does not allow it" for n in sorted(secrets(text) - has)]
    problems += [f"{binary}: its role allows the secret {n}, its main does not say so" for n in sorted(has - secrets(text))]
    for words, action, where in WORDS:
        may, says = any(a == action and fnmatch.fnmatchcase(r, where) for a, r in allowed), bool(re.search(words, text))
        if may != says:
            problems.append(f"{binary}: its role {'allows' if may else 'does not allow'} {action} on {where}, its main says {'so' if says else 'nothing of it'}")
    return problems
