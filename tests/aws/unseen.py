"""Gates on what no local AWS shows. They are gates as those of gates.py, whose class takes them over."""
import json
import re

import cost
import expand
import policy

# Which role of shared/aws/src/entry/start.rs the entry point of a main starts.
ENTRIES = {"webhook": (), "decide": ("Decide",), "act": ("Act", "Notify"), "triage": ("Triage",), "tick": ("Tick",), "sweep": ("Sweep",),
           "settle": ("Settle",)}
# Ports by which it goes out: providers and AWS, mail with TLS and with STARTTLS.
PORTS = [443, 465, 587]


def that_go_out():
    """Functions whose role has a way out, by the code: `Role::goes_out`."""
    start = (expand.ROOT / "shared" / "aws" / "src" / "entry" / "start.rs").read_text(encoding="utf-8")
    out = set(re.findall(r"Self::(\w+)", re.search(r"fn goes_out\(self\) -> bool \{(.*?)\n    \}", start, re.S)[1]))
    mains = {main.stem: re.search(r"entry::(\w+)\(", main.read_text(encoding="utf-8"))[1] for main in (expand.ROOT / "functions").glob("*/*.rs")}
    return {name for name, entry in mains.items() if set(ENTRIES[entry]) & out}


def matches(pattern, stage, status):
    """Whether a metric filter `{ $.field = "text" }` counts the line that the stage writes of a request answered so."""
    field, wanted = re.fullmatch(r'\{ \$\.(\w+) = "([^"]*)" \}', pattern).groups()
    line = re.sub(r"\$context\.([A-Za-z.]+[A-Za-z])", lambda name: (cost.ACCESS | {"status": status})[name[1]], stage["AccessLogSettings"]["Format"])
    return json.loads(line).get(field) == wanted


def fires(alarm):
    """Whether an alarm on a count tells somebody of the first one."""
    return (alarm["Statistic"], alarm["ComparisonOperator"], alarm["Threshold"]) == ("Sum", "GreaterThanThreshold", 0) and bool(alarm["AlarmActions"])


