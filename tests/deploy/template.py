"""The templates in ami/, and what their functions come to in a stack that is there. A second reader: nothing of it is the emulator's own."""

import base64
import json
import re

import yaml

from services import client

TEMPLATES = {"": "ami/fleet.yaml", "-workers": "ami/scaling.yaml", "-alarms": "ami/alarms.yaml"}


class Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short functions, as the long ones, and dates as they are written."""


Loader.yaml_implicit_resolvers = {
    key: [one for one in resolvers if one[0] != "tag:yaml.org,2002:timestamp"] for key, resolvers in Loader.yaml_implicit_resolvers.items()
}


def function(loader, suffix, node):
    name = suffix if suffix in ("Ref", "Condition") else "Fn::" + suffix
    if isinstance(node, yaml.ScalarNode):
        value = node.value
        return {name: value.split(".", 1) if name == "Fn::GetAtt" else value}
    construct = loader.construct_sequence if isinstance(node, yaml.SequenceNode) else loader.construct_mapping
    return {name: construct(node, deep=True)}


Loader.add_multi_constructor("!", function)
NOTHING = object()


def template_of(suffix):
    with open(TEMPLATES[suffix], encoding="utf-8") as file:
        return yaml.load(file, Loader)


class Stack:
    """A stack that is there: its template, and what its functions come to."""

    def __init__(self, name, suffix):
        formation = client("cloudformation")
        self.template = template_of(suffix)
        described = formation.describe_stacks(StackName=name)["Stacks"][0]
        self.values = {key: one.get("Default") for key, one in self.template["Parameters"].items()}
        for one in described.get("Parameters", []):
            self.values[one["ParameterKey"]] = one.get("ResolvedValue") or one["ParameterValue"]
        for key, one in self.template["Parameters"].items():
            if one["Type"].startswith("AWS::SSM::Parameter::Value"):
                # The emulator shows what the parameter holds; CloudFormation shows its name, too.
                self.values[key] = client("ssm").get_parameter(Name=f"/{name}/image")["Parameter"]["Value"]
            elif one["Type"].startswith("List<"):
                self.values[key] = self.values[key].split(",")
        self.values |= {"AWS::StackName": name, "AWS::Region": "us-east-1", "AWS::AccountId": "000000000000", "AWS::Partition": "aws"}
        self.physical = {}
        for page in formation.get_paginator("list_stack_resources").paginate(StackName=name):
            for one in page["StackResourceSummaries"]:
                self.physical[one["LogicalResourceId"]] = (one["ResourceType"], one["PhysicalResourceId"])

    def holds(self, condition):
        [(name, value)] = condition.items()
        if name == "Fn::Equals":
            left, right = (self.resolve(one) for one in value)
            return text(left) == text(right)
        if name == "Fn::Not":
            return not self.holds(value[0])
        assert name == "Condition", name
        return self.has(value)

    def has(self, condition):
        return self.holds(self.template["Conditions"][condition])

    def resolve(self, node):
        if isinstance(node, list):
            return [value for value in map(self.resolve, node) if value is not NOTHING]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            [(name, value)] = node.items()
            if name == "Ref":
                return self.ref(value)
            if name == "Fn::GetAtt":
                return self.attribute(*value)
            if name == "Fn::If":
                return self.resolve(value[1] if self.has(value[0]) else value[2])
            if name == "Fn::Join":
                return value[0].join(self.resolve(value[1]))
            if name == "Fn::Base64":
                return base64.b64encode(self.resolve(value).encode()).decode()
            if name == "Fn::Sub":
                pattern, more = (value, {}) if isinstance(value, str) else value
                more = {key: self.resolve(one) for key, one in more.items()}

                def put(match):
                    name = match[1]
                    if name in more:
                        return more[name]
                    return text(self.attribute(*name.split(".", 1)) if "." in name else self.ref(name))

                return re.sub(r"\$\{([\w:.]+)\}", put, pattern)
            assert not name.startswith("Fn::"), name
        resolved = {key: self.resolve(value) for key, value in node.items()}
        return {key: value for key, value in resolved.items() if value is not NOTHING}

    def ref(self, name):
        if name == "AWS::NoValue":
            return NOTHING
        return self.physical[name][1] if name in self.physical else self.values[name]

    def attribute(self, name, attribute):
        kind, physical = self.physical[name]
        if attribute == "LatestVersionNumber":
            versions = client("ec2").describe_launch_template_versions(LaunchTemplateId=physical)["LaunchTemplateVersions"]
            return text(max(one["VersionNumber"] for one in versions))
        if attribute == "Value":
            return client("ssm").get_parameter(Name=physical)["Parameter"]["Value"]
        if attribute == "Arn":
            return arn(kind, physical)
        if attribute == "GroupId":
            return physical
        if attribute == "Endpoint.Address":
            return client("rds").describe_db_instances(DBInstanceIdentifier=physical)["DBInstances"][0]["Endpoint"]["Address"]
        raise AssertionError(f"{kind}: {attribute}")


def arn(kind, physical):
    if physical.startswith("arn:"):
        return physical
    if kind == "AWS::SQS::Queue":
        return "arn:aws:sqs:us-east-1:000000000000:" + physical.rsplit("/", 1)[1]
    if kind == "AWS::S3::Bucket":
        return "arn:aws:s3:::" + physical
    if kind == "AWS::KMS::Key":
        return "arn:aws:kms:us-east-1:000000000000:key/" + physical
    word = {"AWS::IAM::Role": "role", "AWS::IAM::InstanceProfile": "instance-profile"}[kind]
    return f"arn:aws:iam::000000000000:{word}/{physical}"


def text(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def plain(value):
    """What is the same to AWS, alike: numbers and booleans as text, policies parsed, a list of one as the one."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        values = [plain(one) for one in value]
        return values[0] if len(values) == 1 else sorted(values, key=lambda one: json.dumps(one, sort_keys=True))
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return text(value)
