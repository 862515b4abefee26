//! What is measured.

use std::fmt;

use answers::{HELLO, LINE, SINK};

use crate::protocol::{Ask, Fcgi, Http, Protocol, Scgi};

/// What a peer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    Fcgi,
    Scgi,
    Http,
    /// A program that is started for each request.
    Cgi,
}

impl Front {
    pub fn protocol(self) -> &'static dyn Protocol {
        match self {
            Front::Fcgi => &Fcgi,
            // A program's output is what comes back by SCGI.
            Front::Scgi | Front::Cgi => &Scgi,
            Front::Http => &Http,
        }
    }
}

impl fmt::Display for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Front::Fcgi => "fcgi",
            Front::Scgi => "scgi",
            Front::Http => "http",
            Front::Cgi => "cgi",
        })
    }
}

/// What a peer serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum App {
    /// The comparison's application, in whatever the peer is for.
    Own,
    /// CGI programs.
    Programs,
    /// Files.
    Files,
}

impl App {
    /// Before a protocol's name, where it is not the application that is served.
    pub fn prefix(self) -> &'static str {
        match self {
            App::Own => "",
            App::Programs => "programs by ",
            App::Files => "files by ",
        }
    }
}

/// Who is in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    Direct,
    Nginx,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// So many connections, each asking again and again.
    Load,
    /// So many whole answers, however long they take: for those that are large.
    Answers(u64),
    /// Programs, started one after the other.
    Spawn,
    /// So many idle kept connections, and 8 active ones.
    Idle,
    /// So many connections that send half a head: how late the time-out ends them.
    Lateness,
}

#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    pub front: Front,
    pub app: App,
    pub via: Via,
    /// Connections to the peer are kept. (Those to nginx always are.)
    pub keep: bool,
    pub connections: usize,
    pub ask: &'static Ask,
    pub measure: Measure,
}

pub static HELLO_12: Ask =
    Ask { name: "hello", path: "/hello", upload: 0, length: HELLO.len(), start: HELLO };
static PAGE_64K: Ask = Ask { name: "64k", path: "/64k", upload: 0, length: 64 << 10, start: LINE };
static FILE_10M: Ask = Ask { name: "10m", path: "/10m", upload: 0, length: 10 << 20, start: LINE };
static POST_1M: Ask = Ask { name: "post1m", path: SINK, upload: 1 << 20, length: 7, start: b"1048576" };

static PROGRAM: Ask = Ask { name: "program", path: "/hello", upload: 0, length: HELLO.len(), start: HELLO };
static SCRIPT: Ask = Ask { name: "script", path: "/script", upload: 0, length: HELLO.len(), start: HELLO };
static OUT_100M: Ask = Ask { name: "out100m", path: "/out100m", upload: 0, length: 100 << 20, start: LINE };
static IN_100M: Ask = Ask { name: "in100m", path: SINK, upload: 100 << 20, length: 9, start: b"104857600" };
static FILE_1K: Ask = Ask { name: "file1k", path: "/1k", upload: 0, length: 1 << 10, start: LINE };
static FILE_100K: Ask = Ask { name: "file100k", path: "/100k", upload: 0, length: 100 << 10, start: LINE };
static FILE_100M: Ask = Ask { name: "file100m", path: "/100m", upload: 0, length: 100 << 20, start: LINE };

