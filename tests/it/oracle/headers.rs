//! The cases of `wsgiref.headers`.

use std::collections::HashMap;
use std::marker::PhantomData;

use gatewright::headers::{HeaderError, Headers, check_name};
use serde_json::{Value, json};

use super::convert::{hex, latin1, list, native, optional_native, pairs, text};
use super::fixture::Case;
use super::run::{Checked, equal, fail, impossible, same};

/// Operations on one collection: each result, and what is in it at the end.
pub(crate) fn collection(case: &Case) -> Checked {
    let recorded = case.expect();
    let mut headers = match constructed(case.get("init"))? {
        Ok(headers) => headers,
        Err(error) => return same("the constructor", kind(&error), &recorded["constructor_error"]["type"]),
    };
    let mut ours = Vec::new();
    for operation in list(case.get("ops"))? {
        ours.push(match operate(&mut headers, operation)? {
            Ok(value) => json!({"ok": value}),
            Err(error) => json!({"error": kind(&error)}),
        });
    }
    let results = list(&recorded["results"])?.iter().map(without_message).collect();
    same("the results", ours, &results)?;
    same("the end", items(&headers), &recorded["final"])
}

fn constructed(init: &Value) -> Checked<Result<Headers, HeaderError>> {
    if init.is_null() { Ok(Ok(Headers::new())) } else { Ok(Headers::try_from_pairs(pairs(init)?)) }
}

/// Both kinds of our error are one to wsgiref.
fn kind(error: &HeaderError) -> &'static str {
    match error {
        HeaderError::Name(_) | HeaderError::Value(_) => "ValueError",
        _ => "an error that wsgiref does not have",
    }
}

fn without_message(result: &Value) -> Value {
    let kind = &result["error"]["type"];
    if kind.is_null() { result.clone() } else { json!({"error": kind}) }
}

fn operate(headers: &mut Headers, operation: &Value) -> Checked<Result<Value, HeaderError>> {
    let name = operation[0].as_str().unwrap_or_default();
    match name {
        "get" | "getitem" | "contains" | "get_all" | "del" => look_up(headers, name, operation),
        "set" | "setdefault" | "add" => store(headers, name, operation),
        _ => whole(headers, name).map(Ok),
    }
}

/// Operations on the collection as it is.
fn whole(headers: &Headers, operation: &str) -> Checked<Value> {
    Ok(match operation {
        "len" => json!(headers.len()),
        "keys" => headers.keys().map(latin1).collect(),
        "values" => headers.values().map(latin1).collect(),
        "items" => items(headers),
        "bytes" => json!({"hex": hex(&headers.to_bytes())}),
        "str" => json!(headers.to_string()),
        "repr" => json!(format!("{headers:?}")),
        other => return fail(format!("nobody knows the operation {other:?}")),
    })
}

/// Operations that take a name only. Ours find nothing by a bad name; the check beside them is wsgiref's.
fn look_up(headers: &mut Headers, operation: &str, args: &Value) -> Checked<Result<Value, HeaderError>> {
    let name = native(&args[1])?;
    if let Err(error) = check_name(&name) {
        equal("what a bad name finds", headers.contains(&name), false)?;
        equal("what a bad name finds", headers.get_all(&name).count(), 0)?;
        return Ok(Err(error));
    }
    let default = optional_native(&args[2])?;
    Ok(Ok(match operation {
        "contains" => json!(headers.contains(&name)),
        "get_all" => headers.get_all(&name).map(latin1).collect(),
        "del" => {
            headers.remove(&name);
            Value::Null
        }
        _ => text(headers.get(&name).or(default.as_deref())),
    }))
}

/// Operations that store a value.
fn store(headers: &mut Headers, operation: &str, args: &Value) -> Checked<Result<Value, HeaderError>> {
    let name = native(&args[1])?;
    if operation == "add" {
        let params: Checked<Vec<_>> = list(&args[3])?
            .iter()
            .map(|param| Ok((native(&param[0])?, optional_native(&param[1])?)))
            .collect();
        let added = headers.add_header_with(name, optional_native(&args[2])?, params?);
        return Ok(added.map(|()| Value::Null));
    }
    let value = native(&args[2])?;
    Ok(match operation {
        "set" => headers.set(name, value).map(|()| Value::Null),
        _ => headers.set_default(name, value).map(|value| json!(latin1(value))),
    })
}

fn items(headers: &Headers) -> Value {
    headers.iter().map(|(name, value)| json!([latin1(name), latin1(value)])).collect()
}

/// Cases that hand Python objects over. What the compiler refuses is impossible; should it begin to accept one of
/// these types, that case becomes a failure.
pub(crate) fn dynamic(case: &Case) -> Checked {
    let argument = case.get("constructor_argument").as_str().or(case.get("op").as_str());
    let compiles = match argument.unwrap_or_default() {
        "items() is a copy" => return items_are_a_copy(case),
        "string" => Constructor::<&str>::COMPILES,
        "tuple" => Constructor::<((&str, &str),)>::COMPILES,
        "dict" => Constructor::<HashMap<&str, &str>>::COMPILES,
        "int value" => Constructor::<Vec<(&str, i32)>>::COMPILES,
        "list item" => Constructor::<Vec<[&str; 2]>>::COMPILES,
        "zero" => Constructor::<i32>::COMPILES,
        "add int parameter" => Text::<i32>::COMPILES,
        "bytes name" | "bytes value" | "set bytes value" => {
            return impossible(
                "Python tells bytes from text; a native string is bytes here, and nothing else is",
            );
        }
        other => return impossible(format!("{other}: no such thing in Rust")),
    };
    if compiles { fail("this compiles") } else { impossible("this does not compile") }
}

/// A type that headers could be made of, and one that a name or value could be. An inherent constant exists only where
/// its bound holds, and goes before the trait's.
struct Constructor<T>(PhantomData<T>);
struct Text<T>(PhantomData<T>);

trait Refused {
    const COMPILES: bool = false;
}

impl<T> Refused for Constructor<T> {}
impl<T> Refused for Text<T> {}

impl<T> Constructor<T>
where
    Headers: From<T>,
{
    const COMPILES: bool = true;
}

impl<T: AsRef<[u8]>> Text<T> {
    const COMPILES: bool = true;
}

#[test]
fn what_compiles_is_found_out() {
    let pairs = Constructor::<Vec<(&str, &str)>>::COMPILES;
    let number = Constructor::<i32>::COMPILES;
    assert_eq!([pairs, number, Text::<&str>::COMPILES, Text::<i32>::COMPILES], [true, false, true, false]);
}

fn items_are_a_copy(case: &Case) -> Checked {
    let headers = Headers::try_from_pairs(pairs(&case.expect()["ok"])?);
    let Ok(headers) = headers else { return fail("these headers are good") };
    let mut copy: Vec<_> = headers.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    copy.reverse();
    copy.pop();
    same("the headers", items(&headers), &case.expect()["ok"])
}
