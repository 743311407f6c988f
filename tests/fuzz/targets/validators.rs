//! Fuzzes `catraca_tests::fuzz`: the target of the same name.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| catraca_tests::fuzz::run("validators", data));
