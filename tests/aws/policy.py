#!/usr/bin/env python3
"""What the functions were seen to do against what their roles allow.

`policy.py calls.jsonl` fails where a recorded call is not allowed (wrong even if the emulator let it pass) and where a
permission was never used and has no reason in surplus.json, or where a reason there covers actions of table or queues that it does not name.
A reason that this run did not need is only noted: what a
run meets differs.
Policies are read from the expanded template with names filled in, so this needs no AWS.
"""
import fnmatch
import json
import os
import pathlib
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import calls  # noqa: E402
import expand  # noqa: E402

SURPLUS = pathlib.Path(__file__).with_name("surplus.json")


class Names:
    """Fills in references of an expanded template as CloudFormation would."""

    def __init__(self, template, parameters=None, place=None):
        self.place = place or calls.Place()
        self.resources, self.mappings = template["Resources"], template.get("Mappings", {})
        given = {n: p.get("Default", "") for n, p in template.get("Parameters", {}).items()} | (parameters or {})
        self.parameters = given | {
            "AWS::Region": self.place.region, "AWS::AccountId": self.place.account, "AWS::Partition": "aws",
            "AWS::URLSuffix": "amazonaws.com", "AWS::NoValue": None}
        self.conditions = template.get("Conditions", {})

    def of(self, value):
        """The value with every intrinsic function worked out."""
        if isinstance(value, list):
            return [v for v in map(self.of, value) if v is not None]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            (name, argument), = value.items()
            if name == "Ref":
                return self.parameters[argument] if argument in self.parameters else self.ref(argument)
            if name == "Fn::GetAtt":
                logical, attribute = argument if isinstance(argument, list) else argument.split(".", 1)
                return self.attribute(logical, attribute)
            if name == "Fn::Sub":
                return self.sub(argument)
            if name == "Fn::If":
                return self.of(argument[1] if self.holds(argument[0]) else argument[2])
            if name == "Fn::FindInMap":
                top, key, last = map(self.of, argument)
                return self.mappings[top][key][last]
            if name == "Fn::Join":
                return argument[0].join(map(str, self.of(argument[1])))
        return {k: self.of(v) for k, v in value.items()}

    def holds(self, condition):
        """Whether a condition of the template holds."""
        def test(node):
            (name, argument), = node.items()
            if name == "Fn::Equals":
                return self.of(argument[0]) == self.of(argument[1])
            if name == "Fn::Not":
                return not test(argument[0])
            raise NotImplementedError(name)
        return test(self.conditions[condition])

    def sub(self, argument):
        text, more = argument if isinstance(argument, list) else (argument, {})
        out, rest = "", text
        while "${" in rest:
            before, rest = rest.split("${", 1)
            name, rest = rest.split("}", 1)
            known = self.of(more[name]) if name in more else self.of({"Fn::GetAtt": name} if "." in name else {"Ref": name})
            out += before + str(known)
        return out + rest

    def name(self, logical):
        """The name a resource is given in the template, else its logical name."""
        properties = self.resources[logical].get("Properties", {})
        for key in ("FunctionName", "QueueName", "TableName", "BucketName", "TopicName", "LogGroupName", "Name"):
            if key in properties:
                return self.of(properties[key])
        return logical

    def ref(self, logical):
        kind = self.resources[logical]["Type"]
        return self.attribute(logical, "Arn") if kind in ("AWS::SNS::Topic", "AWS::IAM::ManagedPolicy") else self.name(logical)

    def attribute(self, logical, attribute):
        kind, name, arn = self.resources[logical]["Type"], self.name(logical), self.place.arn
        if attribute not in ("Arn", "Id"):
            return name
        return {
            "AWS::SQS::Queue": lambda: arn("sqs", name), "AWS::DynamoDB::Table": lambda: arn("dynamodb", f"table/{name}"),
            "AWS::S3::Bucket": lambda: arn("s3", name, where=False), "AWS::SNS::Topic": lambda: arn("sns", name),
            "AWS::SecretsManager::Secret": lambda: arn("secretsmanager", f"secret:{name}"),
            "AWS::Logs::LogGroup": lambda: arn("logs", f"log-group:{name}:*"),
            "AWS::Lambda::Function": lambda: arn("lambda", f"function:{name}"),
        }.get(kind, lambda: f"{logical}.{attribute}")()


def listed(value):
    return value if isinstance(value, list) else [value]


