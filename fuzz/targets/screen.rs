//! The fuzzer for [`replyfleet_fuzz::screen`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| replyfleet_fuzz::screen(data));
