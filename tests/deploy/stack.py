"""Asks an emulator of AWS what there is of a fleet's stacks, and answers in JSON.

    stack.py prepare                        a network, subnets and images to make a fleet with
    stack.py stacks                         the names of all stacks
    stack.py compare STACK ...              each property of each resource: what its template says and what the service shows
    stack.py allowed                        what each role of a stack may do, by trying; the emulator must ask IAM
    stack.py image STACK                    which image and template version the groups run
    stack.py left STACK < PHYSICAL          what is still there of what `compare` saw
    stack.py machines < CASES               for each set of parameters, what the machines are told

The emulator is where AWS_ENDPOINT_URL says. Nothing is judged here: stack.rs has what the answers must be.
"""

import base64
import json
import re
import subprocess
import shutil
import sys
import tempfile
import uuid

import boto3
import yaml
from botocore.config import Config
from botocore.exceptions import ClientError

TEMPLATES = {"": "ami/fleet.yaml", "-workers": "ami/scaling.yaml", "-alarms": "ami/alarms.yaml"}
CONFIG = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0})


def client(service, **credentials):
    return boto3.client(service, config=CONFIG, **credentials)


# ---------------------------------------------------------------- a template, and what its functions mean


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


# ---------------------------------------------------------------- what the services show, in the templates' words


def only(value, names):
    return {name: value[name] for name in names if name in value}


def queue(physical):
    shown = client("sqs").get_queue_attributes(QueueUrl=physical, AttributeNames=["All"])["Attributes"]
    if "RedrivePolicy" in shown:
        shown["RedrivePolicy"] = json.loads(shown["RedrivePolicy"])
    return shown


def queue_policy(_physical, wanted):
    policies = [json.loads(queue(url).get("Policy", "null")) for url in wanted["Queues"]]
    return {"Queues": wanted["Queues"], "PolicyDocument": policies[0] if all(one == policies[0] for one in policies) else policies}


def topic(physical):
    return client("sns").get_topic_attributes(TopicArn=physical)["Attributes"]


def topic_policy(_physical, wanted):
    return {"Topics": wanted["Topics"], "PolicyDocument": json.loads(topic(wanted["Topics"][0])["Policy"])}


def subscription(physical):
    sns = client("sns")
    [listed] = [one for one in sns.list_subscriptions()["Subscriptions"] if one["SubscriptionArn"] == physical]
    return listed | sns.get_subscription_attributes(SubscriptionArn=physical)["Attributes"]


def bucket(physical):
    s3 = client("s3")
    shown = {}

    def ask(call, answer, name):
        try:
            found = getattr(s3, call)(Bucket=physical)
        except ClientError:
            return
        found.pop("ResponseMetadata", None)
        found = found.get(answer) if answer else found
        if found:
            shown[name] = found

    ask("get_public_access_block", "PublicAccessBlockConfiguration", "PublicAccessBlockConfiguration")
    ask("get_bucket_ownership_controls", "OwnershipControls", "OwnershipControls")
    ask("get_bucket_versioning", None, "VersioningConfiguration")
    ask("get_bucket_lifecycle_configuration", None, "LifecycleConfiguration")
    ask("get_object_lock_configuration", "ObjectLockConfiguration", "ObjectLockConfiguration")
    ask("get_bucket_encryption", "ServerSideEncryptionConfiguration", "BucketEncryption")
    # What every bucket has of itself.
    if shown.get("BucketEncryption", {}).get("Rules", [{}])[0].get("ApplyServerSideEncryptionByDefault") == {"SSEAlgorithm": "AES256"}:
        del shown["BucketEncryption"]
    ask("get_bucket_notification_configuration", "TopicConfigurations", "NotificationConfiguration")
    if "NotificationConfiguration" in shown:
        shown["NotificationConfiguration"] = {
            "TopicConfigurations": [
                {
                    "Topic": one["TopicArn"],
                    "Event": one["Events"][0],
                    "Filter": {"S3Key": {"Rules": [{key: rule[key].lower() if key == "Name" else rule[key] for key in rule} for rule in one["Filter"]["Key"]["FilterRules"]]}},
                }
                for one in shown["NotificationConfiguration"]
            ]
        }
    return shown


