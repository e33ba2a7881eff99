//! Stanzas of Debian control data, as in `Packages`, `status` and a `.deb`'s control file
//! (deb822(5)).

/// Holds one stanza: its fields in their order, each value with its continuation lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ControlStanza {
    fields: Vec<(String, String)>,
}

impl ControlStanza {
    /// Returns the value of a field; names are compared without case.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    /// Sets a field, in its place if it is there, else at the end.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        match self
            .fields
            .iter_mut()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
        {
            Some(field) => value.clone_into(&mut field.1),
            None => self.fields.push((name.to_owned(), value.to_owned())),
        }
    }

    /// Drops the named fields.
    pub(super) fn remove(&mut self, names: &[&str]) {
        self.fields
            .retain(|(n, _)| !names.iter().any(|name| n.eq_ignore_ascii_case(name)));
    }

    /// Returns the stanza's text, with the blank line that ends it.
    pub(super) fn render(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.fields {
            text.push_str(name);
            text.push(':');
            if !value.is_empty() && !value.starts_with('\n') {
                text.push(' ');
            }
            text.push_str(value);
            text.push('\n');
        }
        text.push('\n');
        text
    }
}

/// Splits text into stanzas; comment lines and lines of no known form are skipped.
pub(super) fn parse(text: &str) -> Vec<ControlStanza> {
    let mut stanzas = Vec::new();
    let mut current = ControlStanza::default();
    for line in text.lines() {
        if line.trim().is_empty() {
            if !current.fields.is_empty() {
                stanzas.push(std::mem::take(&mut current));
            }
        } else if line.starts_with('#') {
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = current.fields.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            current
                .fields
                .push((name.to_owned(), value.trim().to_owned()));
        }
    }
    if !current.fields.is_empty() {
        stanzas.push(current);
    }
    stanzas
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanzas_with_continuation_lines_survive_a_round_trip() {
        let text = "Package: nginx\nVersion: 1.26.3-3\nDescription: small web server\n Long text.\n .\n More: text.\n\n\
                    Package: zlib1g\nVersion: 1:1.3\n\n";
        let stanzas = parse(text);
        assert_eq!(stanzas.len(), 2);
        assert_eq!(stanzas[0].get("version"), Some("1.26.3-3"));
        assert_eq!(stanzas[1].get("Version"), Some("1:1.3"));
        assert_eq!(
            stanzas
                .iter()
                .map(ControlStanza::render)
                .collect::<String>(),
            text
        );
    }

    #[test]
    fn a_value_that_starts_on_the_next_line_keeps_its_form() {
        let text = "Package: adduser\nConffiles:\n /etc/deluser.conf 773f\n\n";
        assert_eq!(parse(text)[0].render(), text);
    }

    #[test]
    fn fields_are_set_in_place_and_removed_without_case() {
        let mut stanza = parse("Package: a\nSHA256: 00\nSize: 1\n").remove(0);
        stanza.set("size", "2");
        stanza.remove(&["sha256"]);
        assert_eq!(stanza.render(), "Package: a\nSize: 2\n\n");
    }
}