/// All cases, in the order they are measured and shown.
pub fn all() -> Vec<Case> {
    use Front::{Cgi, Fcgi, Http, Scgi};
    use Via::{Direct, Nginx};
    let mut cases = Vec::new();
    let mut add = |via, front, keep, connections: &[usize], ask| {
        cases.extend(connections.iter().map(|connections| load(via, front, keep, *connections, ask)));
    };
    add(Direct, Fcgi, true, &[1, 8, 64, 256], &HELLO_12);
    add(Direct, Fcgi, false, &[1, 8, 64, 256], &HELLO_12);
    add(Direct, Fcgi, true, &[8, 64], &PAGE_64K);
    add(Direct, Fcgi, false, &[8], &PAGE_64K);
    add(Direct, Fcgi, true, &[8], &FILE_10M);
    add(Direct, Fcgi, true, &[8], &POST_1M);
    add(Direct, Scgi, false, &[1, 8, 64, 256], &HELLO_12);
    add(Direct, Scgi, false, &[8], &PAGE_64K);
    add(Direct, Scgi, false, &[8], &FILE_10M);
    add(Direct, Scgi, false, &[8], &POST_1M);
    add(Direct, Http, true, &[1, 8, 64], &HELLO_12);
    add(Nginx, Http, true, &[64], &HELLO_12);
    add(Nginx, Fcgi, true, &[64], &HELLO_12);
    add(Nginx, Fcgi, false, &[64], &HELLO_12);
    add(Nginx, Scgi, false, &[64], &HELLO_12);
    add(Nginx, Http, true, &[8], &PAGE_64K);
    add(Nginx, Fcgi, true, &[8], &PAGE_64K);
    add(Nginx, Fcgi, true, &[8], &POST_1M);
    cases.push(special("fcgi-idle-1000", 1000, Measure::Idle));
    cases.push(special("fcgi-lateness", 200, Measure::Lateness));
    let mut serve = |app, front, connections, ask, measure| {
        let keep = front == Http;
        cases.push(Case { app, measure, ..load(Direct, front, keep, connections, ask) });
    };
    for front in [Fcgi, Scgi, Http] {
        serve(App::Programs, front, 16, &PROGRAM, Measure::Load);
    }
    serve(App::Programs, Fcgi, 1, &PROGRAM, Measure::Load);
    for front in [Fcgi, Http] {
        serve(App::Programs, front, 16, &SCRIPT, Measure::Load);
        serve(App::Programs, front, 1, &OUT_100M, Measure::Answers(3));
        serve(App::Programs, front, 1, &IN_100M, Measure::Answers(3));
    }
    serve(App::Files, Http, 8, &FILE_1K, Measure::Load);
    serve(App::Files, Http, 8, &FILE_100K, Measure::Load);
    serve(App::Files, Http, 1, &FILE_100M, Measure::Answers(5));
    cases.push(Case {
        name: "cgi-spawn".to_owned(),
        measure: Measure::Spawn,
        ..load(Direct, Cgi, false, 1, &HELLO_12)
    });
    cases
}

fn load(via: Via, front: Front, keep: bool, connections: usize, ask: &'static Ask) -> Case {
    let through = if via == Via::Nginx { "nginx-" } else { "" };
    let kept = if keep { "kept" } else { "new" };
    let name = format!("{through}{front}-{kept}-{connections}-{}", ask.name);
    Case { name, front, app: App::Own, via, keep, connections, ask, measure: Measure::Load }
}

fn special(name: &str, connections: usize, measure: Measure) -> Case {
    let name = name.to_owned();
    Case { name, measure, ..load(Via::Direct, Front::Fcgi, true, connections, &HELLO_12) }
}

/// Whether a case's name fits a pattern, in which `*` stands for anything.
pub fn fits(name: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => name == pattern,
        Some((start, rest)) => match name.strip_prefix(start) {
            None => false,
            Some(after) => (0..=after.len()).any(|at| after.is_char_boundary(at) && fits(&after[at..], rest)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        assert!(fits("fcgi-kept-64-hello", "fcgi-kept-64-hello"));
        assert!(fits("fcgi-kept-64-hello", "fcgi-*-hello"));
        assert!(fits("fcgi-kept-64-hello", "*"));
        assert!(!fits("fcgi-kept-64-hello", "fcgi-kept-6"));
        assert!(!fits("nginx-fcgi-kept-64-hello", "fcgi-*"));
    }

    #[test]
    fn no_two_cases_have_one_name() {
        let mut names: Vec<String> = all().into_iter().map(|case| case.name).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