def bucket_policy(_physical, wanted):
    policy = client("s3").get_bucket_policy(Bucket=wanted["Bucket"])["Policy"]
    return {"Bucket": wanted["Bucket"], "PolicyDocument": json.loads(policy)}


def key(physical):
    kms = client("kms")
    shown = kms.describe_key(KeyId=physical)["KeyMetadata"]
    return {
        "Description": shown["Description"],
        "EnableKeyRotation": kms.get_key_rotation_status(KeyId=physical)["KeyRotationEnabled"],
        "KeyPolicy": json.loads(kms.get_key_policy(KeyId=physical, PolicyName="default")["Policy"]),
    }


def alias(physical):
    [one] = [one for one in client("kms").list_aliases()["Aliases"] if one["AliasName"] == physical]
    return {"AliasName": physical, "TargetKeyId": one["TargetKeyId"]}


def configuration_set(physical):
    shown = client("sesv2").get_configuration_set(ConfigurationSetName=physical)
    return shown | {"Name": shown["ConfigurationSetName"]}


def configuration_set_events(_physical, wanted):
    name = wanted["ConfigurationSetName"]
    [one] = client("sesv2").get_configuration_set_event_destinations(ConfigurationSetName=name)["EventDestinations"]
    return {
        "ConfigurationSetName": name,
        "EventDestination": {
            "Name": one["Name"],
            "Enabled": one["Enabled"],
            "MatchingEventTypes": [kind.lower() for kind in one["MatchingEventTypes"]],
            "SnsDestination": {"TopicARN": one["SnsDestination"]["TopicArn"]},
        },
    }


def identity(physical):
    shown = client("sesv2").get_email_identity(EmailIdentity=physical)
    dkim = shown["DkimAttributes"]
    return {
        "EmailIdentity": physical,
        "ConfigurationSetAttributes": only(shown, ["ConfigurationSetName"]),
        "DkimAttributes": {"SigningEnabled": dkim["SigningEnabled"]},
        "FeedbackAttributes": {"EmailForwardingEnabled": shown["FeedbackForwardingStatus"]},
        "MailFromAttributes": only(shown["MailFromAttributes"], ["MailFromDomain", "BehaviorOnMxFailure"]),
    } | ({"DkimSigningAttributes": {"NextSigningKeyLength": dkim["NextSigningKeyLength"]}} if "NextSigningKeyLength" in dkim else {})


def secret(physical, wanted):
    manager = client("secretsmanager")
    shown = only(manager.describe_secret(SecretId=physical), ["Description", "KmsKeyId"])
    value = manager.get_secret_value(SecretId=physical)["SecretString"]
    if "SecretString" in wanted:
        return shown | {"SecretString": value}
    how = dict(wanted["GenerateSecretString"])
    if "GenerateStringKey" in how:
        parts = json.loads(value)
        value = parts.pop(how["GenerateStringKey"])
        how["SecretStringTemplate"] = json.dumps(parts)
    how["PasswordLength"] = len(value)
    not_kept = [] if value.isalnum() else ["GenerateSecretString.ExcludePunctuation"]
    return shown | {"GenerateSecretString": how, "not kept": not_kept}


def database(physical, wanted):
    shown = client("rds").describe_db_instances(DBInstanceIdentifier=physical)["DBInstances"][0]
    shown["DBSubnetGroupName"] = shown["DBSubnetGroup"]["DBSubnetGroupName"]
    shown["DBParameterGroupName"] = shown["DBParameterGroups"][0]["DBParameterGroupName"]
    shown["VPCSecurityGroups"] = [one["VpcSecurityGroupId"] for one in shown["VpcSecurityGroups"]]
    # Its value comes from the secret, and the password is never shown.
    if wanted["MasterUsername"].startswith("{{resolve:") and shown["MasterUsername"] == "replyfleet":
        shown["MasterUsername"] = wanted["MasterUsername"]
        shown["MasterUserPassword"] = wanted["MasterUserPassword"]
    return shown


def database_subnets(physical):
    shown = client("rds").describe_db_subnet_groups(DBSubnetGroupName=physical)["DBSubnetGroups"][0]
    return {"DBSubnetGroupDescription": shown["DBSubnetGroupDescription"], "SubnetIds": [one["SubnetIdentifier"] for one in shown["Subnets"]]}


