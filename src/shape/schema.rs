//! A [`Shape`] as JSON Schema, draft 2020-12, for editors and other programs.
//!
//! A value that a schema refuses is refused by the reader too. The other way round a schema cannot
//! say everything: what depends on other files, on other values, or on the numbers in them.

use serde_json::{Map as Object, Value, json};

use super::{Holds, Key, Rule, Shape, Word};

/// Returns the schema of a whole file.
pub fn json_schema(title: &str, shape: &Shape) -> Value {
    let mut schema = table(shape);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!(title);
    schema
}

fn table(shape: &Shape) -> Value {
    let needed: Vec<&str> = shape
        .keys
        .iter()
        .filter(|key| key.is_needed)
        .map(|key| key.name)
        .collect();
    let mut schema = json!({
        "type": "object",
        "description": shape.doc,
        "properties": properties(shape.keys),
        "additionalProperties": false,
    });
    if !needed.is_empty() {
        schema["required"] = json!(needed);
    }
    if !shape.rules.is_empty() {
        schema["allOf"] = shape.rules.iter().map(rule).collect();
    }
    schema
}

fn properties(keys: &[Key]) -> Object<String, Value> {
    keys.iter()
        .map(|key| (key.name.to_owned(), property(key)))
        .collect()
}

fn property(key: &Key) -> Value {
    let mut schema = value(&key.holds);
    // The key says what this table is for; the shape says it where the table is used twice.
    schema["description"] = json!(key.doc);
    schema
}

