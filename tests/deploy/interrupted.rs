//! `ami/fleet` where AWS refuses: a roll-out while another goes on, and an end that an earlier run left half done. An `aws` of our own
//! answers here, since the emulator finishes each refresh and each deletion at once; what the real queries come to, `stack.rs` shows.

use std::{fs, path::PathBuf, process::Command};

use replyfleet_tests::{installation::said, repository};

/// What every account answers, unless a case says otherwise. `$*` is the command, `$state` a folder to remember in.
const ACCOUNT: &str = r#"
group=$(printf '%s\n' "$*" | grep -oE 'mail-(mx|workers)' | head -n 1)
case "$*" in
    *describe-stacks*StackStatus*) echo UPDATE_COMPLETE ;;
    *describe-stacks*Outputs*) printf 'QueueUrl\tqueue\nDeadLetterUrl\tdead\nLaunchTemplateVersion\t2\n' ;;
    *describe-stacks*starts_with*) printf 'MailDomain\texample.com\nMailHostname\tmx.example.com\n' ;;
    *get-email-identity*) printf 'dkim.eu-central-2.amazonses.com\ttoken1\ttoken2\n' ;;
    *describe-images*) echo available ;;
    *get-parameter*) echo ami-new ;;
    *get-queue-attributes*) echo 0 ;;
    *update-stack*) echo 'No updates are to be performed' >&2; exit 254 ;;
    *describe-instance-refreshes*)
        case $(cat "$state/$group" 2>/dev/null) in
            InProgress) echo 1 ;;
            Cancelling) rm "$state/$group"; echo 1 ;;
            *) echo 0 ;;
        esac ;;
    *cancel-instance-refresh*) echo Cancelling > "$state/$group" ;;
    *start-instance-refresh*)
        if [ -e "$state/$group" ]; then echo 'InstanceRefreshInProgress: one is there' >&2; exit 254; fi
        echo InProgress > "$state/$group" ;;
    *describe-stack-resources*ClaimChecks*) echo claims ;;
    *describe-stack-resources*OperatorGroup*) echo sg-operators ;;
    *'length(AutoScalingGroups'*) echo 0 ;;
    *Instances*Version*) printf '2\t2\t2\n' ;;
esac
"#;

struct Account(tempfile::TempDir);

