//! Programs that make pages: each is asked for something that only it can answer.
