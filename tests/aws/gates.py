#!/usr/bin/env python3
"""The offline checks of infra/template.yaml; each is one function here, named as it is reported.

Runs in .tools/aws (tests/aws/tools.sh makes it). Ends with `N passed, M failed`; what cannot be checked yet says why.
"""
import fnmatch
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import zoneinfo

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import expand  # noqa: E402
import headers  # noqa: E402
import policy  # noqa: E402
import schedules  # noqa: E402
import unseen  # noqa: E402

ROOT, HERE = expand.ROOT, pathlib.Path(__file__).parent
TOOLS = pathlib.Path(sys.executable).parent
# The translator fills in the layer's name from default parameters when it runs offline, which leaves a Sub with
# nothing to fill in; in an account it is given the real ones.
LINT_IGNORED = ["W1020"]
# Actions whose service knows no resources to name.
ANY_RESOURCE = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}

# Where the values of a metric's second dimension stand in the code: files, and the pattern of one.
EMITTED = {
    "alerts": [("shared/engine/src/**/*.rs", r'\.alert\(\s*"(\w+)"')],
    "receive_refused": [("shared/connectors/src/port.rs", r'Self::\w+ => "(\w+)"'), ("shared/engine/src/**/*.rs", r'Receipt \{ status: [45]\d\d, code: "(\w+)"'),
                        ("shared/aws/src/entry/*.rs", r'refuse\(\s*engine,\s*\d+,\s*"(\w+)"')],
}

# What every resource of a type has; `{}`: something. A queue's are those of a FIFO queue.
EVERY = {
    "AWS::DynamoDB::Table": [("BillingMode", "PAY_PER_REQUEST")],
    "AWS::SQS::Queue": [("DeduplicationScope", "messageGroup"), ("FifoThroughputLimit", "perMessageGroupId")],
    "AWS::Logs::LogGroup": [("RetentionInDays", {})],
    "AWS::Lambda::Function": [("LoggingConfig.LogGroup", {}), ("LoggingConfig.LogFormat", "JSON"), ("TracingConfig.Mode", "Active")],
}


def unexplained(skips, surplus):
    """Exceptions that give no reason."""
    return ([f"checkov-skips.json: {name} says no why" for name, skip in skips.items() if not str(skip.get("why") or "").strip()]
            + [f"surplus.json: `{key}` says no why" for key, why in surplus.items() if not str(why or "").strip()])


class Skip(Exception):
    """Cannot be checked here; says why."""


