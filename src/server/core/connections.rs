//! The connections that are parked, or that a thread waits for.

use std::io;
use std::sync::{Arc, Mutex};

use super::{Session, lock};
use crate::server::clock::Millis;
use crate::server::ready::Token;

/// Places, each with the number of its present use: a token of an earlier one finds nothing.
#[derive(Default)]
pub(in crate::server) struct Connections(Mutex<Places>);

#[derive(Default)]
struct Places {
    places: Vec<Place>,
    free: Vec<usize>,
}

struct Place {
    /// Never 0, so that no token is.
    generation: u32,
    session: Option<Arc<dyn Session>>,
}

const INDEX_BITS: u32 = 31;

fn token(index: usize, generation: u32) -> Token {
    (Token::from(generation) << INDEX_BITS) | index as Token
}

impl Connections {
    pub(in crate::server) fn insert(&self, session: Arc<dyn Session>) -> io::Result<Token> {
        let places = &mut *lock(&self.0);
        let index = match places.free.pop() {
            Some(index) => index,
            None if places.places.len() >= 1 << INDEX_BITS => {
                return Err(io::Error::other("too many connections"));
            }
            None => {
                places.places.push(Place { generation: 0, session: None });
                places.places.len() - 1
            }
        };
        let Some(place) = places.places.get_mut(index) else { return Err(io::ErrorKind::OutOfMemory.into()) };
        place.generation = if place.generation == u32::MAX { 1 } else { place.generation + 1 };
        place.session = Some(session);
        Ok(token(index, place.generation))
    }

    pub(super) fn get(&self, wanted: Token) -> Option<Arc<dyn Session>> {
        let places = lock(&self.0);
        let index = (wanted & ((1 << INDEX_BITS) - 1)) as usize;
        let place = places.places.get(index)?;
        (token(index, place.generation) == wanted).then(|| place.session.clone())?
    }

    pub(in crate::server) fn remove(&self, wanted: Token) {
        let index = (wanted & ((1 << INDEX_BITS) - 1)) as usize;
        let mut places = lock(&self.0);
        let Some(place) = places.places.get_mut(index) else { return };
        if token(index, place.generation) != wanted {
            return;
        }
        let gone = place.session.take();
        if gone.is_some() {
            places.free.push(index);
        }
        // Its end may want to look at the connections itself.
        drop(places);
        drop(gone);
    }

    /// Calls `look` with each connection. It must not add or remove any.
    pub(super) fn for_each(&self, mut look: impl FnMut(&dyn Session)) {
        let sessions: Vec<_> =
            lock(&self.0).places.iter().filter_map(|place| place.session.clone()).collect();
        sessions.iter().for_each(|session| look(&**session));
    }

    pub(super) fn longest_idle(&self) -> Option<Arc<dyn Session>> {
        let places = lock(&self.0);
        let idle = |session: &Arc<dyn Session>| -> Option<(Millis, Arc<dyn Session>)> {
            let since = session.link().idle_since();
            (since > 0 && !session.link().is_evicted()).then(|| (since, Arc::clone(session)))
        };
        let sessions = places.places.iter().filter_map(|place| place.session.as_ref());
        sessions.filter_map(idle).min_by_key(|(since, _)| *since).map(|(_, session)| session)
    }
}
