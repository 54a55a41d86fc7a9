#!/usr/bin/env python3
"""The template with `FixedEgress` on the local AWS, as far as that can, with stand-in functions.

Its CloudFormation knows neither AWS::EC2::EIP nor AWS::EC2::NatGateway and refuses a template that has them; of a function it leaves VpcConfig
out. So address, gateway and the private subnets' route are made by EC2's API, with the template's own properties, and which functions lie
in the network is a gate (unseen.py). That a call really leaves from the address only an account shows.
"""
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import expand  # noqa: E402
import stack  # noqa: E402
import standin  # noqa: E402
import unseen  # noqa: E402
from smoke import post  # noqa: E402

# What it refuses by type, and what cannot be without that.
REFUSED, WITH_THEM = ["AWS::EC2::EIP", "AWS::EC2::NatGateway"], "PrivateRoute"


def without(template):
    """The expansion without what is refused; answers the taken-out resources too."""
    resources = template["Resources"]
    taken = {n: resources.pop(n) for n in list(resources) if n == WITH_THEM or resources[n]["Type"] in REFUSED}
    taken["output"] = template["Outputs"].pop("EgressAddress")
    return template, taken


def by_hand(ec2, ids, taken):
    """Address, gateway and route, as the template has them; answers the gateway."""
    asked, tags = taken["Nat"]["Properties"], [{"ResourceType": "natgateway", "Tags": [{"Key": "Name", "Value": "tillway-dev"}]}]
    address = ec2.allocate_address(Domain=taken["EgressAddress"]["Properties"]["Domain"])
    nat = ec2.create_nat_gateway(AllocationId=address["AllocationId"], SubnetId=ids[asked["SubnetId"]["Ref"]], TagSpecifications=tags)["NatGateway"]
    route = taken[WITH_THEM]["Properties"]
    assert route["NatGatewayId"] == {"Ref": "Nat"}
    ec2.create_route(RouteTableId=ids[route["RouteTableId"]["Ref"]], DestinationCidrBlock=route["DestinationCidrBlock"], NatGatewayId=nat["NatGatewayId"])
    return nat["NatGatewayId"]


def way(ec2, subnet):
    """By what a subnet's packets for the internet leave."""
    (table,) = ec2.describe_route_tables(Filters=[{"Name": "association.subnet-id", "Values": [subnet]}])["RouteTables"]
    (route,) = [r for r in table["Routes"] if r.get("DestinationCidrBlock") == "0.0.0.0/0"]
    return route.get("NatGatewayId") or route.get("GatewayId"), table["RouteTableId"]


def main():
    patch, taken = stack.patch, {}

    def patched(template):
        nonlocal taken
        template, taken = without(patch(template))
        return template

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        bootstrap = folder / "bootstrap"
        bootstrap.write_text(standin.source(sys.executable))
        binaries = dict.fromkeys({expand.binary(p) for p in expand.functions(expand.read()).values()}, bootstrap)
        with stack.Stack(folder / "aws") as local:
            try:
                local.deploy(binaries, FixedEgress="yes")
                raise AssertionError("the local AWS takes the whole template by now: deploy it, and say so in infra/DEPLOY.md")
            except local.client("cloudformation").exceptions.ClientError as error:
                assert f"Unrecognized resource types: [{', '.join(REFUSED)}]" in str(error), error
                print("refused:", *REFUSED)
            stack.patch, local.deployments = patched, 0
            local.deploy(binaries, FixedEgress="yes")
            stack.patch = patch

            made = local.client("cloudformation").describe_stack_resources(StackName=local.prefix)["StackResources"]
            ids = {r["LogicalResourceId"]: r["PhysicalResourceId"] for r in made}
            network = {n for n, r in local.template["Resources"].items() if r["Type"].startswith("AWS::EC2::")}
            assert len(network) == 15 and network <= set(ids), network - set(ids)
            ec2 = local.client("ec2")
            nat = by_hand(ec2, ids, taken)
            assert way(ec2, ids["PublicSubnet"])[0] == ids["Internet"]
            private = {way(ec2, ids[s]) for s in ("PrivateA", "PrivateB")}
            assert private == {(nat, ids["PrivateRoutes"])}, private
            (gateway,) = ec2.describe_nat_gateways()["NatGateways"]
            assert gateway["SubnetId"] == ids["PublicSubnet"] and gateway["VpcId"] == ids["Network"], gateway
            zones = {s["AvailabilityZone"] for s in ec2.describe_subnets(SubnetIds=[ids["PrivateA"], ids["PrivateB"]])["Subnets"]}
            assert len(zones) == 2, zones
            endpoints = {e["ServiceName"].rsplit(".", 1)[1]: e["RouteTableIds"] for e in ec2.describe_vpc_endpoints()["VpcEndpoints"]}
            assert endpoints == {"dynamodb": [ids["PrivateRoutes"]], "s3": [ids["PrivateRoutes"]]}, endpoints
            (group,) = ec2.describe_security_groups(GroupIds=[ids["EgressGroup"]])["SecurityGroups"]
            assert sorted(r["FromPort"] for r in group["IpPermissionsEgress"]) == unseen.PORTS and not group["IpPermissions"], group
            print(f"{len(network)} resources of the network are made; both private subnets leave by the NAT gateway")

            iam, may = local.client("iam"), set()
            for function in local.client("lambda").list_functions()["Functions"]:
                assert "VpcConfig" not in function, f"VpcConfig is kept by now: compare it here ({function['VpcConfig']})"
                attached = iam.list_attached_role_policies(RoleName=function["Role"].rsplit("/", 1)[1])["AttachedPolicies"]
                if any(p["PolicyName"] == "AWSLambdaENIManagementAccess" for p in attached):
                    may.add(function["FunctionName"].split("-", 2)[2])
            assert may == unseen.that_go_out(), may ^ unseen.that_go_out()
            print("those that call out may make network interfaces, and no others:", *sorted(may))

            local.put_secret("tillway", {"master_key": "0" * 64})
            assert post(f"{local.url}/webhooks/shop/orders", {"order": "A-1"})[0] == 202
            table = local.client("dynamodb")
            asked = {"KeyConditionExpression": "pk = :p", "ExpressionAttributeValues": {":p": {"S": "act-stripe#A-1"}}}
            local.until(lambda: table.query(TableName=local.prefix, **asked)["Items"], 30, "the order is not done")
            print("an order goes through the stack with it")


if __name__ == "__main__":
    main()
