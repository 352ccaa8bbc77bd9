"""Deploys a template to an emulator of AWS, and prints as JSON what the services then say of it.

    deploy.py ENDPOINT STACK TEMPLATE < PARAMETERS (JSON: name to value)

What the emulator has no place for is put, in a copy of the template, where it must still resolve it: as the value of an SSM parameter,
which Fn::ToJsonString makes of it. Everything else of the template goes as it is.
"""

import json
import sys

import boto3
import yaml

# Properties that the emulator (ministack 1.5.33) does not keep, and what of a resource is replaced for it.
NOT_KEPT = {"AWS::AutoScaling::AutoScalingGroup": "DefaultInstanceWarmup"}
REFUSED = {"AWS::CloudWatch::Alarm": "Metrics"}


class Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short functions, as the long ones."""


def function(loader, suffix, node):
    name = suffix if suffix in ("Ref", "Condition") else "Fn::" + suffix
    if isinstance(node, yaml.ScalarNode):
        value = node.value
        return {name: value.split(".", 1) if name == "Fn::GetAtt" else value}
    construct = loader.construct_sequence if isinstance(node, yaml.SequenceNode) else loader.construct_mapping
    return {name: construct(node, deep=True)}


Loader.add_multi_constructor("!", function)


def told(condition, value):
    resource = {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Tier": "Advanced", "Value": {"Fn::ToJsonString": value}}}
    if condition:
        resource["Condition"] = condition
    return resource


def main():
    endpoint, stack, path = sys.argv[1:]
    parameters = json.load(sys.stdin)
    with open(path, encoding="utf-8") as file:
        template = yaml.load(file, Loader)
    template["Transform"] = "AWS::LanguageExtensions"
    for name, resource in list(template["Resources"].items()):
        properties = resource["Properties"]
        refused = REFUSED.get(resource["Type"])
        if refused in properties:
            template["Resources"][name] = told(resource.get("Condition"), properties)
        not_kept = NOT_KEPT.get(resource["Type"])
        if not_kept in properties:
            template["Resources"][name + not_kept] = told(resource.get("Condition"), {not_kept: properties[not_kept]})

    def client(name):
        return boto3.client(name, endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")

    formation, scaling, watch, store = map(client, ("cloudformation", "autoscaling", "cloudwatch", "ssm"))
    formation.create_stack(
        StackName=stack,
        TemplateBody=json.dumps(template),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        Capabilities=["CAPABILITY_AUTO_EXPAND"],
    )
    formation.get_waiter("stack_create_complete").wait(StackName=stack, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    resources = formation.describe_stack_resources(StackName=stack)["StackResources"]
    group = [one["PhysicalResourceId"] for one in resources if one["ResourceType"] == "AWS::AutoScaling::AutoScalingGroup"]
    names = {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in resources}
    result = {
        "resources": names,
        "groups": scaling.describe_auto_scaling_groups(AutoScalingGroupNames=group)["AutoScalingGroups"],
        "policies": scaling.describe_policies(AutoScalingGroupName=group[0])["ScalingPolicies"],
        "hooks": scaling.describe_lifecycle_hooks(AutoScalingGroupName=group[0])["LifecycleHooks"],
        "alarms": watch.describe_alarms(AlarmNames=[one["PhysicalResourceId"] for one in resources if one["ResourceType"] == "AWS::CloudWatch::Alarm"])["MetricAlarms"],
        "told": {
            one["LogicalResourceId"]: json.loads(store.get_parameter(Name=one["PhysicalResourceId"])["Parameter"]["Value"])
            for one in resources
            if one["ResourceType"] == "AWS::SSM::Parameter"
        },
    }
    json.dump(result, sys.stdout, default=str)


main()
