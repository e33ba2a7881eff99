//! Databases of debconf: `config.dat`, `passwords.dat` and `templates.dat`.
//!
//! Debconf writes them sorted by name, with sorted owners, flags and variables, and forgets an item
//! when its last owner goes (Debconf/DbDriver/File.pm, Debconf/Format/822.pm).

use super::deb822::Format;
use super::rules::Rule;
use crate::deb822::Stanza;
use std::borrow::Cow;

/// Merges `/var/cache/debconf/config.dat` and `passwords.dat`.
pub(super) static CONFIG: Format = Format {
    name: "debconf-config",
    key: |stanza| {
        let name = name(stanza)?;
        stanza.require("Template")?;
        Ok(name)
    },
    ..DEBCONF
};

/// Merges `/var/cache/debconf/templates.dat`.
pub(super) static TEMPLATES: Format = Format {
    name: "debconf-templates",
    key: |stanza| {
        let name = name(stanza)?;
        stanza.require("Type")?;
        Ok(name)
    },
    ..DEBCONF
};

const DEBCONF: Format = Format {
    rule: |field| match field {
        b"owners" | b"flags" => Rule::Names,
        b"variables" => Rule::Variables,
        // Answers may be passwords, in config.dat too: many packages use the wrong type.
        b"value" => Rule::Secret,
        _ => Rule::Value,
    },
    order: Some(|a, b| a.cmp(b)),
    alive: |stanza| stanza.require("Owners").is_ok(),
    ..Format::PLAIN
};

fn name<'a>(stanza: &Stanza<'a>) -> Result<Cow<'a, [u8]>, String> {
    stanza.require("Name").map(Cow::Borrowed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::Driver;
    use super::*;

    const GROUP: &str = "Name: base-passwd/group-add\nTemplate: base-passwd/group-add\n\
                         Owners: base-passwd\n\n";
    const CRTS: &str = "Name: ca-certificates/enable_crts\n\
                        Template: ca-certificates/enable_crts\nValue: a.crt, b.crt\n\
                        Owners: ca-certificates\nFlags: seen\n\
                        Variables:\n enable_crts = a.crt, b.crt\n new_crts = \n\n";

    fn run(sides: [&str; 3]) -> Result<String, String> {
        let [pre, current, post] = sides.map(|side| Some(side.as_bytes()));
        match CONFIG.merge(pre, current, post) {
            Ok(out) => Ok(String::from_utf8(out.unwrap_or_default()).unwrap()),
            Err(all) => Err(all
                .iter()
                .map(|c| c.to_string())
                .collect::<Vec<_>>()
                .join("; ")),
        }
    }

    #[test]
    fn owners_flags_and_variables_of_both_sides_are_joined_and_sorted() {
        let current = CRTS
            .replace("Owners: ca", "Owners: aaa, ca")
            .replace(" new_crts = \n", " fresh = yes\n new_crts = \n");
        let post = CRTS
            .replace("Owners: ca-certificates", "Owners: ca-certificates, java")
            .replace("Flags: seen\n", "")
            .replace(" new_crts = \n", " new_crts = c.crt\n");
        let expect = "Name: ca-certificates/enable_crts\n\
                      Template: ca-certificates/enable_crts\nValue: a.crt, b.crt\n\
                      Owners: aaa, ca-certificates, java\n\
                      Variables:\n enable_crts = a.crt, b.crt\n fresh = yes\n new_crts = c.crt\n\n";
        assert_eq!(run([CRTS, &current, &post]).unwrap(), expect);
    }

    #[test]
    fn new_questions_of_two_layers_come_out_in_debconfs_order() {
        let [a, b] = ["aa/q", "zz/q"].map(|name| GROUP.replace("base-passwd/group-add", name));
        let merged = run([GROUP, &format!("{GROUP}{b}"), &format!("{a}{GROUP}")]).unwrap();
        assert_eq!(merged, format!("{a}{GROUP}{b}"));
    }

    #[test]
    fn different_answers_are_a_conflict_that_does_not_quote_them() {
        let [current, post] = ["hunter2", "hunter3"].map(|v| CRTS.replace("a.crt", v));
        let conflict = run([CRTS, &current, &post]).unwrap_err();
        let expect = "record 'ca-certificates/enable_crts': field 'Value' was changed differently \
                      in current and post; record 'ca-certificates/enable_crts': field 'Variables': \
                      'enable_crts' changed differently in current and post";
        assert_eq!(conflict, expect);
    }

    #[test]
    fn a_question_that_lost_its_last_owner_is_forgotten() {
        let [pre, current, post] = ["a, b", "a", "b"]
            .map(|owners| CRTS.replace("ca-certificates\nF", &format!("{owners}\nF")));
        assert_eq!(run([&pre, &current, &post]).unwrap(), "");
        let kept = run([&pre, &format!("{current}{GROUP}"), &post]).unwrap();
        assert_eq!(kept, GROUP);
    }

    #[test]
    fn a_question_without_a_template_is_refused() {
        let cut = "Name: x/y\nOwners: x\n\n";
        assert_eq!(
            run([GROUP, &format!("{GROUP}{cut}"), ""]).unwrap_err(),
            "record 'line 5': current: no Template field"
        );
    }
}
