//! The fuzzer for [`replyfleet_fuzz::catalogue`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| replyfleet_fuzz::catalogue(data));
