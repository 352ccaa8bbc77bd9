"""What the services of AWS show of a resource, in the words of its CloudFormation template. An emulator's peculiarities stay in here."""

import json

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

CONFIG = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0})


def client(service, **credentials):
    return boto3.client(service, config=CONFIG, **credentials)


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
