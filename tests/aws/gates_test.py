#!/usr/bin/env python3
"""That the gates can fail: each is shown a template with one thing broken and must say so. Takes half a minute."""
import copy
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import expand  # noqa: E402
import gates  # noqa: E402
import policy  # noqa: E402
import units  # noqa: E402


def properties(name):
    return lambda t: t["Resources"][name]["Properties"]


def put(name, *path_and_value):
    """Sets a property of a resource of the template as written."""
    *path, last, value = path_and_value

    def broken(template):
        at = properties(name)(template)
        for step in path:
            at = at[step]
        at[last] = value
    return broken


def drop(name):
    return lambda t: t["Resources"].pop(name)


def gone(name, key):
    return lambda t: properties(name)(t).pop(key)


def instead(name, old, new):
    """Replaces a text in the dashboard."""
    def broken(template):
        body = properties(name)(template)["DashboardBody"]["Fn::Sub"]
        body[0] = body[0].replace(old, new)
    return broken


def everything(template):
    statement = properties("Store")(template)["PolicyDocument"]["Statement"][0]
    statement["Action"], statement["Resource"] = "dynamodb:*", "*"


def parameter(name, default):
    return lambda t: t["Parameters"][name].update(Default=default)


def too_many(template):
    template["Resources"].update({f"Topic{n}": {"Type": "AWS::SNS::Topic"} for n in range(500)})


def listing(role, change):
    """Changes the statement that lets a role list the bucket."""
    def broken(template):
        statements = properties(role)(template)["Policies"][0]["PolicyDocument"]["Statement"]
        at = next(n for n, s in enumerate(statements) if s["Action"] == "s3:ListBucket")
        statements[at] = statements[at] | change
    return broken


def granted(role, action, *resources):
    """Gives a role one permission more."""
    def broken(template):
        asked = {"Effect": "Allow", "Action": action, "Resource": [{"Fn::GetAtt": r} for r in resources]}
        properties(role)(template)["Policies"][0]["PolicyDocument"]["Statement"].append(asked)
    return broken


