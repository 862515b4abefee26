//! A block of names and values becomes a request's variables.

use super::Settings;
use crate::environ::{Collector, Vars};
use crate::error::Error;
use crate::proto::{NamedPair, PairPlaces};

/// Whether the request's parameters may be that many.
fn check_pairs(count: usize, settings: &Settings) -> Result<(), Error> {
    if count <= settings.max_pairs || settings.max_pairs == 0 {
        return Ok(());
    }
    let message = format!("the request has more than the {} parameters that are allowed", settings.max_pairs);
    Err(Error::new(crate::error::Fault::Peer, 431, message))
}

/// What is known of a request that was refused early: the answer to HEAD has no body, whatever it is, and the log shall say
/// what was refused.
const LINE: [&[u8]; 4] = [b"REQUEST_METHOD", b"REQUEST_URI", b"SERVER_PROTOCOL", b"REMOTE_ADDR"];

/// Turns a block of names and values into variables, which take its memory over. `next` gives the places of the pair at
/// a place that moves on, `named` those of one whose name is expected. Behind an error [what every request has](LINE) is
/// taken still.
pub(super) fn collect_pairs<E: From<Error>>(
    vars: &mut Vars,
    block: &mut Vec<u8>,
    settings: &Settings,
    next: impl Fn(&[u8], &mut usize) -> Option<Result<PairPlaces, E>>,
    named: impl Fn(&[u8], usize, &[u8]) -> Option<NamedPair>,
) -> Result<(), E> {
    let mut collector = Collector::over(vars, block);
    let most = if settings.max_pairs == 0 { usize::MAX } else { settings.max_pairs };
    let mut at = 0;
    let mut count = collector.follow(&mut at, most, named);
    loop {
        let here = at;
        let Some(pair) = next(collector.block(), &mut at) else { break };
        count += 1;
        let taken = check_pairs(count, settings).map_err(E::from).and_then(|()| {
            let (name, value) = pair?;
            Ok(collector.push_from_block(&name, &value)?)
        });
        if taken.is_err() {
            at = here;
            while let Some(Ok((name, value))) = next(collector.block(), &mut at) {
                if collector.block().get(name.clone()).is_some_and(|name| LINE.contains(&name)) {
                    collector.push_from_block(&name, &value)?;
                }
            }
            return taken;
        }
    }
    collector.finish();
    Ok(())
}

/// The same where the parameters were refused before any was taken.
pub(super) fn set_line<'p>(vars: &mut Vars, pairs: impl Iterator<Item = (&'p [u8], &'p [u8])>) {
    pairs.filter(|(name, _)| LINE.contains(name)).for_each(|(name, value)| vars.set(name, value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environ::{Known, sanitise};
    use crate::proto::{fcgi, scgi};

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn by_fcgi(vars: &mut Vars, pairs: Pairs<'_>) {
        let mut block = Vec::new();
        for (name, value) in pairs {
            fcgi::encode::pair(&mut block, name.as_bytes(), value.as_bytes()).unwrap();
        }
        let next = |block: &[u8], at: &mut usize| Some(fcgi::pair_at(block, at)?.map_err(Error::from));
        collect_pairs(vars, &mut block, &Settings::default(), next, fcgi::pair_named).unwrap();
    }

    fn by_scgi(vars: &mut Vars, pairs: Pairs<'_>) {
        let text: Vec<_> = pairs.iter().flat_map(|(name, value)| [*name, "\0", *value, "\0"]).collect();
        let mut block = text.concat().into_bytes();
        let next = |block: &[u8], at: &mut usize| Some(scgi::pair_at(block, at)?.map_err(Error::from));
        collect_pairs(vars, &mut block, &Settings::default(), next, scgi::pair_named).unwrap();
    }

    #[test]
    fn what_the_names_were_before_changes_nothing() {
        const LONG: &str = "HTTP_A_NAME_THAT_IS_LONGER_THAN_MOST_NAMES_ARE";
        let long_value = "v".repeat(300);
        let usual = [
            ("QUERY_STRING", ""),
            ("REQUEST_METHOD", "GET"),
            ("X", &long_value),
            ("HTTP_HOST", "h"),
            (LONG, "a"),
            ("HTTPS", "on"),
        ];
        let many: Vec<_> = (0..40).map(|n| (format!("N{n}"), n.to_string())).collect();
        let many: Vec<_> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let requests: &[Pairs<'_>] = &[
            &usual,
            &[("QUERY_STRING", "q"), ("REQUEST_METHOD", "POST"), ("X", ""), ("HTTP_HOST", "i"), (LONG, "")],
            &usual[..3],
            &[],
            &usual[2..],
            &[("QUERY_STRING", "1"), ("REQUEST_METHOD", "GET"), ("QUERY_STRING", "2"), ("X", "1")],
            &[("QUERY_STRING", ""), ("REQUEST_METHOD", "GET"), ("X", "1"), ("X", "2"), ("HTTP_HOST", "h")],
            &[("QUERY_STRING", ""), ("REQUEST_METHOD", "GET"), ("HTTP_HOST", "h"), ("HTTP_HOST", "i")],
            &[
                ("QUERY_STRING", ""),
                ("A=", ""),
                ("REQUEST_METHOD", "GET"),
                ("wsgi.x", "1"),
                ("HTTP_X-Y", "1"),
            ],
            &[("QUERY_STRING", ""), ("REQUEST_METHOD", "GET"), ("wsgi.x", "1"), ("HTTP_X-Y", "1")],
            &[("QUERY_STRING", ""), ("REQUEST_METHOD", "GET"), ("HTTP_X-Y", "1"), ("HTTP_X_Y", "2")],
            &many,
            &many[..20],
        ];
        for collect in [by_fcgi, by_scgi] {
            for (before, request) in
                requests.iter().flat_map(|one| requests.iter().map(move |two| (one, two)))
            {
                let (mut vars, mut fresh) = (Vars::new(), Vars::new());
                collect(&mut vars, before);
                collect(&mut vars, request);
                collect(&mut fresh, request);
                assert_eq!(vars, fresh, "after {before:?}");
                assert_eq!(vars.has_wsgi_names(), fresh.has_wsgi_names());
                for (name, _) in before.iter().chain(*request) {
                    assert_eq!(vars.get(name), fresh.get(name), "{name} after {before:?}");
                }
                for known in Known::ALL {
                    assert_eq!(vars.known(known), fresh.known(known));
                }
                sanitise(&mut vars);
                sanitise(&mut fresh);
                assert_eq!(vars, fresh, "after {before:?}");
            }
        }
    }

    #[test]
    fn the_names_of_the_request_before_count_too() {
        let mut vars = Vars::new();
        let settings = Settings { max_pairs: 2, ..Settings::default() };
        for (names, taken) in [("AB", true), ("AB", true), ("ABC", false), ("AB", true), ("ABC", false)] {
            let mut block = Vec::new();
            for name in names.bytes() {
                fcgi::encode::pair(&mut block, &[name], b"").unwrap();
            }
            let next = |block: &[u8], at: &mut usize| Some(fcgi::pair_at(block, at)?.map_err(Error::from));
            let result = collect_pairs(&mut vars, &mut block, &settings, next, fcgi::pair_named);
            assert_eq!(result.map_err(|error| error.status()).err(), (!taken).then_some(431));
        }
    }
}