class Gates(unseen.Unseen):
    """The checks. Each answers sentences about what is wrong."""

    def __init__(self, folder, written=None):
        self.written = written or expand.read()
        self.template = expand.expand(self.written)
        self.names = policy.Names(self.template)
        self.resources = self.template["Resources"]
        self.file = pathlib.Path(folder) / "expanded.json"
        self.file.write_text(json.dumps(self.template, indent=1), encoding="utf-8")

    def of(self, kind):
        return {n: r["Properties"] for n, r in self.resources.items() if r["Type"] == kind}

    def cfn_lint(self):
        run = subprocess.run([TOOLS / "cfn-lint", "--format", "parseable", "--ignore-checks", *LINT_IGNORED, "--", self.file],
                             capture_output=True, text=True)
        return run.stdout.splitlines() + ([run.stderr] if run.returncode and not run.stdout else [])

    def checkov(self):
        run = subprocess.run([TOOLS / "checkov", "--framework", "cloudformation", "--file", self.file, "--quiet", "--compact",
                              "--skip-download", "--output", "json"], capture_output=True, text=True)
        failed = json.loads(run.stdout)["results"]["failed_checks"]
        skips, used, problems = json.loads((HERE / "checkov-skips.json").read_text(encoding="utf-8")), set(), []
        for check in failed:
            name, resource = check["check_id"], check["resource"]
            if name in skips and fnmatch.fnmatchcase(resource, "*" + skips[name]["on"]):
                used.add(name)
            else:
                problems.append(f"{name} {resource}: {check['check_name']}")
        return problems + [f"checkov-skips.json: nothing needs {name} any more" for name in skips if name not in used]

    def exceptions_say_why(self):
        return unexplained(*(json.loads(f.read_text(encoding="utf-8")) for f in (HERE / "checkov-skips.json", policy.SURPLUS)))

    def every_resource_has_what_its_kind_needs(self):
        problems = []
        for kind, wanted in EVERY.items():
            for name, properties in self.of(kind).items():
                if kind == "AWS::SQS::Queue" and not properties.get("FifoQueue"):
                    continue
                for path, value in wanted:
                    has = self.names.of(properties)
                    for step in path.split("."):
                        has = has.get(step) if isinstance(has, dict) else None
                    if has != value if value else not has:
                        problems.append(f"{name}: {path} is {has}" + (f", not {value}" if value else ""))
        return problems

    def every_binary_is_deployed_and_the_reverse(self):
        if not (ROOT / "functions" / "Cargo.toml").exists():
            raise Skip("functions/ is not there yet")
        run = subprocess.run(["cargo", "metadata", "--no-deps", "--format-version", "1", "--locked", "--offline"],
                             cwd=ROOT, capture_output=True, text=True, check=True)
        package = next(p for p in json.loads(run.stdout)["packages"] if p["name"] == "tillway-functions")
        built = {t["name"] for t in package["targets"] if "bin" in t["kind"]}
        deployed = [expand.binary(p) for p in expand.functions(self.written).values()]
        return ([f"functions/Cargo.toml has {b}, the template has not" for b in sorted(built - set(deployed))]
                + [f"the template deploys {d}, functions/Cargo.toml has no such binary" for d in sorted(set(deployed) - built)]
                + [f"{d} is deployed twice" for d in set(deployed) if deployed.count(d) > 1])

    def names_follow_the_binary(self):
        problems = []
        for name, properties in expand.functions(self.written).items():
            whole = self.names.of(properties["FunctionName"])
            if whole != f"tillway-dev-{expand.binary(properties)}":
                problems.append(f"{name}: named {whole}, runs {expand.binary(properties)}")
            if self.names.of(properties["Environment"]["Variables"]["AWS_SDK_UA_APP_ID"]) != whole:
                problems.append(f"{name}: AWS_SDK_UA_APP_ID is not its name, so recorded calls would name another")
        return problems

    def alarms_and_dashboard_name_metrics_that_the_code_emits(self):
        table = ROOT / "shared" / "aws" / "src" / "metrics.rs"
        if not table.exists():
            raise Skip("shared/aws/src/metrics.rs is not there yet")
        code = table.read_text(encoding="utf-8").split("#[cfg(test)]")[0]
        rows = re.findall(r'\b(counter|gauge)\(\s*"(\w+)",(?:\s*"(\w+)",)?', code)
        known = {name: {"environment", label} if kind == "counter" else {"environment"} for kind, name, label in rows}
        problems = [] if f'"{self.namespace()}"' in code else ["the namespace differs"]
        for where, metric, dimensions in self.own_metrics():
            if metric not in known:
                problems.append(f"{where}: no code emits {metric}")
            elif set(dimensions) != known[metric]:
                problems.append(f"{where}: {metric} is emitted with {sorted(known[metric])}, not {sorted(dimensions)}")
        return problems

    def alarms_and_dashboard_name_values_that_the_code_emits(self):
        whole = {self.names.of(p["Environment"]["Variables"]["TILLWAY_ENV"]) for p in self.of("AWS::Lambda::Function").values()}
        problems, emitted = [], {metric: self._literals(rows) for metric, rows in EMITTED.items()}
        for where, metric, dimensions in self.own_metrics():
            for name, value in dimensions.items():
                if name == "environment":
                    problems += [] if {value} == whole else [f"{where}: {metric} is emitted with environment {sorted(whole)}, not {value}"]
                elif value is not None and value not in emitted.get(metric, ()):
                    problems.append(f"{where}: no code emits {metric} with {name} {value}")
        return problems

    def _literals(self, rows):
        """What the patterns find in their files, tests left out."""
        return {literal for files, pattern in rows for file in sorted(ROOT.glob(files))
                if file.stem != "tests" and not file.stem.endswith("_tests")
                for literal in re.findall(pattern, file.read_text(encoding="utf-8").split("#[cfg(test)]")[0])}

    def namespace(self):
        return next(p["Namespace"] for p in self.of("AWS::CloudWatch::Alarm").values() if str(p.get("Namespace", "")).startswith("T"))

    def own_metrics(self):
        """(where, metric, dimensions) of every use of a metric of ours; a dimension that stands for all its values has none."""
        ours = self.namespace()
        for name, properties in self.of("AWS::CloudWatch::Alarm").items():
            if properties.get("Namespace") == ours:
                yield name, properties["MetricName"], {d["Name"]: self.names.of(d["Value"]) for d in properties["Dimensions"]}
        for widget in self.widgets():
            title = widget["properties"].get("title", "")
            for row in widget["properties"].get("metrics", []):
                if row[0] == ours:
                    said = [r for r in row[2:] if not isinstance(r, dict)]
                    yield title, row[1], dict(zip(said[::2], said[1::2]))
                elif isinstance(row[0], dict):
                    for names, metric, rest in re.findall(rf'SEARCH\(\'\{{{ours},([\w,]+)\}} MetricName="(\w+)"([^\']*)\'', row[0]["expression"]):
                        yield title, metric, dict.fromkeys(names.split(",")) | dict(re.findall(r'(\w+)="([^"]*)"', rest))

    def what_watches_the_table_follows_a_restore(self):
        """With `RestoredTable`, every metric of a table on the dashboard and in the alarms is that table's."""
        names, restored = policy.Names(self.template, {"RestoredTable": "restored"}), "restored"
        watched = []
        for name, properties in self.of("AWS::CloudWatch::Alarm").items():
            metrics = [m["MetricStat"]["Metric"] for m in properties.get("Metrics", []) if "MetricStat" in m] or [properties]
            watched += [(name, d["Value"]) for m in metrics for d in names.of(m.get("Dimensions", [])) if d["Name"] == "TableName"]
        for widget in self.widgets(names):
            for row in widget["properties"].get("metrics", []):
                if "TableName" in row:
                    watched.append((widget["properties"].get("title", ""), row[row.index("TableName") + 1]))
        assert len(watched) == 10, watched
        return [f"{where} watches {table} though {restored} is worked on" for where, table in watched if table != restored]

    def widgets(self, names=None):
        return json.loads((names or self.names).of(self.of("AWS::CloudWatch::Dashboard")["Dashboard"]["DashboardBody"]))["widgets"]

    def dashboard_is_sound(self):
        problems, known = [], {self.names.attribute(a, "Arn") for a in self.of("AWS::CloudWatch::Alarm")}
        shown = {a for w in self.widgets() for a in w["properties"].get("alarms", [])}
        problems += [f"{a} is not on the dashboard" for a in sorted(known - shown)]
        for widget in self.widgets():
            title, ids = widget["properties"].get("title", ""), set()
            for row in widget["properties"].get("metrics", []):
                named = row[-1].get("id") if isinstance(row[-1], dict) else None
                if named and named in ids:
                    problems.append(f"{title}: the id {named} twice")
                ids.add(named)
        return problems

    def prices_are_those_of_the_one_file(self):
        prices = {float(v) for v in json.loads((ROOT / "infra" / "prices.json").read_text()).values() if isinstance(v, (int, float))}
        cost = next(w for w in self.widgets() if w["properties"].get("title") == "US dollars")
        said = [r[0]["expression"] for r in cost["properties"]["metrics"] if isinstance(r[0], dict)]
        used = [float(n) for e in said for n in re.findall(r"\* (\d+\.\d+)", e)]
        memory = {self.names.of(p["FunctionName"]): p["MemorySize"] / 1024 for p in self.of("AWS::Lambda::Function").values()}
        counted = self._gigabytes(cost["properties"]["metrics"])
        return ([f"{n} stands in no price list" for n in used if n not in prices | set(memory.values())]
                + [f"{name} has {size} GB; the cost widget multiplies its time by {counted.get(name)}"
                   for name, size in memory.items() if counted.get(name) != [size]]
                + self._uncounted(cost["properties"]["metrics"]))

    def _uncounted(self, rows):
        """Units of the table and its indexes that the cost widget leaves out, or counts twice."""
        indexes = [[]] + [["GlobalSecondaryIndexName", i["IndexName"]] for i in self.of("AWS::DynamoDB::Table")["Table"]["GlobalSecondaryIndexes"]]
        found = [(row[1], row[4:-1], row[-1]["id"][0]) for row in rows if row[0] == "AWS/DynamoDB"]
        wanted = [(f"Consumed{kind}CapacityUnits", index, kind[0].lower()) for kind in ("Write", "Read") for index in indexes]
        return [f"the cost widget counts {metric} of {index[1] if index else 'the table'} {found.count((metric, index, name))} times"
                for metric, index, name in wanted if found.count((metric, index, name)) != 1]

    def _gigabytes(self, rows):
        """A function's name -> what the cost widget multiplies its time by, for each time it is counted."""
        sizes = dict(re.findall(r'METRICS\("(\w+)"\), 0\)\) / 1000 \* (\d+\.\d+)', json.dumps(rows).replace('\\"', '"')))
        counted, before = {}, []
        for row in rows:
            if isinstance(row[0], dict):
                continue
            said = row[:-1]
            before = before[:len(before) + 1 - len(said)] + said[1:] if said[0] == "..." else said
            if before[:2] == ["AWS/Lambda", "Duration"]:
                # METRICS("d") is every metric with a d in its id.
                counted.setdefault(before[-1], []).extend(float(size) for part, size in sizes.items() if part in row[-1]["id"])
        return counted

    def schedule_expressions_are_valid(self):
        schedules_of_ours = self.of("AWS::Scheduler::Schedule")
        found = [(n, self.names.of(p["ScheduleExpression"])) for n, p in schedules_of_ours.items()]
        zones = [(n, self.names.of(p["ScheduleExpressionTimezone"])) for n, p in schedules_of_ours.items() if "ScheduleExpressionTimezone" in p]
        return (schedules.self_test() + [f"{n}: {e}: {w}" for n, e in found if (w := schedules.wrong(e))] + ([] if found else ["there are none"])
                + [f"{n}: there is no time zone {z}" for n, z in zones if z not in zoneinfo.available_timezones()])

    def queues_wait_long_enough_and_bury_nothing_silently(self):
        problems, read = [], {}
        for mapping in self.of("AWS::Lambda::EventSourceMapping").values():
            queue, function = mapping["EventSourceArn"]["Fn::GetAtt"][0], mapping["FunctionName"]["Ref"]
            read[queue] = function
            if mapping.get("FunctionResponseTypes") != ["ReportBatchItemFailures"]:
                problems.append(f"{queue}: one bad message would hand out its whole batch again")
            share = self.resources[function]["Properties"]["Environment"]["Variables"].get("TILLWAY_CONCURRENCY")
            most = self.names.of(mapping["ScalingConfig"]["MaximumConcurrency"])
            if share is not None and str(self.names.of(share)) != str(most):
                problems.append(f"{function}: shares the rate limit among {self.names.of(share)}, but {most} run at once")
        queues = self.of("AWS::SQS::Queue")
        for name, properties in queues.items():
            if name in read and properties["VisibilityTimeout"] < 6 * self.resources[read[name]]["Properties"]["Timeout"]:
                problems.append(f"{name}: visibility is under six times the time-out of {read[name]}")
            if properties.get("MessageRetentionPeriod") != 14 * 86400:
                problems.append(f"{name}: keeps messages less than 14 days")
            if name.endswith("Dead"):
                continue
            dead = properties["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0]
            allowed = self.names.of(queues[dead]["RedriveAllowPolicy"])["sourceQueueArns"]
            if self.names.attribute(name, "Arn") not in allowed or dead not in read:
                problems.append(f"{name}: {dead} does not take its messages, or nobody reads it")
        return problems

    def permissions_name_actions_and_resources(self):
        problems = []
        for function, allowed in policy.permissions(self.template, self.names).items():
            for action, resource in sorted(allowed):
                if "*" in action or (resource == "*" and action not in ANY_RESOURCE):
                    problems.append(f"{function}: {action} on {resource}")
                if "None" in resource or resource.endswith(".Arn"):
                    problems.append(f"{function}: {action} on {resource}: a reference that policy.py cannot fill in")
        return sorted(set(problems))

    def mains_say_what_their_roles_allow(self):
        secret_of = {self.names.attribute(s, "Id"): s.removeprefix("Secret").lower() for s in self.of("AWS::SecretsManager::Secret")}
        return [problem for function, allowed in policy.permissions(self.template, self.names).items()
                for problem in headers.compare(function.split("-", 2)[2], allowed, secret_of)]

    def who_may_read_an_object_is_told_that_it_is_gone(self):
        # S3 answers NoSuchKey to who may list the bucket, and AccessDenied to others. A read has no prefix, so that a
        # condition on one never holds for it.
        bare = policy.permissions(self.template, self.names, conditional=False)
        return [f"{function}: {action} on {resource}, without s3:ListBucket on the bucket for all its names: a missing object is AccessDenied"
                for function, allowed in policy.permissions(self.template, self.names).items() for action, resource in sorted(allowed)
                if action == "s3:GetObject" and ("s3:ListBucket", resource.split("/")[0]) not in bare[function]]

    def table_has_the_attributes_of_the_code(self):
        code = ROOT / "shared" / "aws" / "src" / "item.rs"
        if not code.exists():
            raise Skip("shared/aws/src/item.rs is not there yet")
        table, text = self.of("AWS::DynamoDB::Table")["Table"], code.read_text(encoding="utf-8")
        names = [a["AttributeName"] for a in table["AttributeDefinitions"]] + [table["TimeToLiveSpecification"]["AttributeName"]]
        return [f"the code knows no attribute {n}" for n in names if f'"{n}"' not in text]

    def variables_are_those_the_code_reads(self):
        code = ROOT / "shared" / "aws" / "src" / "env.rs"
        if not code.exists():
            raise Skip("shared/aws/src/env.rs is not there yet")
        text = code.read_text(encoding="utf-8").split("#[cfg(test)]")[0]
        known = set(re.findall(r"`(TILLWAY_[A-Z_]+)", text))
        set_by_us = {v for p in self.of("AWS::Lambda::Function").values() for v in p["Environment"]["Variables"] if v.startswith("TILLWAY_")}
        prefix = "TILLWAY_QUEUE_COMMANDS_"
        return ([f"{v}: no code reads it" for v in sorted(set_by_us) if v not in known and not (v.startswith(prefix) and prefix in known)]
                + [f"{v}: the template never sets it" for v in sorted(known - set_by_us) if v != prefix])

    def allow_lists_are_refused_before_they_stop_a_function(self):
        # As shared/aws/src/env.rs reads them (its test has the same): what that refuses would be 5xx from the first start on.
        good = ["", "192.0.2.0/24", "192.0.2.0/24, 2001:db8::/32", "0.0.0.0/0,::/0", "192.0.2.1/32 , 10.0.0.0/8"]
        bad = ["192.0.2.0/33", "x", "192.0.2.0/24,", "192.0.2.1", "192.0.2.256/32", "192.0.2.0/24 10.0.0.0/8", "192.0.2.0/24;10.0.0.0/8", "2001:db8::/129", "2001:db8/32", " "]
        problems, lists = [], {n: p for n, p in self.template["Parameters"].items() if n.endswith("Allow")}
        for name, given in lists.items():
            pattern = given.get("AllowedPattern", ".*")
            problems += [f"{name}: refuses `{text}`" for text in good if not re.fullmatch(pattern, text)]
            problems += [f"{name}: takes `{text}`" for text in bad if re.fullmatch(pattern, text)]
            problems += [] if given.get("ConstraintDescription") else [f"{name}: does not say what it takes"]
        return problems + ([] if lists else ["there are none"])

    def environments_name_what_there_is(self):
        import tomllib

        import yaml

        problems, parameters = [], self.template["Parameters"]
        paths = {parameters["ConfigPath"]["Default"]}
        for name, section in tomllib.loads((ROOT / "infra" / "samconfig.toml").read_text(encoding="utf-8")).items():
            for pair in section["deploy"]["parameters"]["parameter_overrides"] if name != "version" else ():
                key, value = pair.split("=", 1)
                allowed = parameters.get(key, {}).get("AllowedValues")
                if key not in parameters or (allowed and value not in allowed):
                    problems.append(f"samconfig.toml [{name}]: {pair}")
                paths |= {value} if key == "ConfigPath" else set()
        for path in sorted(paths):
            file = ROOT / "infra" / "config" / path.removeprefix("/opt/")
            if not file.exists():
                problems.append(f"{path}: there is no {file.relative_to(ROOT)}")
                continue
            connections = yaml.safe_load(file.read_text(encoding="utf-8"))["connections"]
            # A gateway that the configuration does not use lies idle; one it uses has the name the template gives it.
            if not any(c["system"] in ("stripe", "cybersource") for c in connections.values()):
                problems.append(f"{file.name}: no gateway is in it")
            for system in ("stripe", "cybersource", "clarity"):
                name = parameters[f"{system.capitalize()}Connection"]["Default"]
                used = [n for n, c in connections.items() if c["system"] == system]
                if used and name not in used or system == "clarity" and not used:
                    problems.append(f"{file.name}: {name}, a parameter's default, is no connection of {system} in it")
        return problems

    def an_alarm_counts_over_ten_metrics_at_most(self):
        counts = {n: sum("MetricStat" in m for m in a.get("Metrics", [])) for n, a in self.of("AWS::CloudWatch::Alarm").items()}
        return [f"{name}: {count} metrics, CloudWatch allows an alarm ten" for name, count in counts.items() if count > 10]

    def what_the_alarms_mean_is_written_down(self):
        text = (ROOT / "infra" / "DEPLOY.md").read_text(encoding="utf-8").split("## Alarms")[1].split("##")[0]
        alarms = [a["AlarmName"] for a in self.of("AWS::CloudWatch::Alarm").values()]
        names = {a["Fn::Sub"].rsplit("}-", 1)[1] for a in alarms if isinstance(a, dict)}
        told = set(re.findall(r"`([a-z-]+)`", text))
        return ([f"DEPLOY.md says nothing of {n}" for n in sorted(names - told)]
                + [f"DEPLOY.md tells of {n}, which is no alarm" for n in sorted(told - names)]
                + ([] if len(names) == len(alarms) else ["two alarms have one name, or one has none"]))

    def fits_cloudformation(self):
        sizes = {"resources": (len(self.resources), 500), "parameters": (len(self.template["Parameters"]), 200),
                 "outputs": (len(self.template["Outputs"]), 200), "bytes": (len(json.dumps(self.template)), 1_000_000)}
        return [f"{n} {what}, at most {most}" for what, (n, most) in sizes.items() if n > most]


def main():
    passed = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        gates = Gates(folder)
        names = [n for n in (*vars(Gates), *vars(unseen.Unseen)) if not n.startswith("_") and n not in ("of", "widgets", "namespace", "own_metrics")]
        for name in names:
            try:
                problems = getattr(gates, name)()
            except Skip as why:
                print(f"skip   {name.replace('_', ' ')}: {why}")
                continue
            passed, failed = (passed, failed + 1) if problems else (passed + 1, failed)
            print(f"{'FAILED' if problems else 'ok    '} {name.replace('_', ' ')}")
            for problem in problems:
                print(f"         {problem}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
