//! What real wsgiref was seen to do, compared with what this library does.
//!
//! `tests/fixtures/oracle/*.json` holds recorded cases, in sections. One line of the table below makes one test of one
//! section: it gives the function that runs a case.
//!
//! To add a section: take its line out of `WAITING`, add one to the table, and write a `fn(&Case) -> Checked`.
//! * [`fixture`]: [`Case`](fixture::Case), its inputs (`case.get("environ")`) and what was recorded (`case.expect()`).
//! * [`convert`]: recorded values to the library's types and back. A value that the library's types cannot hold gives
//!   `Verdict::Impossible`; `?` hands it on.
//! * [`run`]: `Verdict` (pass, fail, impossible), `equal(what, ours, recorded)?`, and `run_section`, which calls the
//!   function with every case, listed or not, and fails unless each verdict is the one that the lists want.
//! * [`lists`]: the cases that are not expected to pass, each by a rule and with a reason. An entry that matches no
//!   case, or a case that passes after all, fails the section, so the lists cannot rot.

use std::collections::BTreeSet;

pub(crate) use handlers::warnings;

mod classes;
mod convert;
mod environ;
mod fixture;
mod handlers;
mod headers;
mod lists;
mod run;
mod simple_server;
mod util;
mod validate;

/// One test per recorded section, and the list of the sections that have one.
macro_rules! sections {
    ($($(#[$only:meta])* $test:ident: $file:literal / $section:literal => $run:expr;)*) => {
        $(
            #[test]
            $(#[$only])*
            fn $test() {
                run::run_section($file, $section, &lists::LISTS, $run);
            }
        )*
        const TESTED: &[&str] = &[$(concat!($file, "/", $section)),*];
    };
}

sections! {
    guess_scheme: "guess_scheme" / "guess_scheme" => util::guess_scheme;
    is_hop_by_hop: "is_hop_by_hop" / "is_hop_by_hop" => util::is_hop_by_hop;
    request_uri: "request_uri" / "request_uri" => util::request_uri;
    quote_bytes: "request_uri" / "quote_bytes" => util::quote_bytes;
    shift_path_info: "shift_path_info" / "shift_path_info" => util::shift_path_info;
    shift_path_walk: "shift_path_info" / "shift_path_walk" => util::shift_path_walk;
    setup_testing_defaults:
        "setup_testing_defaults" / "setup_testing_defaults" => util::setup_testing_defaults;
    file_wrapper: "file_wrapper" / "file_wrapper" => util::file_wrapper;
    format_date_time: "format_date_time" / "format_date_time" => util::format_date_time;
    headers_collection: "headers" / "headers" => headers::collection;
    headers_dynamic: "headers" / "headers_dynamic" => headers::dynamic;
    #[cfg(unix)]
    read_environ_posix: "read_environ" / "read_environ_posix" => environ::posix();
    read_environ_windows: "read_environ" / "read_environ_windows" => environ::windows;
    class_attributes: "class_attributes" / "class_attributes" => classes::attributes;
    iis_path_info: "iis_path_info" / "iis_path_info" => classes::iis_path_info;
    simple_server: "simple_server" / "simple_server" => simple_server::connection;
    demo_app: "simple_server" / "demo_app" => classes::demo;
    handler_runs: "handler_runs" / "handler_runs" => handlers::runs;
    handler_reuse: "handler_runs" / "handler_reuse" => handlers::reuse;
    validate: "validate" / "validate" => validate::case;
    needs_transcode: "read_environ" / "needs_transcode" => environ::needs_transcode;
}

/// Sections about parts of wsgiref that the library does not have yet.
const WAITING: &[&str] = &[];

#[test]
fn every_recorded_section_has_its_test_or_waits() {
    let known: BTreeSet<&str> = TESTED.iter().chain(WAITING).copied().collect();
    assert_eq!(known.len(), TESTED.len() + WAITING.len(), "a section stands in the table twice");
    let recorded: BTreeSet<&str> = fixture::recorded().keys().map(String::as_str).collect();
    assert_eq!(known, recorded);
}

#[test]
fn every_list_entry_matches_a_recorded_case() {
    let stale: Vec<&str> =
        lists::LISTS.entries().filter(|(_, entry)| !entry.is_used()).map(|(_, entry)| entry.rule).collect();
    assert_eq!(stale, [""; 0], "these entries match no case");
}