# (gate, what is broken, how, what must be said)
CASES = [
    ("cfn_lint", "a batch of 99999", put("Orchestrate", "Events", "Events", "Properties", "BatchSize", 99999), "99999"),
    ("cfn_lint", "one at a time", put("Notify", "Events", "Commands", "Properties", "ScalingConfig", {"MaximumConcurrency": 1}), "minimum"),
    ("cfn_lint", "a misspelt action", put("Store", "PolicyDocument", "Statement", 0, "Action", ["dynamodb:GetItme"]), "getitme"),
    ("cfn_lint", "a runtime nobody has", put("Tick", "Runtime", "provided.al2099"), "provided.al2099"),
    ("checkov", "no point-in-time recovery", put("Table", "PointInTimeRecoverySpecification", {"PointInTimeRecoveryEnabled": False}), "CKV_AWS_28"),
    ("names_follow_the_binary", "another function's name", put("Tick", "FunctionName", {"Fn::Sub": "${Name}-${Environment}-tock"}), "tock"),
    ("names_follow_the_binary", "another in the user agent", put("Tick", "Environment", "Variables", "AWS_SDK_UA_APP_ID", "tillway-dev-tock"), "AWS_SDK_UA_APP_ID"),
    ("dashboard_is_sound", "an alarm that is not shown", instead("Dashboard", '"${DeadLettersAlarm.Arn}", ', ""), "is not on the dashboard"),
    ("an_alarm_counts_over_ten_metrics_at_most", "eleven queues", put("OldestMessageAlarm", "Metrics", [{"Id": f"m{n}", "MetricStat": {}} for n in range(11)]), "11 metrics"),
    ("what_the_alarms_mean_is_written_down", "another name", put("ActorsFailAlarm", "AlarmName", {"Fn::Sub": "${Name}-${Environment}-actors-fall"}), "actors-fall"),
    ("what_the_alarms_mean_is_written_down", "a name twice", put("ActorsFailAlarm", "AlarmName", {"Fn::Sub": "${Name}-${Environment}-workers-fail"}), "one name"),
    ("what_watches_the_table_follows_a_restore", "a cost of the table that was", instead("Dashboard", '"TableName", "${Used}", {"id": "w0"', '"TableName", "${Table}", {"id": "w0"'), "US dollars watches tillway-dev"),
    ("what_watches_the_table_follows_a_restore", "an alarm on the table that was", put("TableThrottledAlarm", "Metrics", 1, "MetricStat", "Metric", "Dimensions", 0, "Value", {"Ref": "Table"}), "TableThrottledAlarm watches tillway-dev"),
    ("prices_are_those_of_the_one_file", "another price", instead("Dashboard", "* 0.625", "* 0.626"), "0.626"),
    ("prices_are_those_of_the_one_file", "a function of another size", put("Tick", "MemorySize", 1024), "tillway-dev-tick has 1.0 GB"),
    ("prices_are_those_of_the_one_file", "counted at the small size", instead("Dashboard", '"id": "m1"', '"id": "d23"'), "tillway-dev-settle-cybersource has 1.0 GB"),
    ("prices_are_those_of_the_one_file", "a function that is not counted", instead("Dashboard", '"id": "d18"', '"id": "x18"'), "tillway-dev-tick has 0.25 GB"),
    ("allow_lists_are_refused_before_they_stop_a_function", "anything goes", lambda t: t["Parameters"]["ClarityAllow"].pop("AllowedPattern"), "ClarityAllow: takes `192.0.2.0/33`"),
    ("allow_lists_are_refused_before_they_stop_a_function", "no list", lambda t: t["Parameters"]["StripeAllow"].update(AllowedPattern="[0-9.]+/[0-9]+"), "StripeAllow: refuses `192.0.2.0/24, 2001:db8::/32`"),
    ("allow_lists_are_refused_before_they_stop_a_function", "a refusal without a reason", lambda t: t["Parameters"]["StripeAllow"].pop("ConstraintDescription"), "StripeAllow: does not say"),
    ("prices_are_those_of_the_one_file", "reads of an index that are not counted", instead("Dashboard", '"list", {"id": "r2"', '"list", {"id": "x2"'), "ConsumedReadCapacityUnits of list 0 times"),
    ("environments_name_what_there_is", "a connection nobody has", parameter("ClarityConnection", "shopp"), "shopp"),
    ("environments_name_what_there_is", "a file that is not there", parameter("ConfigPath", "/opt/tillway/test.yaml"), "there is no"),
    ("fits_cloudformation", "five hundred topics more", too_many, "resources, at most 500"),
    ("throttled_requests_raise_an_alarm", "nobody counts them", drop("ApiThrottled"), "nothing counts"),
    ("throttled_requests_raise_an_alarm", "another status", put("ApiThrottled", "FilterPattern", '{ $.status = "403" }'), "is wrong about a request answered 429"),
    ("throttled_requests_raise_an_alarm", "a field that the log has not", put("ApiThrottled", "FilterPattern", '{ $.statusCode = "429" }'), "is wrong about a request answered 429"),
    ("throttled_requests_raise_an_alarm", "another log", put("ApiThrottled", "LogGroupName", {"Ref": "LogsReceive"}), "reads /tillway/dev/receive"),
    ("throttled_requests_raise_an_alarm", "an alarm on another metric", put("ApiThrottledAlarm", "MetricName", "throtled"), "tillway-dev/api/throttled: no alarm"),
    ("throttled_requests_raise_an_alarm", "an alarm nobody hears", put("ApiThrottledAlarm", "AlarmActions", []), "no alarm tells of it"),
    ("throttled_requests_raise_an_alarm", "an alarm for a thousand", put("ApiThrottledAlarm", "Threshold", 1000), "no alarm tells of it"),
    ("schedule_expressions_are_valid", "a bad rate", put("Tick", "Events", "EveryMinute", "Properties", "ScheduleExpression", "rate(1 minutes)"), "1 minute"),
    ("schedule_expressions_are_valid", "a bad cron", put("SweepStripe", "Events", "EveryQuarter", "Properties", "ScheduleExpression", "cron(0/15 * * * * *)"), "exactly one"),
    ("schedule_expressions_are_valid", "a zone nobody knows", put("SettleStripe", "Events", "EveryMorning", "Properties", "ScheduleExpressionTimezone", "Europe/Bärlin"), "no time zone"),
    ("every_resource_has_what_its_kind_needs", "a table paid by the hour", put("Table", "BillingMode", "PROVISIONED"), "Table: BillingMode"),
    ("every_resource_has_what_its_kind_needs", "duplicates looked for in the whole queue", put("Events", "DeduplicationScope", "queue"), "Events: DeduplicationScope"),
    ("every_resource_has_what_its_kind_needs", "a queue of 300 a second", put("EventsDead", "FifoThroughputLimit", "perQueue"), "EventsDead: FifoThroughputLimit"),
    ("every_resource_has_what_its_kind_needs", "logs kept for ever", gone("LogsApi", "RetentionInDays"), "LogsApi: RetentionInDays"),
    ("every_resource_has_what_its_kind_needs", "a log group that Lambda makes", gone("Tick", "LoggingConfig"), "Tick: LoggingConfig.LogGroup"),
    ("every_resource_has_what_its_kind_needs", "no traces", put("ActClarity", "Tracing", "PassThrough"), "ActClarity: TracingConfig.Mode"),
    ("queues_wait_long_enough_and_bury_nothing_silently", "a short visibility", put("Events", "VisibilityTimeout", 60), "six times"),
    ("queues_wait_long_enough_and_bury_nothing_silently", "whole batches", put("ActStripe", "Events", "Commands", "Properties", "FunctionResponseTypes", []), "whole batch"),
    ("queues_wait_long_enough_and_bury_nothing_silently", "another share", put("Notify", "Environment", "Variables", "TILLWAY_CONCURRENCY", "9"), "rate limit"),
    ("permissions_name_actions_and_resources", "everything on everything", everything, "dynamodb:* on *"),
    ("who_may_read_an_object_is_told_that_it_is_gone", "no listing", listing("OrchestrateRole", {"Action": "s3:GetBucketLocation"}), "tillway-dev-orchestrate"),
    ("who_may_read_an_object_is_told_that_it_is_gone", "a listing below a prefix", listing("SettleStripeRole", {"Condition": {"StringLike": {"s3:prefix": "settlement/*"}}}), "tillway-dev-settle-stripe"),
    ("who_may_read_an_object_is_told_that_it_is_gone", "a listing of the objects", listing("TriageRole", {"Resource": {"Fn::Sub": "${Claims.Arn}/claims/*"}}), "tillway-dev-triage"),
]
# These compare with the code; they are tried where the code is.
WITH_CODE = [
    ("every_binary_is_deployed_and_the_reverse", "a function that is gone", drop("Triage"), "triage"),
    ("alarms_and_dashboard_name_metrics_that_the_code_emits", "a misspelt metric", put("SignaturesFailAlarm", "MetricName", "recieve_refused"), "recieve_refused"),
    ("alarms_and_dashboard_name_metrics_that_the_code_emits", "a metric nobody emits on the dashboard", instead("Dashboard", 'MetricName=\\"decided\\"', 'MetricName=\\"decied\\"'), "decied"),
    ("alarms_and_dashboard_name_values_that_the_code_emits", "a misspelt refusal", put("SignaturesFailAlarm", "Dimensions", 1, "Value", "signature_wrng"), "SignaturesFailAlarm: no code emits receive_refused with code signature_wrng"),
    ("alarms_and_dashboard_name_values_that_the_code_emits", "an alert nobody raises", put("SweepFoundLostAlarm", "Dimensions", 1, "Value", "sweep_found"), "no code emits alerts with code sweep_found"),
    ("alarms_and_dashboard_name_values_that_the_code_emits", "another stack", put("DueNotSentAlarm", "Dimensions", 0, "Value", {"Ref": "Environment"}), "not dev"),
    ("alarms_and_dashboard_name_values_that_the_code_emits", "another stack on the dashboard", instead("Dashboard", '"parked_open", "environment", "${Name}-${Environment}"', '"parked_open", "environment", "${Name}"'), "not tillway"),
    ("table_has_the_attributes_of_the_code", "another attribute", put("Table", "TimeToLiveSpecification", {"AttributeName": "gone_at", "Enabled": True}), "gone_at"),
    ("mains_say_what_their_roles_allow", "the master key at the edge", granted("ReceiveStripeRole", "secretsmanager:GetSecretValue", "SecretTillway.Id"), "stripe-payments: its role allows the secret tillway"),
    ("mains_say_what_their_roles_allow", "the edge without its key", put("ReceiveClarityRole", "Policies", 0, "PolicyDocument", "Statement", 1, "Resource", {"Fn::GetAtt": "SecretClarity.Id"}), "clarity-orders: its main says that it reads the secret intake"),
    ("mains_say_what_their_roles_allow", "a worker that queries", granted("NotifyRole", "dynamodb:Query", "Table.Arn"), "notify: its role allows dynamodb:Query"),
    ("mains_say_what_their_roles_allow", "a reader that cannot give back", put("ActStripeRole", "Policies", 0, "PolicyDocument", "Statement", 2, "Action", ["sqs:ReceiveMessage", "sqs:DeleteMessage"]), "act-stripe: its role does not allow sqs:ChangeMessageVisibility"),
    ("fixed_egress_is_the_way_of_all_that_call_out", "a worker past the address", gone("ActClarity", "VpcConfig"), "act-clarity: calls out past the fixed address"),
    ("fixed_egress_is_the_way_of_all_that_call_out", "decide in a network", put("Orchestrate", "VpcConfig", {"Fn::If": ["HasFixedEgress", {"SecurityGroupIds": [{"Ref": "EgressGroup"}], "SubnetIds": [{"Ref": "PrivateA"}]}, {"Ref": "AWS::NoValue"}]}), "orchestrate: calls nobody"),
    ("fixed_egress_is_the_way_of_all_that_call_out", "in the subnet of the gateway", put("Tick", "VpcConfig", "Fn::If", 1, "SubnetIds", [{"Ref": "PublicSubnet"}]), "tick: is in"),
    ("fixed_egress_is_the_way_of_all_that_call_out", "always in a network", put("Notify", "VpcConfig", {"SecurityGroupIds": [{"Ref": "EgressGroup"}], "SubnetIds": [{"Ref": "PrivateA"}, {"Ref": "PrivateB"}]}), "notify: is in a network that nobody asked for"),
    ("fixed_egress_is_the_way_of_all_that_call_out", "no network interfaces", put("SweepStripeRole", "ManagedPolicyArns", [{"Ref": "Common"}]), "sweep-stripe: its role may make network interfaces: [False, False]"),
    ("fixed_egress_is_the_way_of_all_that_call_out", "a network for everybody", lambda t: t["Resources"]["Nat"].pop("Condition"), "Nat: is there without"),
    ("fixed_egress_is_the_way_of_all_that_call_out", "past the NAT gateway", put("PrivateRoutedB", "RouteTableId", {"Ref": "PublicRoutes"}), "PrivateB: goes out by ['Internet']"),
    ("fixed_egress_is_the_way_of_all_that_call_out", "an address that goes", lambda t: t["Resources"]["EgressAddress"].pop("DeletionPolicy"), "EgressAddress: would be lost"),
    ("fixed_egress_is_the_way_of_all_that_call_out", "any port", put("EgressGroup", "SecurityGroupEgress", 1, "FromPort", 25), "EgressGroup: lets"),
    ("fixed_egress_is_the_way_of_all_that_call_out", "the store by the NAT gateway", drop("StoreEndpoint"), "['s3'] do not go"),
    ("variables_are_those_the_code_reads", "a misspelt variable", put("Tick", "Environment", "Variables", "TILLWAY_TABEL", "x"), "TILLWAY_TABEL"),
]


