//! Relations between packages: the fields `Depends`, `Breaks`, `Provides` and the like
//! (deb-control(5)).

use std::fmt;

use crate::version::Version;

/// More alternatives than any package names.
const MAX_ALTERNATIVES: usize = 100;

/// The longest name of a package, in bytes: `NAME.postinst` is a file name.
const MAX_NAME_BYTES: usize = 200;

/// How a version must compare with the one that is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=`
    UpTo,
    /// `=`
    Exactly,
    /// `>=`
    From,
    /// `>>`
    Later,
}

impl Operator {
    /// The single `<` and `>` are old spellings that include equality.
    const SPELLINGS: [(&str, Operator); 7] = [
        ("<<", Operator::Earlier),
        ("<=", Operator::UpTo),
        (">=", Operator::From),
        (">>", Operator::Later),
        ("=", Operator::Exactly),
        ("<", Operator::UpTo),
        (">", Operator::From),
    ];
}

/// Which architectures of a package are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qualifier<'a> {
    /// What the relation means by itself.
    None,
    /// `:any`
    Any,
    /// `:native`
    Native,
    /// A named one.
    Exact(&'a str),
}

/// One package that is wanted, not wanted or provided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relation<'a> {
    /// The name of a package, or of what packages provide.
    pub name: &'a str,
    /// Of which architectures.
    pub qualifier: Qualifier<'a>,
    /// In which versions.
    pub version: Option<(Operator, Version<'a>)>,
}

impl<'a> Relation<'a> {
    /// Returns the name with its qualifier, without a version.
    pub fn label(&self) -> String {
        match self.qualifier {
            Qualifier::None => self.name.to_owned(),
            Qualifier::Any => format!("{}:any", self.name),
            Qualifier::Native => format!("{}:native", self.name),
            Qualifier::Exact(architecture) => format!("{}:{architecture}", self.name),
        }
    }

    /// Says whether `version` is what the relation asks for; none is only enough where none is
    /// asked for.
    pub fn allows(&self, version: Option<&Version<'_>>) -> bool {
        let Some((operator, bound)) = &self.version else {
            return true;
        };
        version.is_some_and(|version| match operator {
            Operator::Earlier => version < bound,
            Operator::UpTo => version <= bound,
            Operator::Exactly => version == bound,
            Operator::From => version >= bound,
            Operator::Later => version > bound,
        })
    }

    /// Reads `name[:qualifier] [(operator version)]`.
    fn parse(text: &'a str) -> Result<Self, &'static str> {
        let (head, version) = match text.split_once('(') {
            None => (text, None),
            Some((head, rest)) => {
                let inside = rest.strip_suffix(')').ok_or("a version without its ')'")?;
                (head.trim_ascii_end(), Some(constraint(inside)?))
            }
        };
        let (name, qualifier) = match head.split_once(':') {
            None => (head, Qualifier::None),
            Some((name, "any")) => (name, Qualifier::Any),
            Some((name, "native")) => (name, Qualifier::Native),
            Some((name, architecture)) if is_architecture(architecture) => {
                (name, Qualifier::Exact(architecture))
            }
            Some(_) => return Err("an invalid architecture"),
        };
        if !is_name(name) {
            return Err("something that is not a package name");
        }
        Ok(Self {
            name,
            qualifier,
            version,
        })
    }
}

impl fmt::Display for Relation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label())?;
        let Some((operator, version)) = &self.version else {
            return Ok(());
        };
        let mut spellings = Operator::SPELLINGS.iter();
        let spelling = spellings.find(|(_, other)| other == operator);
        write!(f, " ({} {version})", spelling.map_or("", |(text, _)| *text))
    }
}

fn constraint(text: &str) -> Result<(Operator, Version<'_>), &'static str> {
    let text = text.trim_ascii();
    for (spelling, operator) in Operator::SPELLINGS {
        if let Some(version) = text.strip_prefix(spelling) {
            let version = Version::parse(version.trim_ascii().as_bytes());
            return match version {
                Ok(version) => Ok((operator, version)),
                Err(_) => Err("an invalid version"),
            };
        }
    }
    Err("a version without an operator")
}

/// Reads a field of relations: those at commas all hold, of those at bars one is enough.
///
/// The error says what stands there instead of a relation.
pub(super) fn parse(field: &[u8]) -> Result<Vec<Vec<Relation<'_>>>, &'static str> {
    let text = std::str::from_utf8(field)
        .map_err(|_| "something that is not text")?
        .trim_ascii();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(',').map(alternatives).collect()
}

fn alternatives(clause: &str) -> Result<Vec<Relation<'_>>, &'static str> {
    if clause.split('|').nth(MAX_ALTERNATIVES).is_some() {
        return Err("too many alternatives");
    }
    let all = clause.split('|');
    all.map(|one| Relation::parse(one.trim_ascii())).collect()
}

/// Reads a field that has no alternatives, such as `Breaks`.
pub(super) fn parse_plain(field: &[u8]) -> Result<Vec<Relation<'_>>, &'static str> {
    let clauses = parse(field)?;
    clauses
        .into_iter()
        .map(|clause| match clause[..] {
            [one] => Ok(one),
            _ => Err("alternatives, which it cannot have"),
        })
        .collect()
}

/// Reads `Provides`, which names a version by `=` only.
pub(super) fn parse_provides(field: &[u8]) -> Result<Vec<Relation<'_>>, &'static str> {
    let provides = parse_plain(field)?;
    let is_exact = |one: &Relation<'_>| match one.version {
        None => true,
        Some((operator, _)) => operator == Operator::Exactly,
    };
    if provides.iter().all(is_exact) {
        Ok(provides)
    } else {
        Err("a range of versions, which it cannot have")
    }
}

/// Says whether dpkg takes this as the name of a package (`pkg_name_is_illegal` in
/// lib/dpkg/parsehelp.c).
pub(super) fn is_name(name: &str) -> bool {
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"-+._".contains(byte);
    let bytes = name.as_bytes();
    bytes.len() <= MAX_NAME_BYTES
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(inner)
}

/// Says whether this can be the name of an architecture (`dpkg_arch_name_is_illegal` in
/// lib/dpkg/arch.c).
pub(super) fn is_architecture(name: &str) -> bool {
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    let bytes = name.as_bytes();
    bytes.len() <= MAX_NAME_BYTES
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(inner)
}
