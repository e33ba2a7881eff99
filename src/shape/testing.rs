//! Holds a reader and its [`Shape`] against each other.

use serde_json::json;
use toml::{Table, Value};

use super::{Holds, Key, Shape, json_schema};

/// A schema that answers.
pub(crate) struct Judge(jsonschema::Validator);

impl Judge {
    pub(crate) fn new(shape: &Shape) -> Self {
        Self(jsonschema::draft202012::new(&json_schema("a file", shape)).unwrap())
    }

    /// Says whether the schema takes a text; `None` where it is no TOML, which no schema sees.
    pub(crate) fn takes(&self, text: &str) -> Option<bool> {
        let table: Table = text.parse().ok()?;
        Some(self.0.is_valid(&as_json(&Value::Table(table))))
    }

    /// Says what is wrong where the reader, which said `read`, and the schema differ. The reader
    /// may refuse more: what holds one of `unsayable` in its message is no structure.
    pub(crate) fn contradicts(
        &self,
        text: &str,
        read: Result<(), String>,
        unsayable: &[&str],
    ) -> Option<String> {
        match (self.takes(text)?, read) {
            (true, Err(said)) if !unsayable.iter().any(|known| said.contains(known)) => {
                Some(format!("the schema takes, the reader says {said}:\n{text}"))
            }
            (false, Ok(())) => Some(format!("the reader takes, the schema does not:\n{text}")),
            _ => None,
        }
    }
}

/// Turns TOML into JSON as editors do: a date becomes text.
fn as_json(value: &Value) -> serde_json::Value {
    match value {
        Value::String(text) => json!(text),
        Value::Integer(number) => json!(number),
        Value::Float(number) => json!(number),
        Value::Boolean(is) => json!(is),
        Value::Datetime(when) => json!(when.to_string()),
        Value::Array(list) => list.iter().map(as_json).collect(),
        Value::Table(table) => {
            let pairs = table
                .iter()
                .map(|(key, value)| (key.clone(), as_json(value)));
            serde_json::Value::Object(pairs.collect())
        }
    }
}

/// Values that are wrong for most keys, and right for some.
fn odd_values() -> Vec<Value> {
    let texts = [
        "", " ", "x", "X y", "-x", "/a/../b", "a/b", "7", "40%", "rest", "1GiB", "a\nb",
    ];
    let mut values: Vec<Value> = texts.map(Value::from).to_vec();
    values.extend([-1, 0, 1, 512, 1_i64 << 40].map(Value::from));
    values.extend([Value::from(true), Value::from(1.5)]);
    values.push(Value::Datetime("2027-01-31".parse().unwrap()));
    values.push(Value::Array(Vec::new()));
    values.push(Value::Array(vec![Value::from("x"), Value::from("x")]));
    values.push(Value::Array(vec![Value::from(7)]));
    values.push(Value::Table(Table::new()));
    values.push(Value::Table(Table::from_iter([(
        "zzz".to_owned(),
        Value::from(1),
    )])));
    values
}

/// Returns every text that differs from a good one in one place: a key that is missing, unknown or
/// holds something odd, an element that is odd or there twice.
pub(crate) fn mutants(text: &str) -> Vec<String> {
    let root: Table = text.parse().unwrap();
    let mut found = Vec::new();
    of_table(&root, &mut |table| {
        found.push(toml::to_string(&table).unwrap())
    });
    found
}

fn of_value(value: &Value, put: &mut dyn FnMut(Value)) {
    odd_values().into_iter().for_each(&mut *put);
    match value {
        Value::Table(table) => of_table(table, &mut |table| put(Value::Table(table))),
        Value::Array(list) => {
            for (at, item) in list.iter().enumerate() {
                let with = |items: &[Value]| {
                    let mut changed = list.clone();
                    changed.splice(at..=at, items.iter().cloned());
                    Value::Array(changed)
                };
                put(with(&[]));
                put(with(&[item.clone(), item.clone()]));
                of_value(item, &mut |item| put(with(&[item])));
            }
        }
        _ => {}
    }
}

fn of_table(table: &Table, put: &mut dyn FnMut(Table)) {
    let mut more = table.clone();
    more.insert("zzz".to_owned(), Value::from("x"));
    put(more);
    for (key, value) in table {
        let mut less = table.clone();
        less.remove(key);
        put(less);
        of_value(value, &mut |value| {
            let mut changed = table.clone();
            changed.insert(key.clone(), value);
            put(changed);
        });
    }
}

/// Returns the dotted keys of a shape that none of the texts gives.
pub(crate) fn unused(shape: &Shape, texts: &[&str]) -> Vec<String> {
    let tables: Vec<Value> = texts
        .iter()
        .map(|text| Value::Table(text.parse().unwrap()))
        .collect();
    let mut found = Vec::new();
    of_keys(
        shape.keys,
        "",
        &tables.iter().collect::<Vec<_>>(),
        &mut found,
    );
    found
}

fn of_keys(keys: &[Key], above: &str, tables: &[&Value], found: &mut Vec<String>) {
    for Key { name, holds, .. } in keys {
        let dotted = format!("{above}{name}");
        let values: Vec<&Value> = tables.iter().filter_map(|table| table.get(name)).collect();
        match values.is_empty() {
            true => found.push(dotted),
            false => of_holds(holds, &format!("{dotted}."), &values, found),
        }
    }
}

fn of_holds(holds: &Holds, above: &str, values: &[&Value], found: &mut Vec<String>) {
    match holds {
        Holds::Table(shape) => {
            let tables: Vec<&Value> = values.iter().copied().filter(|v| v.is_table()).collect();
            of_keys(shape.keys, above, &tables, found);
        }
        Holds::List(list) => {
            let items: Vec<&Value> = values
                .iter()
                .filter_map(|v| v.as_array())
                .flatten()
                .collect();
            of_holds(&list.of, above, &items, found);
        }
        Holds::Map(map) => {
            let tables = values.iter().filter_map(|value| value.as_table());
            let inner: Vec<&Value> = tables.flat_map(|table| table.values()).collect();
            of_holds(&map.value, above, &inner, found);
            of_keys(map.named, above, values, found);
        }
        Holds::Either(choices) => {
            for choice in *choices {
                of_holds(choice, above, values, found);
            }
        }
        _ => {}
    }
}