def database_parameters(physical, wanted):
    rds = client("rds")
    shown = rds.describe_db_parameter_groups(DBParameterGroupName=physical)["DBParameterGroups"][0]
    values = {
        one["ParameterName"]: one.get("ParameterValue")
        for page in rds.get_paginator("describe_db_parameters").paginate(DBParameterGroupName=physical)
        for one in page["Parameters"]
    }
    return {
        "Description": shown["Description"],
        "Family": shown["DBParameterGroupFamily"],
        "Parameters": {name: values.get(name) for name in wanted["Parameters"]},
    }


def role(physical):
    iam = client("iam")
    return {
        "AssumeRolePolicyDocument": iam.get_role(RoleName=physical)["Role"]["AssumeRolePolicyDocument"],
        "ManagedPolicyArns": [one["PolicyArn"] for one in iam.list_attached_role_policies(RoleName=physical)["AttachedPolicies"]],
        "Policies": [
            only(iam.get_role_policy(RoleName=physical, PolicyName=name), ["PolicyName", "PolicyDocument"])
            for name in iam.list_role_policies(RoleName=physical)["PolicyNames"]
        ],
    }


def managed_policy(physical):
    iam = client("iam")
    shown = iam.get_policy(PolicyArn=physical)["Policy"]
    version = iam.get_policy_version(PolicyArn=physical, VersionId=shown["DefaultVersionId"])["PolicyVersion"]
    return only(shown, ["Description"]) | {"PolicyDocument": version["Document"]}


def profile(physical):
    shown = client("iam").get_instance_profile(InstanceProfileName=physical.rsplit("/", 1)[-1])["InstanceProfile"]
    return {"Roles": [one["RoleName"] for one in shown["Roles"]]}


def security_group(physical):
    shown = client("ec2").describe_security_groups(GroupIds=[physical])["SecurityGroups"][0]

    def rules(entries):
        found = []
        for one in entries:
            ports = only(one, ["IpProtocol", "FromPort", "ToPort"])
            for place in one.get("IpRanges", []):
                found.append(ports | {"CidrIp": place["CidrIp"]} | only(place, ["Description"]))
            for place in one.get("UserIdGroupPairs", []):
                found.append(ports | {"SourceSecurityGroupId": place["GroupId"]} | only(place, ["Description"]))
        return found

    return {
        "GroupDescription": shown["Description"],
        "VpcId": shown["VpcId"],
        "SecurityGroupIngress": rules(shown["IpPermissions"]),
        "SecurityGroupEgress": rules(shown["IpPermissionsEgress"]),
    }


def balancer(physical):
    elb = client("elbv2")
    shown = elb.describe_load_balancers(LoadBalancerArns=[physical])["LoadBalancers"][0]
    shown["Subnets"] = [one["SubnetId"] for one in shown["AvailabilityZones"]]
    shown["LoadBalancerAttributes"] = elb.describe_load_balancer_attributes(LoadBalancerArn=physical)["Attributes"]
    return shown


def targets(physical):
    elb = client("elbv2")
    shown = elb.describe_target_groups(TargetGroupArns=[physical])["TargetGroups"][0]
    shown["TargetGroupAttributes"] = elb.describe_target_group_attributes(TargetGroupArn=physical)["Attributes"]
    return shown


def listener(physical):
    shown = client("elbv2").describe_listeners(ListenerArns=[physical])["Listeners"][0]
    shown["DefaultActions"] = [only(one, ["Type", "TargetGroupArn"]) for one in shown["DefaultActions"]]
    return shown


def setting(physical):
    ssm = client("ssm")
    shown = ssm.get_parameter(Name=physical)["Parameter"]
    more = ssm.describe_parameters(ParameterFilters=[{"Key": "Name", "Values": [physical]}])["Parameters"][0]
    return only(more, ["Description"]) | only(shown, ["Name", "Type", "Value"]) | only(more, ["Tier"])


def launch_template(physical):
    versions = client("ec2").describe_launch_template_versions(LaunchTemplateId=physical)["LaunchTemplateVersions"]
    data = max(versions, key=lambda one: one["VersionNumber"])["LaunchTemplateData"]
    data.get("MetadataOptions", {}).pop("State", None)
    return {"LaunchTemplateData": data}


