#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatewright_fuzz::cgi_answer(data));
