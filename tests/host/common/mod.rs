// SPDX-License-Identifier: GPL-2.0

//! Images for the host tests, made by e2fsprogs while the test runs.
//!
//! ```ignore
//! mod common;
//! let img = common::mkfs(&["-b", "1024", "-O", "^metadata_csum"], "16M");
//! common::debugfs(&img, &["write /etc/hostname name", "mkdir dir"]);
//! let bytes = img.bytes();
//! ```
//!
//! Nothing here skips: a machine without e2fsprogs fails the tests.

#![allow(dead_code)] // Every test binary uses another part of this.

use std::ffi::OsStr;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A file in the temporary directory that goes away with the value.
#[derive(Debug)]
pub struct Image(PathBuf);

impl Image {
    /// A new, empty file; `suffix` only helps to recognise it.
    pub fn empty(suffix: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("rext4-test-{}-{n}.{suffix}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::File::create(&path).expect("create a temporary file");
        Self(path)
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The whole image.
    pub fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.0).expect("read the image")
    }

    /// Overwrites bytes at `offset`.
    pub fn poke(&self, offset: u64, bytes: &[u8]) {
        let mut file = std::fs::File::options()
            .write(true)
            .open(&self.0)
            .expect("open the image");
        file.seek(SeekFrom::Start(offset))
            .expect("seek in the image");
        file.write_all(bytes).expect("write to the image");
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl AsRef<Path> for Image {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl AsRef<OsStr> for Image {
    fn as_ref(&self) -> &OsStr {
        self.0.as_os_str()
    }
}

/// e2fsprogs is in sbin, which is not in everybody's PATH.
pub fn tool(name: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = dirs.map(|dir| dir.join(name)).find(|file| file.is_file());
    let mut command = Command::new(found.unwrap_or_else(|| panic!("{name} is not installed")));
    // e2fsprogs' messages are compared and parsed.
    command
        .env("LC_ALL", "C")
        .env("MKE2FS_SKIP_PROGRESS", "true");
    command
}

/// Runs a command to its end and returns its standard output; panics unless it succeeds.
pub fn run(command: &mut Command) -> String {
    let out = command.output().expect("start a command");
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(
        out.status.success(),
        "{command:?}: {}\n{stderr}",
        out.status
    );
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// `mkfs.ext4 -q -F <args> <image> <size>`; `size` as in `64M`, or empty where `args` give it.
///
/// `-E revision=0` is done here: e2fsprogs 1.47.2 has the option and refuses it whatever the
/// features are. It stands for no feature at all, in which the revisions differ by the number only.
pub fn mkfs(args: &[&str], size: &str) -> Image {
    let img = Image::empty("img");
    let mut command = tool("mkfs.ext4");
    let old = args.contains(&"revision=0");
    command.args(["-q", "-F"]);
    if old {
        command.args(["-I", "128"]);
    }
    command
        .args(
            args.iter()
                .filter(|arg| !(old && matches!(**arg, "-E" | "revision=0"))),
        )
        .arg(&img);
    if !size.is_empty() {
        command.arg(size);
    }
    run(&mut command);
    if old {
        debugfs(&img, &["set_super_value rev_level 0"]);
    }
    img
}

/// Runs debugfs commands on the image, for writing, and returns what they print (with a
/// `debugfs: <command>` line before each). Panics if debugfs reports an error.
pub fn debugfs(img: &Image, commands: &[&str]) -> String {
    let mut child = tool("debugfs")
        .args(["-w", "-f", "-"])
        .arg(img)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start debugfs");
    let script = commands.join("\n") + "\n";
    // In a thread: debugfs may fill its output pipe before it has read all commands.
    let mut stdin = child.stdin.take().expect("debugfs' standard input");
    let writer = std::thread::spawn(move || stdin.write_all(script.as_bytes()));
    let out = child.wait_with_output().expect("run debugfs");
    writer.join().expect("writer").expect("write to debugfs");
    let stderr = String::from_utf8_lossy(&out.stderr);
    // Its exit status says nothing; its first line on stderr is the version.
    let errors: Vec<_> = stderr
        .lines()
        .filter(|l| !l.starts_with("debugfs 1."))
        .collect();
    assert!(
        out.status.success() && errors.is_empty(),
        "debugfs {commands:?}: {errors:#?}"
    );
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// `dumpe2fs <image>`: superblock and groups as text.
pub fn dumpe2fs(img: &Image) -> String {
    run(tool("dumpe2fs").arg(img))
}

/// The value of a `Name:   value` line of `dumpe2fs` or of debugfs' `stats`.
pub fn field<'a>(dump: &'a str, name: &str) -> Option<&'a str> {
    dump.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
}
