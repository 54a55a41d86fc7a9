"""What is measured: a command, its environment, what it is handed and what it has to answer."""
import dataclasses
import os
import pathlib
import shutil
import typing

import events

TOOLS = events.ROOT / ".tools/bench"
PEERS = pathlib.Path(__file__).resolve().parent / "peers"
# One bundle of roots, as in Lambda's Amazon Linux; Debian keeps each root in a file of its own besides, which would be read too.
ROOTS = "/etc/ssl/certs/ca-certificates.crt"


@dataclasses.dataclass
class Row:
    name: str
    job: str  # floor, receive, decide
    command: list
    event: typing.Callable  # number -> bytes
    good: typing.Callable  # answer -> bool
    what: str
    folder: pathlib.Path | None = None
    missing: str = ""  # why it cannot run


def environment(stub, config, roots):
    """What Lambda and the template would set, and the stub for AWS."""
    queue = f"http://127.0.0.1:{stub}/000000000000/"
    return {
        "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TZ": ":UTC", "HOME": "/tmp",
        "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_SESSION_TOKEN": "bench", "AWS_ENDPOINT_URL": f"http://127.0.0.1:{stub}", "SSL_CERT_FILE": roots,
        "AWS_LAMBDA_FUNCTION_NAME": "bench", "AWS_LAMBDA_FUNCTION_VERSION": "1", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_LOG_GROUP_NAME": "bench", "AWS_LAMBDA_LOG_STREAM_NAME": "bench", "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "TILLWAY_ENV": "bench", "TILLWAY_CONFIG": str(config), "TILLWAY_SECRETS": "tillway/bench", "TILLWAY_TABLE": "tillway",
        "TILLWAY_ALERTS": "arn:aws:sns:us-east-1:000000000000:alerts", "TILLWAY_CLAIMS": "claims",
        "TILLWAY_QUEUE_EVENTS": queue + "events.fifo", "TILLWAY_QUEUE_COMMANDS_STRIPE": queue + "commands-stripe",
        "TILLWAY_QUEUE_COMMANDS_CLARITY": queue + "commands-clarity", "TILLWAY_QUEUE_COMMANDS_NOTIFY": queue + "commands-notify",
        # The peers'.
        "QUEUE_EVENTS": queue + "events.fifo", "QUEUE_COMMANDS": queue + "commands-stripe", "TABLE": "tillway",
        "SECRET": "tillway/bench/stripe", "PYTHONPATH": str(PEERS / "python"), "PYTHONDONTWRITEBYTECODE": "1",
        "POWERTOOLS_SERVICE_NAME": "bench", "AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED": "true",
    }


def rows(binaries, sealed):
    """Every subject. `binaries`: folder of the built functions; `sealed`: an order as the events queue holds it."""
    accepted = lambda a: a["statusCode"] == 202  # noqa: E731
    hello = lambda a: a["statusCode"] == 200  # noqa: E731
    dealt = lambda a: a == {"batchItemFailures": []}  # noqa: E731
    order, plain = events.message(sealed), events.message(events.plain_order())
    python, node = TOOLS / "python/bin/python", shutil.which("node")
    ric = [str(node), str(TOOLS / "node/bundle/ric.mjs")]
    said = {}
    for file in [binaries / n for n in ("examples/hello", "examples/hello-sdk", "stripe-payments", "orchestrate")]:
        said[file.name] = "" if file.exists() else "not built: run.py --build"
    no_python = "" if python.exists() else "no peer in Python: tests/bench/tools.sh says why"
    no_node = "" if (TOOLS / "node/bundle/ric.mjs").exists() and node else "no Node on this machine, or no bundle: tests/bench/tools.sh"
    run_python = [str(python), "-m", "awslambdaric"]
    return [
        Row("hello (Rust)", "floor", [str(binaries / "examples/hello")], events.stripe, hello, "answers", missing=said["hello"]),
        Row("hello + SDK clients (Rust)", "floor", [str(binaries / "examples/hello-sdk")], events.stripe, hello,
            "makes the four clients of a receive function, answers", missing=said["hello-sdk"]),
        Row("stripe-payments (Tillway)", "receive", [str(binaries / "stripe-payments")], events.stripe, accepted,
            "verifies, looks for card numbers, seals, sends", missing=said["stripe-payments"]),
        Row("receive (Python 3.11)", "receive", [*run_python, "receive.handler"], events.stripe, accepted,
            "verifies, once by Powertools idempotency, sends", missing=no_python),
        Row("receive (Node 20)", "receive", [*ric, "./receive.mjs"], events.stripe, accepted,
            "verifies, once by Powertools idempotency, sends", missing=no_node),
        Row("orchestrate (Tillway)", "decide", [str(binaries / "orchestrate")], lambda _: order, dealt,
            "opens, joins, runs the flow and its mappings, writes, sends", missing=said["orchestrate"]),
        Row("decide (Python 3.11)", "decide", [*run_python, "decide.handler"], lambda _: plain, dealt,
            "loads, sets a status, writes on condition, sends (Powertools batch)", missing=no_python),
        Row("decide (Node 20)", "decide", [*ric, "./decide.mjs"], lambda _: plain, dealt,
            "loads, sets a status, writes on condition, sends (Powertools batch)", missing=no_node),
    ]