class Unseen:
    """The checks; `template`, `resources` and `of` are those of gates.py."""

    def fixed_egress_is_the_way_of_all_that_call_out(self):
        """With `FixedEgress`, and only then, whoever calls out does so through the one address; nobody else waits for a network."""
        yes, no = (policy.Names(self.template, {"FixedEgress": value}) for value in ("yes", "no"))
        functions, out, problems = self.of("AWS::Lambda::Function"), that_go_out(), []
        inside = {"SubnetIds": ["PrivateA", "PrivateB"], "SecurityGroupIds": ["EgressGroup"]}
        for properties in functions.values():
            name = yes.of(properties["FunctionName"]).split("-", 2)[2]
            has = yes.of(properties.get("VpcConfig"))
            if (has is not None) != (name in out):
                problems.append(f"{name}: {'calls out past the fixed address' if name in out else 'calls nobody and waits for a network'}")
            elif has not in (None, inside):
                problems.append(f"{name}: is in {has}")
            if no.of(properties.get("VpcConfig")) is not None:
                problems.append(f"{name}: is in a network that nobody asked for")
            role = self.resources[properties["Role"]["Fn::GetAtt"][0]]["Properties"]
            interfaces = [any("AWSLambdaENIManagementAccess" in str(a) for a in n.of(role["ManagedPolicyArns"])) for n in (yes, no)]
            if interfaces != [name in out, False]:
                problems.append(f"{name}: its role may make network interfaces: {interfaces}, with and without a fixed address")
        network = {n: r for n, r in self.resources.items() if r["Type"].startswith("AWS::EC2::")}
        problems += [f"{n}: is there without a fixed address" for n, r in network.items() if r.get("Condition") != "HasFixedEgress"]
        return problems + self._ways(network)

    def throttled_requests_raise_an_alarm(self):
        """What the stage's throttle turns away (429) is counted from its access log, that alone, and the count has an alarm."""
        names = self.names
        groups = {n: names.name(n) for n in self.of("AWS::Logs::LogGroup")}
        (stage,) = self.of("AWS::ApiGatewayV2::Stage").values()
        destination = stage["AccessLogSettings"]["DestinationArn"]["Fn::GetAtt"][0]
        alarms = [(a["Namespace"], a["MetricName"], a) for a in map(names.of, self.of("AWS::CloudWatch::Alarm").values()) if "MetricName" in a]
        problems, counted = [], []
        for name, found in self.of("AWS::Logs::MetricFilter").items():
            found = names.of(found)
            wrong = [s for s in ("200", "202", "400", "403", "429", "503") if matches(found["FilterPattern"], stage, s) != (s == "429")]
            if found["LogGroupName"] != groups[destination]:
                problems.append(f"{name}: reads {found['LogGroupName']}, the stage writes {groups[destination]}")
            problems += [f"{name}: is wrong about a request answered {s}" for s in wrong]
            problems += [f"{name}: counts {t['MetricValue']} for each" for t in found["MetricTransformations"] if t["MetricValue"] != "1"]
            counted += [(t["MetricNamespace"], t["MetricName"]) for t in found["MetricTransformations"]]
        if not counted:
            problems.append("nothing counts the requests that the throttle turns away")
        for metric in counted:
            if not any((namespace, name) == metric and fires(alarm) for namespace, name, alarm in alarms):
                problems.append(f"{'/'.join(metric)}: no alarm tells of it")
        return problems

    def _ways(self, network):
        """Problems of the way from the private subnets to the internet: by the NAT gateway and its kept address alone."""
        problems, of = [], lambda kind: {n: r["Properties"] for n, r in network.items() if r["Type"] == f"AWS::EC2::{kind}"}
        tables = {a["SubnetId"]["Ref"]: a["RouteTableId"]["Ref"] for a in of("SubnetRouteTableAssociation").values()}
        ways = {}
        for route in of("Route").values():
            if route["DestinationCidrBlock"] == "0.0.0.0/0":
                by = next(iter(route.get(k, {}).get("Ref") for k in ("NatGatewayId", "GatewayId") if k in route))
                ways.setdefault(route["RouteTableId"]["Ref"], []).append(by)
        wanted = {"PrivateA": ["Nat"], "PrivateB": ["Nat"], "PublicSubnet": ["Internet"]}
        found = {subnet: ways.get(tables.get(subnet)) for subnet in of("Subnet")}
        problems += [f"{s}: goes out by {found.get(s)}, not {w}" for s, w in wanted.items() if found.get(s) != w]
        zones = [of("Subnet")[s]["AvailabilityZone"] for s in ("PrivateA", "PrivateB")]
        problems += ["PrivateA and PrivateB lie in one zone"] if zones[0] == zones[1] else []
        nat = of("NatGateway")["Nat"]
        if nat["SubnetId"] != {"Ref": "PublicSubnet"} or nat["AllocationId"] != {"Fn::GetAtt": ["EgressAddress", "AllocationId"]}:
            problems.append(f"Nat: stands in {nat['SubnetId']} with {nat['AllocationId']}")
        if network["EgressAddress"].get("DeletionPolicy") != "Retain" or network["EgressAddress"].get("UpdateReplacePolicy") != "Retain":
            problems.append("EgressAddress: would be lost, and stands on a partner's list")
        if self.template["Outputs"]["EgressAddress"]["Value"] != {"Ref": "EgressAddress"}:
            problems.append("the output EgressAddress is another address")
        for name, group in of("SecurityGroup").items():
            rules = sorted((r["FromPort"], r["ToPort"], r["IpProtocol"]) for r in group["SecurityGroupEgress"])
            if group.get("SecurityGroupIngress") or rules != [(p, p, "tcp") for p in PORTS]:
                problems.append(f"{name}: lets {rules} out and {group.get('SecurityGroupIngress')} in")
        kept = sorted(e["ServiceName"]["Fn::Sub"].rsplit(".", 1)[1] for e in of("VPCEndpoint").values() if e["RouteTableIds"] == [{"Ref": "PrivateRoutes"}])
        return problems + ([] if kept == ["dynamodb", "s3"] else [f"{kept} do not go by the NAT gateway, not dynamodb and s3"])
