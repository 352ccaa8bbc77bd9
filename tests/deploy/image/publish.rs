//! `ami/publish` against an account that takes nothing on trust: every block must have its own digest, and the whole the digest
//! of them all (EBS direct APIs, "PutSnapshotBlock" and "CompleteSnapshot"), which no emulator checks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::{Command, Output},
    sync::{Arc, Mutex},
};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, prelude::BASE64_STANDARD};
use replyfleet_tests::{
    ministack::venv,
    repository, skipped,
    web::{Answer, Request, serve},
};
use tempfile::TempDir;

const BLOCK: usize = 512 * 1024;
const SNAPSHOT: &str = "snap-0new";
const IMAGE: &str = "ami-0new";

/// What the account has, and what was done to it.
#[derive(Default)]
struct Account {
    blocks: BTreeMap<usize, Vec<u8>>,
    /// Blocks whose first attempt fails, as a busy service's would.
    fails_once: BTreeSet<usize>,
    /// Every attempt at this block fails.
    fails_always: Option<usize>,
    is_complete: bool,
    registered: Option<BTreeMap<String, String>>,
    /// Images of the family: id, and whether instances run from it. The oldest first.
    images: Vec<(&'static str, bool)>,
    has_name: bool,
    gone: Vec<String>,
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

/// The fields of a form.
fn form(body: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(body).replace("%3A", ":").replace("%2F", "/");
    text.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

impl Account {
    fn answer(&mut self, request: &Request) -> Answer {
        let path: Vec<&str> = request.path.trim_matches('/').split('/').collect();
        let header = |name: &str| request.headers.get(name).cloned().unwrap_or_default();
        match (request.method.as_str(), path.as_slice()) {
            ("POST", ["snapshots"]) => {
                let wanted: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
                Answer::new(201, format!(r#"{{"SnapshotId": "{SNAPSHOT}", "Status": "pending", "VolumeSize": {}}}"#, wanted["VolumeSize"]))
            }
            ("PUT", ["snapshots", SNAPSHOT, "blocks", index]) => {
                let index = index.parse().unwrap();
                if self.fails_always == Some(index) {
                    return Answer::new(400, r#"{"message": "no"}"#).with("x-amzn-ErrorType", "ValidationException");
                }
                if self.fails_once.remove(&index) {
                    return Answer::new(503, r#"{"message": "busy"}"#).with("x-amzn-ErrorType", "RequestThrottledException");
                }
                let own = BASE64_STANDARD.encode(sha256(&request.body));
                let is_right = request.body.len() == BLOCK
                    && header("x-amz-data-length") == BLOCK.to_string()
                    && header("x-amz-checksum") == own
                    && header("x-amz-checksum-algorithm") == "SHA256";
                if !is_right {
                    return Answer::new(400, r#"{"message": "checksum"}"#).with("x-amzn-ErrorType", "ValidationException");
                }
                self.blocks.insert(index, request.body.clone());
                Answer::new(201, "{}").with("x-amz-Checksum", own).with("x-amz-Checksum-Algorithm", "SHA256")
            }
            ("POST", ["snapshots", "completion", SNAPSHOT]) => {
                let all: Vec<u8> = self.blocks.values().flat_map(|block| sha256(block)).collect();
                self.is_complete = header("x-amz-changedblockscount") == self.blocks.len().to_string()
                    && header("x-amz-checksum") == BASE64_STANDARD.encode(sha256(&all))
                    && header("x-amz-checksum-aggregation-method") == "LINEAR";
                let status = if self.is_complete { "completed" } else { "error" };
                Answer::new(202, format!(r#"{{"Status": "{status}"}}"#))
            }
            ("POST", [""]) => self.ec2(&form(&request.body)),
            _ => Answer::new(404, format!("{} {}", request.method, request.path)),
        }
    }

    fn ec2(&mut self, form: &BTreeMap<String, String>) -> Answer {
        let of = |name: &str| form.get(name).cloned().unwrap_or_default();
        let action = of("Action");
        let content = match action.as_str() {
            "DescribeSnapshots" => {
                let status = if self.is_complete { "completed" } else { "error" };
                format!("<snapshotSet><item><snapshotId>{SNAPSHOT}</snapshotId><status>{status}</status></item></snapshotSet>")
            }
            "RegisterImage" => {
                self.registered = Some(form.clone());
                format!("<imageId>{IMAGE}</imageId>")
            }
            "DescribeImages" => format!("<imagesSet>{}</imagesSet>", self.images_for(form)),
            "DescribeInstances" => {
                let is_used = self.images.contains(&(self.id_in(&of("Filter.1.Value.1")), true));
                let reservation = if is_used { "<item><reservationId>r-1</reservationId></item>" } else { "" };
                format!("<reservationSet>{reservation}</reservationSet>")
            }
            "DeregisterImage" => {
                self.gone.push(of("ImageId"));
                "<return>true</return>".into()
            }
            "DeleteSnapshot" => {
                self.gone.push(of("SnapshotId"));
                "<return>true</return>".into()
            }
            _ => {
                return Answer::new(
                    400,
                    format!("<Response><Errors><Error><Code>InvalidAction</Code><Message>{action}</Message></Error></Errors></Response>"),
                );
            }
        };
        Answer::new(200, format!(r#"<{action}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">{content}</{action}Response>"#))
    }

    fn id_in(&self, id: &str) -> &'static str {
        self.images.iter().find(|(own, _)| *own == id).map_or("", |(own, _)| own)
    }

    fn images_for(&self, form: &BTreeMap<String, String>) -> String {
        let item = |id: &str, day: usize, snapshot: &str| {
            format!(
                "<item><imageId>{id}</imageId><imageState>available</imageState><name>{id}</name><creationDate>2026-11-0{day}T00:00:00.000Z</creationDate>\
                 <blockDeviceMapping><item><deviceName>/dev/xvda</deviceName><ebs><snapshotId>{snapshot}</snapshotId></ebs></item></blockDeviceMapping></item>"
            )
        };
        let filters: Vec<&String> =
            form.iter().filter(|(name, _)| name.starts_with("Filter.") && name.ends_with(".Name")).map(|(_, value)| value).collect();
        match filters.as_slice() {
            // The waiter's, by the id.
            [] => item(IMAGE, 9, SNAPSHOT),
            [name] if *name == "name" => {
                if self.has_name {
                    item("ami-0taken", 1, "snap-0taken")
                } else {
                    String::new()
                }
            }
            [first, second] if (first.as_str(), second.as_str()) == ("tag:family", "architecture") => {
                let old = self.images.iter().zip(1..).map(|((id, _), day)| item(id, day, &id.replace("ami", "snap")));
                old.chain([item(IMAGE, 9, SNAPSHOT)]).collect()
            }
            other => panic!("images by {other:?}"),
        }
    }
}

/// A disk of five blocks and a bit, of which some are empty, and its manifest.
fn disk() -> (TempDir, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let mut content = vec![0; 5 * BLOCK + 1000];
    content[3] = 1;
    content[2 * BLOCK..3 * BLOCK].fill(7);
    *content.last_mut().unwrap() = 9;
    fs::write(folder.path().join("disk.raw"), &content).unwrap();
    let sha256: String = sha256(&content).iter().map(|byte| format!("{byte:02x}")).collect();
    let manifest = format!(r#"{{"architecture": "arm64", "disk": {{"sha256": "{sha256}"}}}}"#);
    fs::write(folder.path().join("manifest.json"), manifest).unwrap();
    (folder, content)
}

/// Runs `ami/publish` on the disk against the account; nothing where boto3 is missing.
fn publish(folder: &TempDir, account: &Arc<Mutex<Account>>, arguments: &[&str]) -> Option<Output> {
    let python = venv().join("bin/python");
    if !python.exists() {
        skipped("no boto3; tests/run installs it");
        return None;
    }
    let account = Arc::clone(account);
    let url = serve(move |request| account.lock().unwrap().answer(request));
    let mut command = Command::new("timeout");
    command.arg("60").arg(python).arg(repository().join("ami/publish")).arg(folder.path().join("disk.raw"));
    command.args(["--name", "replyfleet-1"]).args(arguments);
    let credentials =
        [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_REGION", "eu-west-1"), ("AWS_DEFAULT_REGION", "eu-west-1")];
    Some(command.envs(credentials).env("AWS_ENDPOINT_URL", url).output().unwrap())
}

#[test]
fn a_disk_arrives_block_by_block_and_becomes_an_image() {
    let (folder, content) = disk();
    let account = Arc::new(Mutex::new(Account { fails_once: [0, 2].into(), ..Account::default() }));
    let Some(output) = publish(&folder, &account, &[]) else { return };
    let account = account.lock().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{IMAGE}\n"));
    assert_eq!(account.blocks.keys().copied().collect::<Vec<_>>(), [0, 2, 5], "empty blocks are not sent");
    let mut arrived = vec![0; 6 * BLOCK];
    for (index, block) in &account.blocks {
        arrived[index * BLOCK..(index + 1) * BLOCK].copy_from_slice(block);
    }
    assert!(arrived[..content.len()] == content, "the disk is another");
    assert!(account.is_complete);
    let registered = account.registered.as_ref().unwrap();
    for (name, value) in [
        ("Name", "replyfleet-1"),
        ("Architecture", "arm64"),
        ("BootMode", "uefi"),
        ("ImdsSupport", "v2.0"),
        ("EnaSupport", "true"),
        ("VirtualizationType", "hvm"),
        ("RootDeviceName", "/dev/xvda"),
        ("BlockDeviceMapping.1.Ebs.SnapshotId", SNAPSHOT),
    ] {
        assert_eq!(registered.get(name).map(String::as_str), Some(value), "{name} of {registered:?}");
    }
    assert_eq!(account.gone, [""; 0]);
}

#[test]
fn older_images_go_but_for_those_that_are_kept_or_in_use() {
    let (folder, _) = disk();
    let images = vec![("ami-0a", false), ("ami-0b", true), ("ami-0c", false), ("ami-0d", false)];
    let account = Arc::new(Mutex::new(Account { images, ..Account::default() }));
    let Some(output) = publish(&folder, &account, &["--keep", "2"]) else { return };
    assert!(output.status.success(), "{output:?}");
    // The new one and 0d stay; 0b runs.
    assert_eq!(account.lock().unwrap().gone, ["ami-0c", "snap-0c", "ami-0a", "snap-0a"]);
}

#[test]
fn what_cannot_be_published_leaves_no_image_and_no_snapshot() {
    let (folder, _) = disk();
    let account = Arc::new(Mutex::new(Account { fails_always: Some(2), ..Account::default() }));
    let Some(output) = publish(&folder, &account, &[]) else { return };
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(account.lock().unwrap().registered.is_none());
    assert_eq!(account.lock().unwrap().gone, [SNAPSHOT]);

    let account = Arc::new(Mutex::new(Account { has_name: true, ..Account::default() }));
    let output = publish(&folder, &account, &[]).unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("give --name another"), "{output:?}");

    fs::write(folder.path().join("disk.raw"), "changed").unwrap();
    let output = publish(&folder, &account, &[]).unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("build it again"), "{output:?}");
    assert!(account.lock().unwrap().blocks.is_empty());
}
