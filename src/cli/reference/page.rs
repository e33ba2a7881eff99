//! One page of the manual, in the macros of man(7).

use std::path::Path;

use roff::{Inline, Roff, bold, italic, roman};

/// The day on which the words of the pages were last gone over as a whole.
const DATE: &str = "2026-11-28";

/// One page.
pub(super) struct Page {
    /// Its name, without the section.
    pub(super) name: String,
    /// The section of the manual.
    pub(super) section: u8,
    /// The commands of its examples, as they stand there.
    pub(super) examples: Vec<String>,
    /// The pages that it points at.
    pub(super) related: Vec<String>,
    bytes: Vec<u8>,
}

/// Returns the arguments of a page's title.
pub(super) fn title(name: &str, section: u8) -> [String; 5] {
    [
        name.to_uppercase(),
        section.to_string(),
        DATE.to_owned(),
        concat!("layerset ", env!("CARGO_PKG_VERSION")).to_owned(),
        "layerset".to_owned(),
    ]
}

impl Page {
    /// Starts a page with its title and name.
    pub(super) fn new(name: &str, section: u8, about: &str) -> Self {
        let mut page = Self::empty(name, section);
        let mut roff = Roff::new();
        let title = title(name, section);
        roff.control("TH", title.iter().map(String::as_str));
        roff.control("SH", ["NAME"]);
        roff.text([roman(format!("{name} - {about}"))]);
        page.add(&roff);
        page
    }

    /// Starts a page that has nothing yet.
    pub(super) fn empty(name: &str, section: u8) -> Self {
        Self {
            name: name.to_owned(),
            section,
            examples: Vec::new(),
            related: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// Adds what somebody else rendered.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn add(&mut self, roff: &Roff) {
        self.bytes.extend_from_slice(roff.to_roff().as_bytes());
    }

    fn control(&mut self, name: &str, arguments: &[&str]) {
        let mut roff = Roff::new();
        roff.control(name, arguments.iter().copied());
        self.add(&roff);
    }

    /// A heading starts a paragraph by itself.
    fn start_paragraph(&mut self) {
        let text = self.bytes.strip_suffix(b"\n").unwrap_or(&self.bytes);
        let last = text
            .rsplit(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        if !last.starts_with(b".SH ") && !last.starts_with(b".SS ") {
            self.control("PP", &[]);
        }
    }

    pub(super) fn heading(&mut self, name: &str) {
        self.control("SH", &[name]);
    }

    pub(super) fn subheading(&mut self, name: &str) {
        self.control("SS", &[name]);
    }

    pub(super) fn paragraph(&mut self, text: &str) {
        self.start_paragraph();
        let mut roff = Roff::new();
        roff.text(inlines(text));
        self.add(&roff);
    }

    /// Adds a term in bold, what it is in italics, and what is said of it.
    pub(super) fn item(&mut self, term: &str, kind: &str, text: &str) {
        let mut roff = Roff::new();
        roff.control("TP", []);
        let mut head = vec![bold(term)];
        if !kind.is_empty() {
            head.extend([roman("  "), italic(kind)]);
        }
        roff.text(head);
        roff.text(inlines(text));
        self.add(&roff);
    }

    /// Adds lines as they are.
    pub(super) fn verbatim(&mut self, lines: &str) {
        self.start_paragraph();
        self.control("RS", &["4"]);
        self.control("nf", &[]);
        for line in lines.trim_end().lines() {
            let mut roff = Roff::new();
            match line {
                // An empty line in the source is one that mandoc warns of.
                "" => roff.control("sp", []),
                line => roff.text([roman(line)]),
            };
            self.add(&roff);
        }
        self.control("fi", &[]);
        self.control("RE", &[]);
    }

    /// Adds commands as they are, and remembers them.
    pub(super) fn commands(&mut self, lines: &str) {
        self.examples.extend(lines.lines().map(str::to_owned));
        self.verbatim(lines);
    }

    /// Ends the page with the pages that it points at: `layerset(1)`.
    pub(super) fn see_also(&mut self, pages: impl IntoIterator<Item = String>) {
        self.related = pages.into_iter().collect();
        self.related.sort_by_key(|page| {
            let section = page.split('(').nth(1).map(str::to_owned);
            (section, page.clone())
        });
        self.related.dedup();
        self.heading("SEE ALSO");
        let mut line: Vec<Inline> = Vec::new();
        for (at, page) in self.related.iter().enumerate() {
            let (name, section) = page.split_once('(').unwrap_or((page, ""));
            let comma = if at + 1 == self.related.len() {
                ""
            } else {
                ", "
            };
            line.extend([bold(name), roman(format!("({section}{comma}"))]);
        }
        let mut roff = Roff::new();
        roff.text(line);
        self.add(&roff);
    }

    /// Returns the page as roff reads it.
    pub(super) fn source(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes the page to its section's directory in `dir`.
    pub(super) fn write_below(&self, dir: &Path) -> std::io::Result<()> {
        let path = dir
            .join(format!("man{}", self.section))
            .join(format!("{}.{}", self.name, self.section));
        super::write(&path, self.source())
    }
}

/// Sets what stands in backticks in bold.
fn inlines(text: &str) -> Vec<Inline> {
    let pieces = text.split('`').enumerate();
    pieces
        .filter(|(_, piece)| !piece.is_empty())
        .map(|(at, piece)| match at % 2 {
            0 => roman(piece),
            _ => bold(piece),
        })
        .collect()
}