def group(physical):
    scaling = client("autoscaling")
    shown = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[physical])["AutoScalingGroups"][0]
    shown["Cooldown"] = shown["DefaultCooldown"]
    shown["VPCZoneIdentifier"] = shown["VPCZoneIdentifier"].split(",")
    shown["LaunchTemplate"] = only(shown["LaunchTemplate"], ["LaunchTemplateId", "Version"])
    shown["Tags"] = [only(one, ["Key", "Value", "PropagateAtLaunch"]) for one in shown["Tags"] if not one["Key"].startswith("aws:")]
    if not shown.get("TargetGroupARNs"):
        shown.pop("TargetGroupARNs", None)
    return shown


def hook(physical, wanted):
    name = wanted["AutoScalingGroupName"]
    all_of = client("autoscaling").describe_lifecycle_hooks(AutoScalingGroupName=name)["LifecycleHooks"]
    return [one for one in all_of if one["LifecycleHookName"] == physical][0]


def policy(physical, wanted):
    all_of = client("autoscaling").describe_policies(AutoScalingGroupName=wanted["AutoScalingGroupName"])["ScalingPolicies"]
    shown = [one for one in all_of if one["PolicyARN"] == physical][0]
    # What holds where nothing is said.
    if shown.get("TargetTrackingConfiguration", {}).get("DisableScaleIn") is False:
        del shown["TargetTrackingConfiguration"]["DisableScaleIn"]
    return shown


def alarm(physical):
    return client("cloudwatch").describe_alarms(AlarmNames=[physical])["MetricAlarms"][0]


def dashboard(physical):
    return {"DashboardName": physical, "DashboardBody": json.loads(client("cloudwatch").get_dashboard(DashboardName=physical)["DashboardBody"])}


SHOWN = {
    "AWS::AutoScaling::AutoScalingGroup": group,
    "AWS::AutoScaling::LifecycleHook": hook,
    "AWS::AutoScaling::ScalingPolicy": policy,
    "AWS::CloudWatch::Alarm": alarm,
    "AWS::CloudWatch::Dashboard": dashboard,
    "AWS::EC2::LaunchTemplate": launch_template,
    "AWS::EC2::SecurityGroup": security_group,
    "AWS::ElasticLoadBalancingV2::Listener": listener,
    "AWS::ElasticLoadBalancingV2::LoadBalancer": balancer,
    "AWS::ElasticLoadBalancingV2::TargetGroup": targets,
    "AWS::IAM::InstanceProfile": profile,
    "AWS::IAM::ManagedPolicy": managed_policy,
    "AWS::IAM::Role": role,
    "AWS::KMS::Alias": alias,
    "AWS::KMS::Key": key,
    "AWS::RDS::DBInstance": database,
    "AWS::RDS::DBParameterGroup": database_parameters,
    "AWS::RDS::DBSubnetGroup": database_subnets,
    "AWS::S3::Bucket": bucket,
    "AWS::S3::BucketPolicy": bucket_policy,
    "AWS::SES::ConfigurationSet": configuration_set,
    "AWS::SES::ConfigurationSetEventDestination": configuration_set_events,
    "AWS::SES::EmailIdentity": identity,
    "AWS::SNS::Subscription": subscription,
    "AWS::SNS::Topic": topic,
    "AWS::SNS::TopicPolicy": topic_policy,
    "AWS::SQS::Queue": queue,
    "AWS::SQS::QueuePolicy": queue_policy,
    "AWS::SSM::Parameter": setting,
    "AWS::SecretsManager::Secret": secret,
}


def show(kind, physical, wanted):
    ask = SHOWN[kind]
    return ask(physical, wanted) if ask.__code__.co_argcount == 2 else ask(physical)


def shown_of(value, name, wanted):
    """Text that holds JSON, as JSON; of lists of attributes, those that the template sets."""
    found = value[name]
    if name.endswith("Attributes") and isinstance(found, list):
        keys = [one["Key"] for one in wanted]
        found = [one for one in found if one["Key"] in keys]
    return found


