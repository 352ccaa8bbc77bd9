//! The fuzzer for [`replyfleet_fuzz::envelope`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| replyfleet_fuzz::envelope(data));
