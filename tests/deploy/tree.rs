//! This machine's own tree with an empty layer over it: what is installed there is in no other place, and goes with the test.
//!
//! A process in a mount namespace of its own holds the layers, and waits for the end of its standard input: however the test
//! ends, they go. `/run` and `/tmp` are empty, and systemd does not run. Needs root, `unshare`, `nsenter` and overlayfs;
//! without them the test is skipped.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use replyfleet_tests::skipped;

/// The layers are in memory: the root of a container is often one that no layer can be put on.
const LAYERS: &str = r#"
mount -t tmpfs -o mode=755 tree "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" tree "$1/root"
mount --rbind /proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
mount -t tmpfs -o mode=755 run "$1/root/run"
mount -t tmpfs -o mode=1777 tmp "$1/root/tmp"
echo ready
read -r _ || true
"#;

/// A tree that may be changed at will.
pub(crate) struct Tree {
    holder: Child,
    root: PathBuf,
    _dir: tempfile::TempDir,
}

impl Tree {
    /// A new one; `None`, said, where there can be none.
    pub(crate) fn new() -> Option<Self> {
        if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
            skipped("packages are installed by root only");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-euc", LAYERS, "sh"]).arg(dir.path());
        let holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(mut holder) = holder else {
            skipped("unshare(1) is missing");
            return None;
        };
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line != "ready\n" {
            holder.wait().unwrap();
            skipped("no layer can be put over this machine's tree: no overlayfs, or no right to mount");
            return None;
        }
        let tree = Self { holder, root: dir.path().join("root"), _dir: dir };
        // What is mounted below / is not in the layers: a machine with a file system of its own for /usr or /var has an empty folder there.
        if !tree.run("dpkg-query -W libc6 systemd").status.success() {
            skipped("the tree is not this machine's: it has not dpkg's list, or no libc6 and systemd in it (a file system of its own below /?)");
            return None;
        }
        Some(tree)
    }

    /// Where a path of the tree is to be found from outside.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.seen_by_holder(&self.root).join(path.trim_start_matches('/'))
    }

    fn seen_by_holder(&self, path: &Path) -> PathBuf {
        Path::new("/proc").join(self.holder.id().to_string()).join("root").join(path.strip_prefix("/").unwrap())
    }

    /// What the tree has that the machine has not, or not so, or no more, as lines: a letter for its kind (find(1), `%y`; `c` is
    /// what is gone), and the path.
    pub(crate) fn changes(&self) -> BTreeSet<String> {
        let mut changes = BTreeSet::new();
        for (folder, place) in [(self.root.with_file_name("upper"), ""), (self.root.join("run"), "run/")] {
            let output = Command::new("find").arg(self.seen_by_holder(&folder)).args(["-mindepth", "1", "-printf", "%y %P\\n"]).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            for line in String::from_utf8(output.stdout).unwrap().lines() {
                let (kind, path) = line.split_once(' ').unwrap();
                // A folder in which something has changed is in the upper layer, too.
                let is_machines = kind == "d" && place.is_empty() && Path::new("/").join(path).is_dir();
                if !is_machines {
                    changes.insert(format!("{kind} /{place}{path}"));
                }
            }
        }
        changes
    }

    /// Writes a file that may be run.
    pub(crate) fn write_program(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// What a shell script ends with in the tree, and says.
    pub(crate) fn run(&self, script: &str) -> Output {
        let mut command = Command::new("nsenter");
        command.arg("--mount").arg("--target").arg(self.holder.id().to_string());
        command.arg("chroot").arg(&self.root).args(["/bin/sh", "-euc", script]);
        command
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// What a shell script says, both streams; it must end well.
    #[track_caller]
    pub(crate) fn say(&self, script: &str) -> String {
        let output = self.run(script);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script}\n{}: {said}", output.status);
        said
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait(); // an error means that it has gone
    }
}