def compare(*names):
    differences, not_kept, compared, physical = [], set(), 0, {}
    for name in names:
        suffix = name.removeprefix(names[0])
        stack = Stack(name, suffix)
        physical |= stack.physical
        for logical, resource in stack.template["Resources"].items():
            if "Condition" in resource and not stack.has(resource["Condition"]):
                if logical in stack.physical:
                    differences.append(f"{logical}: is there in spite of its condition")
                continue
            kind = resource["Type"]
            wanted = stack.resolve(resource["Properties"])
            if logical not in stack.physical:
                differences.append(f"{logical}: is missing")
                continue
            shown = show(kind, stack.physical[logical][1], wanted)
            not_kept.update(f"{kind.removeprefix('AWS::')}.{part}" for part in shown.get("not kept", []))
            for prop, value in wanted.items():
                if kind == "AWS::CloudWatch::Dashboard" and prop == "DashboardBody":
                    value = json.loads(value)
                if prop not in shown:
                    not_kept.add(f"{kind.removeprefix('AWS::')}.{prop}")
                    continue
                found = shown_of(shown, prop, value)
                compared += 1
                if plain(value) != plain(found):
                    differences.append(f"{logical}.{prop}: {plain(value)} but {plain(found)}")
    return {"differences": differences, "not_kept": sorted(not_kept), "compared": compared, "physical": physical}


# ---------------------------------------------------------------- what roles may do


def without_transport(document, dropped=("aws:SecureTransport", "cloudwatch:namespace", "kms:ViaService")):
    """A policy without the conditions that the emulator cannot judge; a denial that is only about such a thing goes with it."""
    kept = []
    for statement in document["Statement"]:
        conditions = {
            test: {key: value for key, value in about.items() if key not in dropped} for test, about in statement.get("Condition", {}).items()
        }
        conditions = {test: about for test, about in conditions.items() if about}
        if statement["Effect"] == "Deny" and "Condition" in statement and not conditions:
            continue
        statement = {key: value for key, value in statement.items() if key != "Condition"}
        kept.append(statement | ({"Condition": conditions} if conditions else {}))
    return document | {"Statement": kept}