impl Account {
    /// One that first asks these lines of a `case`, which end with `exit`.
    fn new(special: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().display();
        let program = format!("#!/bin/sh\nstate={state}\nprintf '%s\\n' \"$*\" >> {state}/calls\ncase \"$*\" in\n{special}\nesac\n{ACCOUNT}");
        for (name, text) in [("aws", program.as_str()), ("sleep", "#!/bin/sh\n")] {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn fleet(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let path = format!("{}:{}", self.0.path().display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(repository().join("ami/fleet"));
        said(
            command
                .env("PATH", path)
                .env_remove("AWS_ENDPOINT_URL")
                .env("REPLYFLEET_DRAIN_S", "0")
                .args(["--stack", "mail", "--yes"])
                .args(arguments),
        )
    }

    /// The calls of one name, each with the group that it is about.
    fn calls(&self, name: &str) -> Vec<String> {
        let calls = fs::read_to_string(self.path("calls")).unwrap();
        calls.lines().filter(|line| line.contains(name)).map(str::to_owned).collect()
    }
}

#[test]
fn going_back_while_a_rollout_goes_on_cancels_it_and_refreshes_both_groups() {
    let account = Account::new("");
    for group in ["mail-mx", "mail-workers"] {
        fs::write(account.path(group), "InProgress\n").unwrap();
    }
    let (status, text) = account.fleet(&["image", "ami-old"]);
    assert_eq!(status, Some(0), "{text}");
    let order: Vec<String> =
        account.calls("-instance-refresh ").iter().map(|call| call.split_whitespace().take(4).collect::<Vec<_>>().join(" ")).collect();
    let wanted = ["mail-mx", "mail-workers"]
        .map(|group| ["cancel", "start"].map(|what| format!("autoscaling {what}-instance-refresh --auto-scaling-group-name {group}")));
    assert_eq!(order, wanted.concat());
    assert!(account.calls("cancel-instance-refresh").iter().all(|call| call.contains("--no-wait-for-transitioning-instances")));
}

#[test]
fn a_group_that_cannot_be_refreshed_does_not_keep_the_other_from_it() {
    let account = Account::new("*start-instance-refresh*mail-mx*) echo 'LimitExceeded: no' >&2; exit 254 ;;");
    let (status, text) = account.fleet(&["image", "ami-old"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("LimitExceeded") && text.contains("not refreshed: mail-mx;"), "{text}");
    assert_eq!(fs::read_to_string(account.path("mail-workers")).unwrap(), "InProgress\n");
}

#[test]
fn up_replaces_machines_of_an_older_version_whoever_made_the_newer_one() {
    let account = Account::new("*Instances*Version*mail-workers*|*mail-workers*Instances*Version*) printf '3\\t3\\t2\\n'; exit ;;");
    let (status, text) = account.fleet(&["up"]);
    assert_eq!(status, Some(0), "{text}");
    let started = account.calls("start-instance-refresh");
    assert!(started.len() == 1 && started[0].contains("mail-workers"), "{started:?}");
    assert!(text.contains("token2._domainkey.example.com. CNAME token2.dkim.eu-central-2.amazonses.com.\n"), "SES's zone there: {text}");
}

#[test]
fn an_end_that_failed_half_way_is_ended_without_what_is_gone() {
    let account = Account::new(
        "*describe-stacks*'mail '*StackStatus*) if [ -e $state/deleted ]; then echo 'mail does not exist' >&2; exit 254; fi; echo DELETE_FAILED; exit ;;
         *describe-stacks*StackStatus*) echo 'it does not exist' >&2; exit 254 ;;
         *describe-stacks*) exit 254 ;;
         *describe-stack-resources*OperatorGroup*) exit ;;
         *describe-stack-resources*\"'Database'\"*) echo database; exit ;;
         *sqs*|*update-auto-scaling-group*) echo 'there is none' >&2; exit 254 ;;
         *modify-db-instance*) echo DBInstanceNotFound >&2; exit 254 ;;
         *'s3 rm'*) echo 'NoSuchBucket' >&2; exit 1 ;;
         *delete-parameter*) echo ParameterNotFound >&2; exit 254 ;;
         *delete-stack*) touch $state/deleted; exit ;;",
    );
    let (status, text) = account.fleet(&["down"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("kept"), "{text}");
    let deleted = account.calls("delete-stack");
    assert_eq!(deleted, ["cloudformation delete-stack --stack-name mail"], "{text}");
}

#[test]
fn an_operators_machine_is_named_before_anything_is_changed() {
    let account = Account::new("*describe-network-interfaces*sg-operators*) printf 'eni-1\\ti-people\\n'; exit ;;");
    let (status, text) = account.fleet(&["down"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("i-people") && text.contains("nothing was changed"), "{text}");
    let changes = ["update-", "delete-", "modify-", "complete-", " rm "];
    assert!(changes.iter().all(|change| account.calls(change).is_empty()), "{text}");
}

#[test]
fn mail_on_a_machine_is_discarded_only_where_that_is_said() {
    const STUCK: &str = "*mail-mx*'length(AutoScalingGroups'*) if [ -e $state/done ]; then echo 0; else echo 1; fi; exit ;;
         *mail-mx*MinSize*) printf '2\\t6\\t3\\n'; exit ;;
         *describe-lifecycle-hooks*) echo mail-queue; exit ;;
         *'Terminating:Wait'*) echo i-stuck; exit ;;
         *complete-lifecycle-action*) touch $state/done; exit ;;
         *delete-stack*) touch $state/deleted; exit ;;
         *describe-stacks*StackStatus*) if [ -e $state/deleted ]; then echo 'it does not exist' >&2; exit 254; fi ;;";
    let account = Account::new(STUCK);
    let (status, text) = account.fleet(&["down"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("have not ended") && text.contains("14,400 s"), "{text}");
    let sizes = account.calls("update-auto-scaling-group");
    assert!(sizes.last().unwrap().contains("--min-size 2 --max-size 6 --desired-capacity 3"), "{sizes:?}");
    assert!(account.calls("delete-stack").is_empty() && account.calls("complete-").is_empty());

    let account = Account::new(STUCK);
    let (status, text) = account.fleet(&["--discard-mail", "down"]);
    assert_eq!(status, Some(0), "{text}");
    let completed = account.calls("complete-lifecycle-action");
    assert!(completed.len() == 1 && completed[0].contains("mail-queue --instance-id i-stuck"), "{completed:?}");
}