def policies(problems):
    """The comparison of calls with policies, on made-up calls."""
    granted = {"tillway-dev-tick": {("dynamodb:Query", "arn:aws:dynamodb:r:a:table/t/index/due"), ("sqs:SendMessage", "arn:q")}}
    def call(action, resource, status=200, function="tillway-dev-tick"):
        return {"function": function, "call": action, "actions": [[action, resource]], "status": status}
    fine = [call("dynamodb:Query", "arn:aws:dynamodb:r:a:table/t/index/due"), call("sqs:SendMessage", "arn:q")]
    tries = [
        (fine, {}, None),
        (fine[:1], {}, "never did"),
        (fine[:1], {"tick sqs:SendMessage": "why"}, None),
        (fine + [call("dynamodb:Query", "arn:aws:dynamodb:r:a:table/t")], {}, "does not allow"),
        (fine + [call("dynamodb:Scan", "arn:aws:dynamodb:r:a:table/t", 403)], {}, "was refused"),
        (fine + [call("sqs:SendMessage", "arn:q", function="stranger")], {}, "no function of the template"),
    ]
    for recorded, reasons, said in tries:
        found = policy.compare(recorded, granted, reasons)
        if bool(found) != bool(said) or (said and not any(said in f for f in found)):
            problems.append(f"policies: wanted {said}, said {found}")
    for key in ("act-* dynamodb:*", "triage sqs:Send*", "tick *:SendMessage"):
        if not any("names no action" in found for found in policy.blankets({key: "why"})):
            problems.append(f"policies: the reason `{key}` was let pass")
    if found := policy.blankets({"act-stripe dynamodb:GetItem": "why", "* xray:*": "why", "orchestrate s3:*Object claims": "why"}):
        problems.append(f"policies: a good reason was refused: {found}")


