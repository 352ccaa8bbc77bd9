//! Gives the tests, and whatever they start, the credentials that an emulator of AWS takes: cargo sets a build script's
//! `rustc-env` for the tests that it runs, too. A test cannot do so itself: changing the environment of a process with
//! threads is unsafe code.

#![allow(clippy::print_stdout, reason = "this is how a build script speaks")]

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for (name, value) in [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_REGION", "us-east-1")] {
        println!("cargo::rustc-env={name}={value}");
    }
}