def allowed():
    name = "mail"
    template = template_of("")
    for resource in template["Resources"].values():
        properties = resource["Properties"]
        for one in [properties, *properties.get("Policies", [])]:
            if "PolicyDocument" in one:
                one["PolicyDocument"] = without_transport(one["PolicyDocument"])
    # A policy that says nothing any more is none.
    template["Resources"] = {
        logical: one
        for logical, one in template["Resources"].items()
        if one["Properties"].get("PolicyDocument", {}).get("Statement", True)
    }
    of = make(name, json.dumps(template), {"MailDomain": "example.com"})
    s3 = client("s3")
    for bucket, path in (("Catalogue", "catalogue.json"), ("Catalogue", "file.apk"), ("ClaimChecks", "mail"), ("Backups", "dump")):
        s3.put_object(Bucket=of[bucket], Key=path, Body=b"{}")
    client("sqs").send_message(QueueUrl=of["DeadLetters"], MessageBody="x")

    attempts = {
        "send to the queue": lambda c: c("sqs").send_message(QueueUrl=of["Requests"], MessageBody="x"),
        "receive from the queue": lambda c: c("sqs").receive_message(QueueUrl=of["Requests"], VisibilityTimeout=0, WaitTimeSeconds=0),
        "purge the queue": lambda c: c("sqs").purge_queue(QueueUrl=of["Requests"]),
        "delete the queue": lambda c: c("sqs").delete_queue(QueueUrl=of["Requests"]),
        "send to the dead letters": lambda c: c("sqs").send_message(QueueUrl=of["DeadLetters"], MessageBody="x"),
        "receive from the dead letters": lambda c: c("sqs").receive_message(QueueUrl=of["DeadLetters"], VisibilityTimeout=0, WaitTimeSeconds=0),
        "put a claim check": lambda c: c("s3").put_object(Bucket=of["ClaimChecks"], Key="mail", Body=b"x"),
        "get a claim check": lambda c: c("s3").get_object(Bucket=of["ClaimChecks"], Key="mail"),
        "delete a claim check": lambda c: c("s3").delete_object(Bucket=of["ClaimChecks"], Key="another"),
        "get the catalogue": lambda c: c("s3").get_object(Bucket=of["Catalogue"], Key="catalogue.json"),
        "get an attachment": lambda c: c("s3").get_object(Bucket=of["Catalogue"], Key="file.apk"),
        "put the catalogue": lambda c: c("s3").put_object(Bucket=of["Catalogue"], Key="catalogue.json", Body=b"{}"),
        "delete the catalogue": lambda c: c("s3").delete_object(Bucket=of["Catalogue"], Key="another"),
        "put a backup": lambda c: c("s3").put_object(Bucket=of["Backups"], Key="dump", Body=b"x"),
        "list the backups": lambda c: c("s3").list_objects_v2(Bucket=of["Backups"]),
        "get a backup": lambda c: c("s3").get_object(Bucket=of["Backups"], Key="dump"),
        "delete a backup": lambda c: c("s3").delete_object(Bucket=of["Backups"], Key="dump"),
        "read the secret key": lambda c: c("secretsmanager").get_secret_value(SecretId=of["SecretKey"]),
        "read the database's password": lambda c: c("secretsmanager").get_secret_value(SecretId=of["DatabaseSecret"]),
        "write a secret": lambda c: c("secretsmanager").put_secret_value(SecretId=of["SecretKey"], SecretString="x"),
        "read the settings": lambda c: c("ssm").get_parameter(Name=of["WorkerSettings"]),
        "publish a metric": lambda c: c("cloudwatch").put_metric_data(Namespace="replyfleet", MetricData=[{"MetricName": "x", "Value": 1}]),
        "send a reply": lambda c: c("sesv2").send_email(
            FromEmailAddress="get@example.com",
            Destination={"ToAddresses": ["success@simulator.amazonses.com"]},
            Content={"Raw": {"Data": b"From: get@example.com\r\nTo: success@simulator.amazonses.com\r\n\r\nx"}},
        ),
        "end an MX's hook": hooked(name + "-mx", "mail-queue"),
        "end a worker's hook": hooked(name + "-workers", "drain"),
        "end a machine": lambda c: c("ec2").terminate_instances(InstanceIds=["i-0123456789abcdef0"]),
        "change a role": lambda c: c("iam").delete_role_policy(RoleName=of["MxRole"], PolicyName="mx"),
    }
    result = {}
    for logical in ("MxRole", "WorkerRole", "OperatorRole", "CatalogueRole"):
        # The emulator has no machines to assume a role.
        trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}
        client("iam").update_assume_role_policy(RoleName=of[logical], PolicyDocument=json.dumps(trust))
        got = client("sts").assume_role(RoleArn=arn("AWS::IAM::Role", of[logical]), RoleSessionName="test")["Credentials"]
        credentials = {
            "aws_access_key_id": got["AccessKeyId"],
            "aws_secret_access_key": got["SecretAccessKey"],
            "aws_session_token": got["SessionToken"],
        }
        result[logical] = {what: may(attempt, lambda service: client(service, **credentials)) for what, attempt in attempts.items()}
    return result


def hooked(group, name):
    def attempt(connect):
        connect("autoscaling").complete_lifecycle_action(
            AutoScalingGroupName=group, LifecycleHookName=name, LifecycleActionResult="CONTINUE", InstanceId="i-0123456789abcdef0"
        )

    return attempt


def may(attempt, connect):
    try:
        attempt(connect)
    except ClientError as error:
        # Anything but a denial comes after the permission: there is no such machine, say.
        return error.response["Error"]["Code"] not in ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError", "403")
    return True


# ---------------------------------------------------------------- the rest