fn value(holds: &Holds) -> Value {
    match holds {
        Holds::Text => json!({ "type": "string" }),
        Holds::Word(word) => text(*word),
        Holds::Choice(words) => json!({ "type": "string", "enum": words }),
        Holds::Boolean => json!({ "type": "boolean" }),
        Holds::Integer(least, most) => {
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        Holds::Number(numbers) => json!({ "type": "integer", "enum": numbers }),
        // What reads TOML for a schema hands dates over as text.
        Holds::Day => json!({
            "type": "string",
            "format": "date",
            "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
        }),
        Holds::List(list) => {
            let mut schema = json!({ "type": "array", "items": value(&list.of) });
            if list.least > 0 {
                schema["minItems"] = json!(list.least);
            }
            if list.is_set {
                schema["uniqueItems"] = json!(true);
            }
            schema
        }
        Holds::Table(shape) => table(shape),
        Holds::Map(map) => json!({
            "type": "object",
            "propertyNames": { "pattern": map.key.pattern },
            "properties": properties(map.named),
            "additionalProperties": value(&map.value),
        }),
        Holds::Either(choices) => {
            json!({ "anyOf": choices.iter().map(value).collect::<Vec<_>>() })
        }
    }
}

fn text(word: Word) -> Value {
    json!({ "type": "string", "pattern": word.pattern })
}

fn rule(rule: &Rule) -> Value {
    let all = |keys: &[&str]| json!({ "required": keys });
    match rule {
        Rule::OneOf(keys) => {
            json!({ "oneOf": keys.iter().map(|key| all(&[key])).collect::<Vec<_>>() })
        }
        Rule::AnyOf(groups) => {
            json!({ "anyOf": groups.iter().map(|keys| all(keys)).collect::<Vec<_>>() })
        }
        Rule::Excludes(key, others) => {
            let pairs: Vec<Value> = others.iter().map(|other| all(&[key, other])).collect();
            json!({ "not": { "anyOf": pairs } })
        }
        Rule::Needs(key, other) => json!({ "dependentRequired": { *key: [other] } }),
        Rule::ValueNeeds(key, value, other) => json!({
            "if": { "required": [key], "properties": { *key: { "const": value } } },
            "then": all(&[other]),
        }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{List, Map};
    use super::*;

    const NAME: Word = Word {
        name: "a name",
        pattern: "^[a-z]+$",
    };
    static INNER: Shape = Shape {
        doc: "Inside.",
        keys: &[Key::needed("run", Holds::Text, "What runs.")],
        rules: &[],
    };
    static ALL: Shape = Shape {
        doc: "Everything.",
        keys: &[
            Key::needed("name", Holds::Word(NAME), "A name."),
            Key::new("kind", Holds::Choice(&["a", "b"]), "A kind."),
            Key::new("on", Holds::Boolean, "On or off."),
            Key::new("count", Holds::Integer(0, 3), "How many."),
            Key::new("sector", Holds::Number(&[512, 4096]), "Which."),
            Key::new("day", Holds::Day, "When."),
            Key::new(
                "list",
                Holds::List(&List {
                    of: Holds::Word(NAME),
                    least: 1,
                    is_set: true,
                }),
                "Some.",
            ),
            Key::new("inner", Holds::Table(&INNER), "One more."),
            Key::new(
                "map",
                Holds::Map(&Map {
                    key: NAME,
                    value: Holds::Either(&[Holds::Boolean, Holds::Text]),
                    named: &[Key::new("always", Holds::Integer(0, 1), "No data.")],
                }),
                "By name.",
            ),
            Key::new("pool", Holds::Text, "For kind b."),
        ],
        rules: &[
            Rule::Needs("day", "count"),
            Rule::Excludes("on", &["sector"]),
            Rule::ValueNeeds("kind", "b", "pool"),
            Rule::AnyOf(&[&["kind"], &["list", "map"]]),
        ],
    };

    #[test]
    fn every_kind_of_key_and_rule_takes_what_it_means_and_refuses_the_rest() {
        let schema = json_schema("all", &ALL);
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        for (value, is_good) in [
            (json!({ "name": "x", "kind": "a" }), true),
            (json!({ "kind": "a" }), false),
            (json!({ "name": "X", "kind": "a" }), false),
            (json!({ "name": "x" }), false),
            (json!({ "name": "x", "kind": "c" }), false),
            (json!({ "name": "x", "kind": "b" }), false),
            (json!({ "name": "x", "kind": "b", "pool": "p" }), true),
            (json!({ "name": "x", "kind": "a", "other": 1 }), false),
            (json!({ "name": "x", "kind": "a", "on": 1 }), false),
            (json!({ "name": "x", "kind": "a", "count": 4 }), false),
            (json!({ "name": "x", "kind": "a", "sector": 1024 }), false),
            (json!({ "name": "x", "kind": "a", "sector": 512 }), true),
            (
                json!({ "name": "x", "kind": "a", "sector": 512, "on": true }),
                false,
            ),
            (
                json!({ "name": "x", "kind": "a", "day": "2027-01-31" }),
                false,
            ),
            (
                json!({ "name": "x", "kind": "a", "day": "2027-01-31", "count": 1 }),
                true,
            ),
            (
                json!({ "name": "x", "kind": "a", "day": "later", "count": 1 }),
                false,
            ),
            (json!({ "name": "x", "list": ["a"], "map": {} }), true),
            (json!({ "name": "x", "list": [], "map": {} }), false),
            (json!({ "name": "x", "list": ["a", "a"], "map": {} }), false),
            (
                json!({ "name": "x", "list": ["a"], "map": { "a": true, "b": "t" } }),
                true,
            ),
            (
                json!({ "name": "x", "list": ["a"], "map": { "A": true } }),
                false,
            ),
            (
                json!({ "name": "x", "list": ["a"], "map": { "a": 1 } }),
                false,
            ),
            (
                json!({ "name": "x", "list": ["a"], "map": { "always": 1 } }),
                true,
            ),
            (
                json!({ "name": "x", "list": ["a"], "map": { "always": true } }),
                false,
            ),
            (json!({ "name": "x", "kind": "a", "inner": {} }), false),
            (
                json!({ "name": "x", "kind": "a", "inner": { "run": "x" } }),
                true,
            ),
        ] {
            assert_eq!(validator.is_valid(&value), is_good, "{value}");
        }
    }

    #[test]
    fn every_key_is_described() {
        let schema = json_schema("all", &ALL);
        assert_eq!(schema["title"], "all");
        assert_eq!(schema["properties"]["inner"]["description"], "One more.");
        let inner = &schema["properties"]["inner"]["properties"]["run"];
        assert_eq!(inner["description"], "What runs.");
    }
}
