//! The fuzzer for [`replyfleet_fuzz::settings`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| replyfleet_fuzz::settings(data));
