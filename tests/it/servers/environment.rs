//! The environment as the workbench shows it.

use std::collections::BTreeMap;

use percent_encoding::percent_decode;

/// Variables by their names, byte for byte.
#[derive(Debug)]
pub(crate) struct Environment(BTreeMap<Vec<u8>, Vec<u8>>);

impl Environment {
    #[track_caller]
    pub(crate) fn parse(body: &[u8]) -> Self {
        let mut variables = BTreeMap::new();
        let body = body.strip_suffix(b"\n").expect("whole lines");
        for line in body.split(|byte| *byte == b'\n') {
            let equals = line.iter().position(|byte| *byte == b'=').expect("NAME=value");
            let decode = |text: &[u8]| percent_decode(text).collect::<Vec<u8>>();
            let earlier = variables.insert(decode(&line[..equals]), decode(&line[equals + 1..]));
            assert_eq!(earlier, None, "twice: {}", line.escape_ascii());
        }
        Self(variables)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name.as_bytes()).map(Vec::as_slice)
    }

    /// Panics unless the variable is there and has this value.
    #[track_caller]
    pub(crate) fn expect(&self, name: &str, value: impl AsRef<[u8]>) {
        let shown = self.get(name).map(|value| value.escape_ascii().to_string());
        assert_eq!(shown, Some(value.as_ref().escape_ascii().to_string()), "{name}");
    }

    /// Panics unless these are all the variables there are; the value `*` stands for any.
    #[track_caller]
    pub(crate) fn expect_all(&self, expected: &[(&str, String)]) {
        let shown: BTreeMap<String, String> = self
            .0
            .iter()
            .map(|(name, value)| (name.escape_ascii().to_string(), value.escape_ascii().to_string()))
            .collect();
        let expected: BTreeMap<String, String> = expected
            .iter()
            .map(|(name, value)| {
                let any = value == "*" && shown.contains_key(*name);
                let value = if any { shown[*name].clone() } else { value.clone() };
                ((*name).to_owned(), value)
            })
            .collect();
        assert_eq!(shown, expected);
    }
}
