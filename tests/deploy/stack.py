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
import shutil
import subprocess
import sys
import tempfile

import yaml
from botocore.exceptions import ClientError

from services import client, group, show
from template import TEMPLATES, Stack, arn, plain, template_of


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


def without_transport(document, dropped=("aws:SecureTransport", "cloudwatch:namespace", "kms:ViaService", "ses:FromAddress")):
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
        if statement["Action"] == ["ses:SendEmail", "ses:SendRawEmail"]:
            # Nor does it know which identity a mail is sent by.
            statement["Resource"] = "*"
        kept.append(statement | ({"Condition": conditions} if conditions else {}))
    return document | {"Statement": kept}


def secrets_as_arns(node, secrets):
    """CloudFormation's Ref of a secret is its ARN; the emulator's, its name."""
    if isinstance(node, list):
        return [secrets_as_arns(one, secrets) for one in node]
    if not isinstance(node, dict):
        return node
    if node.get("Ref") in secrets:
        return {"Fn::Sub": "arn:aws:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:${%s}-*" % node["Ref"]}
    return {key: secrets_as_arns(one, secrets) for key, one in node.items()}


def allowed():
    name = "mail"
    template = template_of("")
    secrets = [name for name, one in template["Resources"].items() if one["Type"] == "AWS::SecretsManager::Secret"]
    for resource in template["Resources"].values():
        properties = resource["Properties"]
        for one in [properties, *properties.get("Policies", [])]:
            if "PolicyDocument" in one:
                one["PolicyDocument"] = secrets_as_arns(without_transport(one["PolicyDocument"]), secrets)
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
        "read the MXs' secret": lambda c: c("secretsmanager").get_secret_value(SecretId=of["MxSecret"]),
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
    """What cloud-init says against user-data: nothing, where it is right; None where cloud-init is not installed."""
    program = shutil.which("cloud-init")
    if not program:
        return None
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(data)
        file.flush()
        output = subprocess.run([program, "schema", "--config-file", file.name], capture_output=True, text=True, check=False)
    return "" if output.returncode == 0 else output.stdout + output.stderr


QUESTIONS = {"prepare": prepare, "stacks": stacks, "compare": compare, "allowed": allowed, "image": image, "left": left, "machines": machines}
json.dump(QUESTIONS[sys.argv[1]](*sys.argv[2:]), sys.stdout)
