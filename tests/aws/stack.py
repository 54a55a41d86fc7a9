"""The real template on a local AWS (ministack): start, deploy by change set, look that everything is there, stop.

    with Stack(folder) as stack:
        stack.deploy({"orchestrate": "target/debug/orchestrate", ...}, ConfigPath="/tmp/x/tillway.yaml")
        stack.put_secret("stripe", {...})
        requests to stack.url + "/webhooks/stripe/payments"

ministack executes what it is given and knows no password: it listens on loopback alone. AUTH=true makes it check every
signature and every policy: a function that lacks a permission is refused here as it would be at AWS.
"""
import collections
import concurrent.futures
import ctypes
import hashlib
import hmac
import io
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import calls  # noqa: E402
import expand  # noqa: E402
import proxy  # noqa: E402

ACCOUNT, REGION, BUCKET = "000000000000", "us-east-1", "tillway-code"
STAGES = ("receive", "decide", "act", "schedules")  # a log group each


def patch(template):
    """What the emulator lacks, changed in the expanded template. Nothing else may differ from what is deployed.

    1. Alarms on metric math are refused: each becomes an alarm on its first metric.

    2. It checks batches of SQS by a permission of their own, which AWS does not have (SendMessageBatch needs
       SendMessage): policies that allow the one are given the other.

    What else it lacks, and what that means for tests:
    - Layers are not unpacked for functions that run as processes: pass ConfigPath=<a file on this machine>.
    - A secret without a value is answered as an empty text; AWS says ResourceNotFoundException.
    - It speaks no TLS, which policies ask for: proxy.py says `X-Forwarded-Proto: https`, and it believes that.
    - The rest of a text body that is not UTF-8 arrives with replacement characters; base64 bodies arrive whole.
    - A FIFO queue has one batch in flight at a time, whatever MaximumConcurrency says.
    - `Ref` of a secret is its name, not its ARN: the template uses `GetAtt Id`, which is the ARN in both.
    - StartMessageMoveTask is missing: move dead letters by receive, send, delete.
    - Route throttling, access logs, alarms on time, tracing and VPC are stored and do nothing.
    """
    for resource in template["Resources"].values():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::CloudWatch::Alarm" and "Metrics" in properties:
            stat = next(m["MetricStat"] for m in properties.pop("Metrics") if "MetricStat" in m)
            properties.update(Namespace=stat["Metric"]["Namespace"], MetricName=stat["Metric"]["MetricName"],
                              Dimensions=stat["Metric"]["Dimensions"], Period=stat["Period"], Statistic=stat["Stat"])
        for document in [p["PolicyDocument"] for p in properties.get("Policies", [])] + [properties.get("PolicyDocument", {})]:
            for statement in document.get("Statement", []):
                allowed = statement.get("Action", [])
                batches = [a + "Batch" for a in (allowed if isinstance(allowed, list) else [allowed]) if a + "Batch" in calls.SAME_AS]
                if batches:
                    statement["Action"] = (allowed if isinstance(allowed, list) else [allowed]) + batches
    return template


def dies_with_us():
    """Runs in the child: where this process is killed, the local AWS ends too (Linux)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def zip_of(files):
    """A zip of {name: (bytes, mode)}."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name, (data, mode) in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o100000 | mode) << 16
            z.writestr(info, data, zipfile.ZIP_DEFLATED, compresslevel=1)
    return out.getvalue()


def intake_key(master):
    """What the command makes of a master key for the functions at the edge."""
    return hmac.new(bytes.fromhex(master), b"intake", hashlib.sha256).hexdigest()


