//! The fuzz targets with every input that was kept: the corpus, recorded from web servers for the most part, and what
//! once failed.

#[allow(unreachable_pub, reason = "it is a library for libFuzzer")]
#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::path::Path;

use gatewright::proto::{fcgi, scgi};

#[test]
fn every_input_that_was_kept_holds() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    for (name, target) in targets::TARGETS {
        let mut inputs = 0;
        for kind in ["corpus", "crashes"] {
            let folder = fuzz.join(kind).join(name);
            for entry in fs::read_dir(&folder).expect("a folder for each target") {
                let path = entry.expect("an entry").path();
                let data = fs::read(&path).expect("a file");
                let holds = std::panic::catch_unwind(|| target(&data));
                assert!(holds.is_ok(), "{} does not hold: see the panic above", path.display());
                inputs += 1;
            }
        }
        assert!(inputs > 1, "{name} has no corpus");
        target(b"");
    }
    targets::clean_up();
}

/// Each target is a program for libFuzzer too.
#[test]
fn every_target_is_a_program() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).expect("a manifest");
    for (name, _) in targets::TARGETS {
        let program = fs::read_to_string(fuzz.join(format!("fuzz_targets/{name}.rs"))).expect("a program");
        assert!(program.contains(&format!("gatewright_fuzz::{name}(data)")), "{name}");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
    let programs = fs::read_dir(fuzz.join("fuzz_targets")).expect("a folder").count();
    assert_eq!(programs, targets::TARGETS.len());
}

/// What web servers sent, of the inputs that were kept for a target.
fn recorded(target: &str) -> Vec<(String, Vec<u8>)> {
    const SERVERS: [&str; 6] = ["apache", "caddy", "h2o", "haproxy-request", "lighttpd", "nginx"];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let all = fs::read_dir(folder).expect("a corpus").map(|entry| entry.expect("an entry"));
    let named = all.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()));
    let from_servers = named.filter(|(name, _)| SERVERS.iter().any(|server| name.starts_with(server)));
    from_servers.map(|(name, path)| (name, fs::read(path).expect("a file"))).collect()
}

/// How many requests are whole in these bytes, each finished as it is; the connection goes on behind it.
fn whole_requests(wire: &[u8]) -> usize {
    let (mut decoder, mut input, mut whole) = (fcgi::Decoder::new(1), wire, 0);
    while let Some(event) = decoder.decode(&mut input).expect("what a web server sends") {
        if let fcgi::Event::StdinEnd { id } = event {
            assert_eq!(decoder.phase(id), Some(fcgi::Phase::Whole));
            assert!(decoder.finish(id));
            whole += 1;
        }
    }
    whole
}

#[test]
fn a_recorded_request_is_whole_with_its_last_byte_only() {
    let requests = recorded("fcgi_decoder");
    assert!(requests.len() >= 15, "all web servers are there");
    for (name, wire) in requests {
        // Padding may follow the last record's header.
        let end = (0..=wire.len()).find(|cut| whole_requests(&wire[..*cut]) == 1).expect("a whole request");
        assert!(wire.len() - end < 8, "{name}: {} bytes behind its end", wire.len() - end);
        assert_eq!(whole_requests(&[&wire[..], &wire].concat()), 2, "{name}: and another behind it");
    }
}

#[test]
fn a_recorded_scgi_head_is_whole_with_its_last_byte_only() {
    let requests = recorded("scgi_head");
    assert!(requests.len() >= 7, "all web servers are there");
    for (name, wire) in requests {
        let decode = |wire: &[u8]| {
            let (mut decoder, mut head, mut input) = (scgi::HeadDecoder::new(4000), Vec::new(), wire);
            let whole = decoder.decode(&mut input, &mut head).expect("what a web server sends");
            assert_eq!(decoder.end_of_input() == Ok(scgi::EndOfInput::Whole), whole);
            whole.then(|| (head, input.to_vec()))
        };
        let (head, body) = decode(&wire).expect("a whole head");
        let length = scgi::check(&head).expect("a request");
        assert_eq!(body.len() as u64, length, "{name}");
        for cut in 0..wire.len() - body.len() {
            assert_eq!(decode(&wire[..cut]), None, "{name}, cut at {cut}");
        }
        let (same, behind) = decode(&[&wire[..], b"more"].concat()).expect("a whole head");
        assert_eq!((same, behind), (head, [&body[..], b"more"].concat()), "{name}");
    }
}