def permissions(template, names, conditional=True):
    """Function's name -> every (action, resource) its role allows; where told so, without what is allowed on a condition."""
    out = {}
    for logical, resource in template["Resources"].items():
        if resource["Type"] != "AWS::Lambda::Function":
            continue
        role = template["Resources"][resource["Properties"]["Role"]["Fn::GetAtt"][0]]["Properties"]
        documents = [p["PolicyDocument"] for p in role.get("Policies", [])]
        for attached in role.get("ManagedPolicyArns", []):
            if "Ref" in attached:
                documents.append(template["Resources"][attached["Ref"]]["Properties"]["PolicyDocument"])
        allowed = set()
        for document in documents:
            for statement in document["Statement"]:
                if statement["Effect"] == "Allow" and (conditional or "Condition" not in statement):
                    allowed |= {(a, r) for a in listed(names.of(statement["Action"])) for r in listed(names.of(statement["Resource"]))}
        out[names.name(logical)] = allowed
    return out


def covers(granted, action, resource):
    return fnmatch.fnmatchcase(action.lower(), granted[0].lower()) and fnmatch.fnmatchcase(resource, granted[1])


def compare(recorded, granted, reasons):
    """Problems, each a sentence."""
    problems, used, needed = [], {name: set() for name in granted}, set()
    for call in recorded:
        function = call["function"]
        if function not in granted:
            problems.append(f"{function} called {call['call']}: no function of the template has that name")
            continue
        if not call["actions"]:
            problems.append(f"{function} called {call['call']}: not understood, so not compared; teach calls.py")
        for action, resource in call["actions"]:
            hits = {g for g in granted[function] if covers(g, action, resource)}
            used[function] |= hits
            if not hits:
                problems.append(f"{function} called {action} on {resource}: its role does not allow that")
        # A request that was under way while the test put the clock forward is refused for its age, and sent again.
        aged = "<Code>RequestTimeTooSkewed</Code>" in call.get("said", "")
        if call["status"] == 403 and not aged:
            problems.append(f"{function} was refused {call['call']}")
    for function, allowed in granted.items():
        for action, resource in sorted(allowed - used[function]):
            short = function.split("-", 2)[2]
            reason = next((k for k in reasons if fits(k, short, action, resource)), None)
            if reason:
                needed.add(reason)
            else:
                problems.append(f"{short} may do {action} on {resource} and never did: take it away, or say why in surplus.json")
    for key in reasons:
        if key not in needed:
            print(f"note: this run did not need the reason `{key}` of surplus.json")
    return sorted(set(problems))


def blankets(reasons):
    """Reasons that name no action of ours: which part of the table or queue a function works is known, so it is said."""
    return [f"surplus.json: `{key}` names no action; name each" for key in reasons
            if key.split()[1].split(":")[0] in ("dynamodb", "sqs", "*") and any(c in key.split()[1] for c in "*?[")]


def fits(key, function, action, resource):
    """A key of surplus.json is `function action` or `function action part-of-resource`, with `*` as in a shell."""
    want, what, *where = key.split()
    return (fnmatch.fnmatchcase(function, want) and fnmatch.fnmatchcase(action, what)
            and (not where or fnmatch.fnmatchcase(resource, f"*{where[0]}*")))


def as_first(recorded, connections, names):
    """The calls as if each system had one connection: secret and documents of a further one, `{name: system}`, count as its system's."""
    def secret(name):
        return names.place.arn("secretsmanager", f"secret:{names.parameters['Name']}/{names.parameters['Environment']}/{name}")
    known = {secret(name): names.attribute(f"Secret{system.capitalize()}", "Id") for name, system in connections.items()}
    for call in recorded:
        for part in call["actions"]:
            # At AWS and in the emulator six drawn letters follow a secret's name.
            part[1] = next((k for n, k in known.items() if part[1] == n or part[1][:-7] == n), part[1])
            for name, system in connections.items():
                part[1] = part[1].replace(f"/{name}/", f"/{names.parameters[f'{system.capitalize()}Connection']}/") if ":s3:" in part[1] else part[1]
    return recorded


def main(record):
    template = expand.expand(expand.read())
    names = Names(template)
    granted = permissions(template, names)
    recorded = [json.loads(line) for line in pathlib.Path(record).read_text(encoding="utf-8").splitlines()]
    further = pathlib.Path(f"{record}.connections")
    if further.exists():
        recorded = as_first(recorded, json.loads(further.read_text(encoding="utf-8")), names)
    reasons = json.loads(SURPLUS.read_text(encoding="utf-8"))
    problems = blankets(reasons) + compare(recorded, granted, reasons)
    for problem in problems:
        print(problem)
    print(f"policies: {len(recorded)} calls of {len({c['function'] for c in recorded})} functions, {len(problems)} problem(s)")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
