//! Stanzas of deb822(5) and of debconf's dialect: cutting a file into stanzas, and those into
//! fields.
//!
//! Strict and borrowing: nothing is copied, and what is no stanza is an error with its line, never
//! skipped. Pure; any bytes are safe to give to it.

/// More than any package or template has; the scans over one stanza stay short by it.
const MAX_FIELDS: usize = 4096;

/// One field with its continuation lines.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// Its name, as written.
    pub name: &'a [u8],
    /// All bytes of the field without the last newline.
    pub raw: &'a [u8],
}

impl<'a> Field<'a> {
    /// Returns the bytes behind the colon.
    pub fn value(&self) -> &'a [u8] {
        &self.raw[self.name.len() + 1..]
    }
}

/// The fields of one stanza in file order.
#[derive(Debug, Default)]
pub struct Stanza<'a> {
    /// The fields; no two have the same name in any case.
    pub fields: Vec<Field<'a>>,
}

impl<'a> Stanza<'a> {
    /// Cuts a stanza, without the blank line that ends it, into fields; the error counts lines from
    /// 0.
    pub fn parse(raw: &'a [u8]) -> Result<Self, (usize, String)> {
        let mut fields: Vec<Field<'a>> = Vec::with_capacity(24);
        let mut start = 0;
        for (at, line) in lines(raw).enumerate() {
            let end = start + line.len();
            let fault = |reason: &str| Err((at, reason.to_owned()));
            if line.contains(&0) {
                return fault("a NUL byte");
            }
            if line.starts_with(b" ") || line.starts_with(b"\t") {
                let Some(field) = fields.last_mut() else {
                    return fault("a continuation line without a field");
                };
                if line.trim_ascii().is_empty() {
                    return fault("a continuation line without content");
                }
                let from = start - field.raw.len() - 1;
                field.raw = &raw[from..end];
            } else {
                let colon = line.iter().position(|&byte| byte == b':');
                let name = &line[..colon.unwrap_or(0)];
                let bad = |byte: &u8| !byte.is_ascii_graphic();
                if name.is_empty() || name[0] == b'#' || name.iter().any(bad) {
                    return fault("not a field");
                }
                if fields.len() == MAX_FIELDS {
                    return fault("too many fields");
                }
                fields.push(Field { name, raw: line });
            }
            start = end + 1;
        }
        let stanza = Stanza { fields };
        match stanza.repeated() {
            Some(name) => Err((
                0,
                format!("field '{}' twice", String::from_utf8_lossy(name)),
            )),
            None => Ok(stanza),
        }
    }

    fn repeated(&self) -> Option<&'a [u8]> {
        let mut names: Vec<_> = self.fields.iter().map(|field| field.name).collect();
        let lower = |name: &'a [u8]| name.iter().map(u8::to_ascii_lowercase);
        names.sort_by(|a, b| lower(a).cmp(lower(b)));
        let mut pairs = names.windows(2);
        pairs
            .find(|pair| pair[0].eq_ignore_ascii_case(pair[1]))
            .map(|pair| pair[0])
    }

    /// Finds a field by its name in any case.
    pub fn get(&self, name: &[u8]) -> Option<&Field<'a>> {
        let mut fields = self.fields.iter();
        fields.find(|field| field.name.eq_ignore_ascii_case(name))
    }

    /// Returns the trimmed value of a field that must be there and not be empty.
    pub fn require(&self, name: &str) -> Result<&'a [u8], String> {
        match self
            .get(name.as_bytes())
            .map(|field| field.value().trim_ascii())
        {
            Some(value) if !value.is_empty() => Ok(value),
            _ => Err(format!("no {name} field")),
        }
    }
}

/// Cuts a file at its blank lines into stanzas, each with its first line and whether it is whole.
///
/// Every program that writes these databases closes each stanza, the last one too, with a blank
/// line: where that is missing, the file has been cut off.
pub fn stanzas(file: &[u8]) -> impl Iterator<Item = (&[u8], usize, bool)> {
    let mut at = 0;
    let mut line = 1;
    std::iter::from_fn(move || {
        while file.get(at) == Some(&b'\n') {
            at += 1;
            line += 1;
        }
        let (start, first) = (at, line);
        while at < file.len() {
            let Some(end) = file[at..].iter().position(|&byte| byte == b'\n') else {
                at = file.len();
                return Some((&file[start..], first, false));
            };
            at += end + 1;
            line += 1;
            if file.get(at) == Some(&b'\n') {
                return Some((&file[start..at - 1], first, true));
            }
        }
        (start < at).then(|| (&file[start..at - 1], first, false))
    })
}

/// Splits a stanza into its lines; a missing newline at the end makes no difference.
fn lines(raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    raw.split_inclusive(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\n").unwrap_or(line))
}