def reasons(problems):
    """Exceptions without a reason, made up."""
    for skips, surplus in (({"CKV_AWS_1": {"on": "*", "why": " "}}, {}), ({"CKV_AWS_1": {"on": "*"}}, {}), ({}, {"tick sqs:SendMessage": ""})):
        if not any("says no why" in found for found in gates.unexplained(skips, surplus)):
            problems.append(f"reasons: an exception without one was let pass: {skips or surplus}")


def request_units(problems):
    """The counting of DynamoDB's units, against its price page."""
    count = units.Units()
    def update(kilobytes, **places):
        values = {":body": {"B": "A" * (kilobytes * 1024 * 4 // 3 - 200)}, **{f":{n}": {"N": str(v)} for n, v in places.items()}}
        return {"TableName": "t", "Key": {"pk": {"S": "p"}, "sk": {"S": "s"}},
                "ExpressionAttributeNames": {"#" + n[1:]: n[1:] for n in values}, "ExpressionAttributeValues": values}
    steps = [
        ("a new item of 3 KB, due, in a transaction", "TransactWriteItems", {"TransactItems": [{"Update": update(3, shard=1, at=5)}]}, {}, (7, 0)),
        ("its place kept", "TransactWriteItems", {"TransactItems": [{"Update": update(3, shard=1, at=5)}]}, {}, (6, 0)),
        ("moved, alone, and smaller: the larger counts", "UpdateItem", update(1, shard=1, at=6), {}, (5, 0)),
        ("no longer due", "UpdateItem", update(1), {}, (2, 0)),
        ("read with one that is not there", "BatchGetItem", {"RequestItems": {"t": {"Keys": [1, 2]}}},
         {"Responses": {"t": [{"body": {"S": "x" * 5000}}]}}, (0, 3)),
        ("an index that is empty", "Query", {}, {"Items": []}, (0, 0.5)),
    ]
    for what, operation, asked, answered, wanted in steps:
        if (found := count.of(operation, asked, answered, True)) != wanted:
            problems.append(f"units: {what}: {found}, not {wanted}")


def main():
    written, problems, tried = expand.read(), [], 0
    cases = CASES + (WITH_CODE if (gates.ROOT / "shared" / "aws" / "src" / "env.rs").exists() else [])
    with tempfile.TemporaryDirectory() as folder:
        for gate, what, broken, said in cases:
            template = copy.deepcopy(written)
            broken(template)
            made = gates.Gates(folder, template)
            found = getattr(made, gate)()
            tried += 1
            if not any(said in str(f) for f in found):
                problems.append(f"{gate}: {what} was not noticed; it said {found}")
    policies(problems)
    reasons(problems)
    request_units(problems)
    for problem in problems:
        print(problem)
    print(f"gates that must fail: {tried} broken templates, {len(problems)} not noticed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
