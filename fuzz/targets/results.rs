//! The fuzzer for [`replyfleet_fuzz::results`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| replyfleet_fuzz::results(data));
