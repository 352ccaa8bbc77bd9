//! The fuzzer for [`replyfleet_fuzz::parse`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| replyfleet_fuzz::parse(data));