def prepare():
    ec2 = client("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    subnets = [one["SubnetId"] for one in ec2.describe_subnets()["Subnets"] if one["VpcId"] == vpc]
    images = [one["ImageId"] for one in ec2.describe_images()["Images"]]
    return {"VpcId": vpc, "SubnetIds": ",".join(subnets[:2]), "ImageId": images[0], "OtherImageId": images[1]}


def stacks():
    return [one["StackName"] for one in client("cloudformation").describe_stacks()["Stacks"]]


def image(name):
    result = {}
    for suffix in ("-mx", "-workers"):
        shown = group(name + suffix)["LaunchTemplate"]
        version = client("ec2").describe_launch_template_versions(LaunchTemplateId=shown["LaunchTemplateId"], Versions=[shown["Version"]])
        refreshes = client("autoscaling").describe_instance_refreshes(AutoScalingGroupName=name + suffix)["InstanceRefreshes"]
        result[name + suffix] = {
            "image": version["LaunchTemplateVersions"][0]["LaunchTemplateData"]["ImageId"],
            "version": shown["Version"],
            "refreshes": len(refreshes),
        }
    return result


# What a resource is asked for that may be gone; without its stack, no more than its name is known.
WANTED = {"GenerateSecretString": {}, "Parameters": {}, "MasterUsername": "", "MasterUserPassword": ""}


def left(name):
    retained, others = [], [f"stack {one}" for one in stacks()]
    physical = json.load(sys.stdin)
    for logical, (kind, one) in physical.items():
        # Part of another resource, and gone with it.
        if kind.endswith("Policy") and kind not in ("AWS::IAM::ManagedPolicy",) or kind.endswith(("LifecycleHook", "EventDestination")):
            continue
        try:
            show(kind, one, WANTED)
        except (ClientError, IndexError, KeyError, ValueError):
            continue
        if kind == "AWS::S3::Bucket":
            try:
                client("s3").head_bucket(Bucket=one)
            except ClientError:
                continue
        template = template_of("")["Resources"].get(logical, {})
        (retained if template.get("DeletionPolicy") == "Retain" else others).append(logical)
    try:
        client("ssm").get_parameter(Name=f"/{name}/image")
        others.append("image")
    except ClientError:
        pass
    return {"retained": retained, "others": others}


def make(name, body, parameters):
    """The physical names of a stack that is made from a template's text."""
    formation = client("cloudformation")
    first = prepare()
    client("ssm").put_parameter(Name=f"/{name}/image", Value=first["ImageId"], Type="String")
    given = {"VpcId": first["VpcId"], "SubnetIds": first["SubnetIds"], "ImageId": f"/{name}/image", "MailHostname": "mx.example.com"} | parameters
    formation.create_stack(
        StackName=name,
        TemplateBody=body,
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    formation.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    return {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in formation.describe_stack_resources(StackName=name)["StackResources"]}


def machines():
    ec2, vault = client("ec2"), client("secretsmanager")
    result = []
    with open(TEMPLATES[""], encoding="utf-8") as file:
        body = file.read()
    for number, case in enumerate(json.load(sys.stdin)):
        of = make(f"case-{number}", body, {"MailDomain": f"case-{number}.example.com"} | case)
        values = [vault.get_secret_value(SecretId=of[one])["SecretString"] for one in ("SecretKey", "DatabaseSecret") if one in of]
        values = [json.loads(value)["password"] if value.startswith("{") else value for value in values]
        told = {}
        for role, template in (("mx", "MxTemplate"), ("worker", "WorkerTemplate")):
            version = ec2.describe_launch_template_versions(LaunchTemplateId=of[template])["LaunchTemplateVersions"][0]
            data = base64.b64decode(version["LaunchTemplateData"]["UserData"]).decode()
            config = yaml.safe_load(data)
            files = {
                one["path"]: base64.b64decode(one["content"]).decode() if one.get("encoding") == "b64" else one["content"] for one in config["write_files"]
            }
            told[role] = {
                "files": files,
                "units": config["runcmd"],
                "bytes": len(data),
                "secrets": [role for value in values if value in data or any(value in text for text in files.values())],
                "schema": schema(data),
            }
        result.append(told)
    return result


def schema(data):
    """What cloud-init says against user-data; nothing where it is not installed."""
    program = shutil.which("cloud-init")
    if not program:
        return ""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(data)
        file.flush()
        output = subprocess.run([program, "schema", "--config-file", file.name], capture_output=True, text=True, check=False)
    return "" if output.returncode == 0 else output.stdout + output.stderr


QUESTIONS = {"prepare": prepare, "stacks": stacks, "compare": compare, "allowed": allowed, "image": image, "left": left, "machines": machines}
json.dump(QUESTIONS[sys.argv[1]](*sys.argv[2:]), sys.stdout)
