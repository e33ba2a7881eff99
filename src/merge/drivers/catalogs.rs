//! Catalogues of XML entities, as update-xmlcatalog(8) writes them: a header, one entry a line, one
//! closing line.
//!
//! The program keeps the entries in `/var/lib/xml-core` and writes `/etc/xml` from them, both
//! sorted where it is asked to, as packages do. The order means nothing to readers, who take the
//! longest match, so a merge sorts the entries: then it does not matter which layer came first.
//! Catalogues in another layout are not read.

use std::borrow::Cow;

use super::linefile::{self, LineFile};
use super::{Driver, DriverConflict, UnreadableRecord};

/// Merges `/etc/xml/catalog` and the catalogues beside it.
pub(super) static XML: Sorted = Sorted(LineFile {
    name: "xml-catalog",
    key: |line| {
        let is_frame = FRAME.iter().any(|start| line.starts_with(start));
        let is_entry = line.starts_with(b"<") && line.ends_with(b"/>");
        if !is_frame && !is_entry {
            return Err("not an entry on a line of its own".to_owned());
        }
        Ok(Cow::Borrowed(line))
    },
    last: |line| line == END,
    ..LineFile::SET
});

/// Merges the lists in `/var/lib/xml-core`.
pub(super) static LIST: Sorted = Sorted(LineFile {
    name: "xml-core",
    ..LineFile::SET
});

/// What the lines of the frame start with.
const FRAME: [&[u8]; 5] = [b"<?xml ", b"<!DOCTYPE ", b"  \"file:", BEGIN, END];
const BEGIN: &[u8] = b"<catalog ";
const END: &[u8] = b"</catalog>";

/// A set of lines that a merge sorts, but for the frame around them.
pub(super) struct Sorted(LineFile);

impl Driver for Sorted {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn check(&self, file: &[u8]) -> Result<(), Vec<UnreadableRecord>> {
        self.0.check(file)
    }

    fn merge_changed(
        &self,
        pre: Option<&[u8]>,
        current: Option<&[u8]>,
        post: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>, Vec<DriverConflict>> {
        let merged = self.0.merge_changed(pre, current, post)?;
        Ok(merged.map(|merged| sort(&merged)))
    }
}

fn sort(file: &[u8]) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = linefile::split(file).collect();
    let begin = lines.iter().position(|line| line.starts_with(BEGIN));
    let begin = begin.map_or(0, |at| at + 1);
    let end = lines.iter().position(|line| *line == END);
    let end = end.unwrap_or(lines.len()).max(begin);
    lines[begin..end].sort_unstable();
    let mut out = lines.join(&b'\n');
    if !out.is_empty() {
        out.push(b'\n');
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HEAD: &str = "<?xml version=\"1.0\"?>\n\
        <!DOCTYPE catalog PUBLIC \"-//OASIS//DTD XML Catalogs V1.0//EN\"\n  \
        \"file:///usr/share/xml/schema/xml-core/catalog.dtd\">\n\
        <catalog xmlns=\"urn:oasis:names:tc:entity:xmlns:xml:catalog\">\n";

    fn catalog(names: &[&str]) -> String {
        let entry = |name: &&str| {
            format!(
                "<delegatePublic publicIdStartString=\"{name}\" catalog=\"file:///etc/xml/{name}.xml\"/>\n"
            )
        };
        let entries: String = names.iter().map(entry).collect();
        format!("{HEAD}{entries}</catalog>\n")
    }

    fn merge(sides: [Option<&str>; 3]) -> Result<String, String> {
        let [pre, current, post] = sides.map(|side| side.map(str::as_bytes));
        match XML.merge(pre, current, post) {
            Ok(out) => Ok(String::from_utf8(out.unwrap_or_default()).unwrap()),
            Err(all) => Err(all[0].to_string()),
        }
    }

    #[test]
    fn entries_of_two_layers_are_joined_in_one_order() {
        let [pre, a, b] = [&["m"][..], &["m", "x"], &["a", "m"]].map(catalog);
        let all = catalog(&["a", "m", "x"]);
        assert_eq!(merge([Some(&pre), Some(&a), Some(&b)]).unwrap(), all);
        assert_eq!(merge([Some(&pre), Some(&b), Some(&a)]).unwrap(), all);
        assert_eq!(merge([None, Some(&a), Some(&b)]).unwrap(), all);
        let gone = catalog(&[]);
        assert_eq!(
            merge([Some(&pre), Some(&a), Some(&gone)]).unwrap(),
            catalog(&["x"])
        );
    }

    #[test]
    fn a_catalogue_in_another_layout_is_not_taken_apart() {
        let [pre, a] = [&["m"][..], &["m", "x"]].map(catalog);
        for own in [
            "<group prefer=\"public\">\n<uri name=\"a\" uri=\"b\"/>\n</group>\n",
            "<uri\n  name=\"a\" uri=\"b\"/>\n",
        ] {
            let post = pre.replace("</catalog>", &format!("{own}</catalog>"));
            let conflict = merge([Some(&pre), Some(&a), Some(&post)]).unwrap_err();
            assert!(
                conflict.ends_with("not an entry on a line of its own"),
                "{conflict}"
            );
        }
    }
}