class Stack:
    """A local AWS with the stack on it. `folder` keeps its log, its temporary files and calls.jsonl."""

    def __init__(self, folder, name="tillway", environment="dev", clock=None, connections=None):
        """`clock`: file of clock.c, where the stack's time is to be put forward. `connections`: further ones, `{name: system}`."""
        self.folder, self.name, self.environment = pathlib.Path(folder), name, environment
        self.clock, self.connections = clock, connections or {}
        self.prefix, self.secrets = f"{name}-{environment}", f"{name}/{environment}"
        self.record = self.folder / "calls.jsonl"
        self.process = self.proxy = None
        self.outputs, self.packed, self.template, self.written, self.deployments = {}, {}, None, expand.read(), 0

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    # -- the emulator --------------------------------------------------------------------------------------------------
    def start(self):
        """Starts ministack on a free loopback port, and the recording proxy before it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        self.port = free_port()
        self.proxy = proxy.Proxy(self.port, self.record, calls.Place(ACCOUNT, REGION))
        self.endpoint = f"http://127.0.0.1:{self.proxy.port}"
        # Functions inherit this environment: nothing of ours goes in.
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(self.folder), "TMPDIR": str(temporary), "AUTH": "true",
            "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(self.port), "MINISTACK_REGION": REGION,
            "MINISTACK_HOST": "localhost", "AWS_ENDPOINT_URL": self.endpoint, "LAMBDA_STRICT": "0",
        }
        if self.clock:
            # An environment that idles is not ended because the clock was put forward.
            environment |= {"LD_PRELOAD": str(self.shim()), "LAMBDA_WARM_TTL_SECONDS": str(10 ** 9)}
        self.log = open(self.folder / "ministack.log", "wb")
        command = [str(pathlib.Path(sys.executable).parent / "ministack")]
        self.process = subprocess.Popen(command, env=environment, stdout=self.log, stderr=subprocess.STDOUT, cwd=temporary,
                                        stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=dies_with_us)
        health = f"http://127.0.0.1:{self.port}/_ministack/health"
        self.until(lambda: urllib.request.urlopen(health, timeout=2).status == 200, 30, "ministack is not ready")

    def shim(self):
        """Compiles clock.c for this stack's file."""
        out = self.folder / "clock.so"
        source = pathlib.Path(__file__).with_name("clock.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", f'-DCLOCK="{self.clock}"', "-o", out, source], check=True)
        return out

    def stop(self):
        """Ends ministack and the functions it started (its own process group, by its own id)."""
        if self.process:
            for how in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(self.process.pid, how)
                    self.process.wait(timeout=5)
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    pass
            self.log.close()
        if self.proxy:
            self.proxy.close()
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)

    def until(self, true, seconds, message):
        """Waits until `true()` is; errors count as not yet."""
        end, last = time.time() + seconds, None
        while time.time() < end:
            if self.process and self.process.poll() is not None:
                raise RuntimeError(f"ministack ended: {self.tail()}")
            try:
                if found := true():
                    return found
            except (OSError, KeyError) as error:
                last = error
            time.sleep(0.1)
        raise TimeoutError(f"{message} after {seconds} s ({last or 'no error'}): {self.tail()}")

    def tail(self):
        """The end of ministack's log."""
        return (self.folder / "ministack.log").read_text(errors="replace")[-2000:]

    def client(self, service):
        """A client past the proxy, as the account's root."""
        import boto3

        return boto3.client(service, endpoint_url=f"http://127.0.0.1:{self.port}", region_name=REGION,
                            aws_access_key_id=ACCOUNT, aws_secret_access_key="none")

    # -- the stack -----------------------------------------------------------------------------------------------------
    def upload(self, binaries):
        """Does what `sam package` does: zips to S3. Answers which local path lies where."""
        s3 = self.client("s3")
        if not self.deployments:
            s3.create_bucket(Bucket=BUCKET)
        places = {}
        local = {p["CodeUri"]: expand.binary(p) for p in expand.functions(self.written).values()}
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            packed = pool.map(self.pack, (pathlib.Path(binaries[name]) for name in local.values()))
        for (uri, name), (key, zipped) in zip(local.items(), packed):
            s3.put_object(Bucket=BUCKET, Key=f"{name}-{key}.zip", Body=zipped)
            places[uri] = f"s3://{BUCKET}/{name}-{key}.zip"
        config = expand.ROOT / "infra" / "config"
        files = {p.relative_to(config).as_posix(): (p.read_bytes(), 0o644) for p in config.rglob("*") if p.is_file()}
        s3.put_object(Bucket=BUCKET, Key="config.zip", Body=zip_of(files))
        places["config"] = f"s3://{BUCKET}/config.zip"
        return places

    def pack(self, binary):
        """`(key, zip)` of a binary, without its debugging information, which would only fill the emulator's memory.

        As in `sam package`, the key names the content: another content is another version of the function.
        """
        state = binary.stat()
        known = (binary, state.st_mtime_ns, state.st_size)
        if known not in self.packed:
            code = binary.read_bytes()
            if code.startswith(b"\x7fELF") and shutil.which("strip"):
                out = self.folder / f"{binary.name}.stripped"
                subprocess.run(["strip", "-o", out, binary], check=True)
                code = out.read_bytes()
                out.unlink()
            self.packed[known] = hashlib.sha256(code).hexdigest()[:16], zip_of({"bootstrap": (code, 0o755)})
        return self.packed[known]

    def deploy(self, binaries, **parameters):
        """Deploys by change set, the first time or over what is there, and checks what came of it.

        `binaries`: name -> path of a built binary. `parameters`: of the template, over what the local run needs.
        """
        self.template = patch(expand.connect(expand.expand(self.written, self.upload(binaries)), self.connections))
        s3, cloud = self.client("s3"), self.client("cloudformation")
        s3.put_object(Bucket=BUCKET, Key="template.json", Body=json.dumps(self.template).encode())
        parameters = {"Name": self.name, "Environment": self.environment, "Architecture": "x86_64", **parameters}
        self.deployments += 1
        stack, change, kind = self.prefix, f"change-{self.deployments}", "CREATE" if self.deployments == 1 else "UPDATE"
        cloud.create_change_set(
            StackName=stack, ChangeSetName=change, ChangeSetType=kind, Capabilities=["CAPABILITY_IAM"],
            TemplateURL=f"http://127.0.0.1:{self.port}/{BUCKET}/template.json",
            Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()])
        ready = lambda: cloud.describe_change_set(StackName=stack, ChangeSetName=change)  # noqa: E731
        made = self.until(lambda: (c := ready())["Status"] in ("CREATE_COMPLETE", "FAILED") and c, 60, "no change set")
        if made["Status"] == "FAILED":
            raise RuntimeError(f"change set: {made.get('StatusReason')}")
        cloud.execute_change_set(StackName=stack, ChangeSetName=change)
        state = lambda: cloud.describe_stacks(StackName=stack)["Stacks"][0]  # noqa: E731
        done = self.until(lambda: not (s := state())["StackStatus"].endswith("IN_PROGRESS") and s, 120, "no stack")
        if done["StackStatus"] != f"{kind}_COMPLETE":
            events = cloud.describe_stack_events(StackName=stack)["StackEvents"]
            why = [f"{e['LogicalResourceId']}: {e.get('ResourceStatusReason')}" for e in events if "FAILED" in e["ResourceStatus"]]
            raise RuntimeError(f"{done['StackStatus']}: {why}")
        self.outputs = {o["OutputKey"]: o["OutputValue"] for o in done.get("Outputs", [])}
        self.url = f"http://127.0.0.1:{self.port}/_aws/execute-api/{self.outputs['ApiId']}/$default"
        self.check()

    def code(self):
        """{function: what its code hashes to}."""
        listed = self.client("lambda").get_paginator("list_functions").paginate()
        return {f["FunctionName"]: f["CodeSha256"] for page in listed for f in page["Functions"] if f["FunctionName"].startswith(f"{self.prefix}-")}

    def beside(self, environment):
        """Another environment on the same local AWS, not deployed yet; it ends with this one."""
        other = Stack(self.folder, self.name, environment, self.clock, self.connections)
        other.process, other.proxy, other.port, other.endpoint, other.packed = self.process, self.proxy, self.port, self.endpoint, self.packed
        return other

    def check(self):
        """A stack that reports success may lack its routes (seen with AWS::Serverless::HttpApi): look."""
        ours = f"{self.prefix}-"
        made = [r["Type"] for r in self.template["Resources"].values() if r.get("Condition") is None]
        api, functions = self.client("apigatewayv2"), self.client("lambda")
        there = {
            "AWS::ApiGatewayV2::Route": api.get_routes(ApiId=self.outputs["ApiId"])["Items"],
            "AWS::ApiGatewayV2::Integration": api.get_integrations(ApiId=self.outputs["ApiId"])["Items"],
            "AWS::Lambda::Function": [f for f in functions.list_functions()["Functions"] if f["FunctionName"].startswith(ours)],
            "AWS::Lambda::EventSourceMapping": [m for m in functions.list_event_source_mappings()["EventSourceMappings"]
                                                if f":function:{ours}" in m["FunctionArn"]],
            "AWS::Scheduler::Schedule": self.client("scheduler").list_schedules(NamePrefix=ours)["Schedules"],
            "AWS::CloudWatch::Alarm": self.client("cloudwatch").describe_alarms(AlarmNamePrefix=ours)["MetricAlarms"],
        }
        for kind, found in there.items():
            if len(found) != made.count(kind):
                raise RuntimeError(f"{kind}: {made.count(kind)} in the template, {len(found)} deployed")

    def put_secret(self, connection, values):
        """Puts a connection's secrets, as `tillway secrets put --aws` does."""
        puts = {connection: values}
        if connection == "tillway" and "master_key" in values:
            puts["intake"] = {"key": intake_key(values["master_key"])}
        for name, put in puts.items():
            self.client("secretsmanager").put_secret_value(SecretId=f"{self.secrets}/{name}", SecretString=json.dumps(put))

    def queue(self, name):
        """URL of a queue by the last part of its name."""
        return self.client("sqs").get_queue_url(QueueName=f"{self.prefix}-{name}")["QueueUrl"]

    def impatient(self, queue, visibility, receives):
        """Shortens a queue's waits, so that a test of dead letters need not wait an hour."""
        sqs, url = self.client("sqs"), self.queue(queue)
        kept = json.loads(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])["Attributes"]["RedrivePolicy"])
        kept["maxReceiveCount"] = receives
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": str(visibility), "RedrivePolicy": json.dumps(kept)})

    def invoke(self, function, event=None):
        """Invokes a function by its short name and waits: `(error or None, answer)`."""
        answer = self.client("lambda").invoke(FunctionName=f"{self.prefix}-{function}", Payload=json.dumps(event or {}))
        return answer.get("FunctionError"), json.loads(answer["Payload"].read() or b"null")

    def processes(self, function=None):
        """Process ids of the environments of a function that run now; of all functions where none is named."""
        mark, found = f"AWS_LAMBDA_FUNCTION_NAME={self.prefix}-{f'{function}{chr(0)}' if function else ''}".encode(), []
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                ours = os.getpgid(int(entry.name)) == self.process.pid
                if ours and mark in (entry / "environ").read_bytes() + b"\0":
                    found.append(int(entry.name))
            except (OSError, ValueError):
                continue  # gone meanwhile
        return found

    def kill(self, function, seconds=10):
        """Kills an environment of a function as soon as one runs, as a crash would."""
        pids = self.until(lambda: self.processes(function), seconds, f"{function} does not run")
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def end(self):
        """Ends every environment of every function, as Lambda does with those that idle."""
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)

    def stages(self):
        """{function: its stage}, by the log it writes."""
        return {expand.binary(p): p["LoggingConfig"]["LogGroup"]["Ref"].removeprefix("Logs").lower() for p in expand.functions(self.written).values()}

    def logs(self, stage):
        """What the functions of a stage wrote: receive, decide, act, schedules."""
        pages = self.client("logs").get_paginator("filter_log_events").paginate(logGroupName=f"/{self.name}/{self.environment}/{stage}")
        return [e["message"] for page in pages for e in page["events"]]

    def invocations(self):
        """{stage: how often its functions were invoked}, from the log."""
        return {s: sum(line.startswith("START RequestId") for line in self.logs(s)) for s in STAGES}

    def starts(self):
        """{function: how often a process of it was started}, where the stack has a clock of its own (clock.c)."""
        file = pathlib.Path(f"{self.clock}.starts")
        return dict(collections.Counter(file.read_text(encoding="utf-8").split())) if file.exists() else {}

    def schedules(self, state):
        """Switches every schedule, as `Paused` does, without a deployment."""
        scheduler = self.client("scheduler")
        for listed in scheduler.list_schedules()["Schedules"]:
            known = scheduler.get_schedule(Name=listed["Name"])
            kept = {k: known[k] for k in ("Name", "ScheduleExpression", "ScheduleExpressionTimezone", "FlexibleTimeWindow", "Target")}
            scheduler.update_schedule(**kept, State=state)

    def metrics(self):
        """{name: {label: sum}} of the metrics in the logs so far (embedded metric format)."""
        out = {}
        for stage in STAGES:
            for line in self.logs(stage):
                if not line.startswith('{"_aws"') and '"_aws"' not in line:
                    continue
                said = json.loads(line)
                for directive in said["_aws"]["CloudWatchMetrics"]:
                    label = ",".join(str(said[d]) for d in directive["Dimensions"][0] if d != "environment")
                    for metric in directive["Metrics"]:
                        by = out.setdefault(metric["Name"], {})
                        by[label] = by.get(label, 0) + said[metric["Name"]]
        return out

    def calls(self):
        """Every call recorded so far."""
        return [json.loads(line) for line in self.record.read_text(encoding="utf-8").splitlines()]
