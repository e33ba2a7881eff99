//! What a Perl file loads when it is compiled.
//!
//! Nothing but perl can parse Perl, so lines are read: a `use` at the start of a line, or behind
//! another one, outside of documentation, here-documents and long quotes. `use` is done wherever it
//! stands; `require` counts at the start of a line alone, where no condition and no `eval` can keep
//! it from being run.

use serde::{Deserialize, Serialize};

/// The version of [`PerlFacts`].
pub(super) const KIND: &str = "perl-imports-1";

/// What a Perl file says about what it loads; a function of its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PerlFacts {
    /// Modules, `A::B`, each once.
    pub(super) modules: Vec<String>,
    /// Directories that it adds to `@INC`: absolute ones, and those relative to its own behind
    /// `$Bin/`.
    pub(super) dirs: Vec<String>,
    /// Whether it adds to `@INC` what only running it tells.
    pub(super) extends_path: bool,
}

/// Reads the facts of a file.
pub(super) fn read(bytes: &[u8]) -> PerlFacts {
    let text = String::from_utf8_lossy(bytes);
    let mut reader = Reader::default();
    for line in text.lines() {
        if matches!(line.trim_end(), "__END__" | "__DATA__") {
            break;
        }
        reader.take(line);
    }
    let mut seen = std::collections::BTreeSet::new();
    let mut facts = reader.facts;
    facts.modules.retain(|module| seen.insert(module.clone()));
    facts
}

/// What hides lines until it ends.
enum Hidden {
    /// Documentation.
    Pod,
    /// A here-document: its last line, which may be indented.
    Here { end: String, indented: bool },
    /// A quote with brackets, and how many are open.
    Quote {
        open: char,
        close: char,
        depth: usize,
    },
}

#[derive(Default)]
struct Reader {
    facts: PerlFacts,
    hidden: Option<Hidden>,
    /// Here-documents that follow each other.
    next: Vec<(String, bool)>,
    /// `package A;` in this file: what it uses may be in the file itself.
    packages: Vec<String>,
}

impl Reader {
    fn take(&mut self, line: &str) {
        match &mut self.hidden {
            Some(Hidden::Pod) => {
                if line.starts_with("=cut") {
                    self.hidden = None;
                }
                return;
            }
            Some(Hidden::Here { end, indented }) => {
                let own = if *indented { line.trim_start() } else { line };
                if own.trim_end_matches('\r') == end.as_str() {
                    self.hidden = None;
                    self.open_next();
                }
                return;
            }
            Some(Hidden::Quote { open, close, depth }) => {
                *depth = left_open(line, *open, *close, *depth);
                if *depth == 0 {
                    self.hidden = None;
                }
                return;
            }
            None => {}
        }
        let mut chars = line.chars();
        if chars.next() == Some('=') && chars.next().is_some_and(|c| c.is_ascii_alphabetic()) {
            if !line.starts_with("=cut") {
                self.hidden = Some(Hidden::Pod);
            }
            return;
        }
        if line.trim_start().starts_with('#') {
            return;
        }
        if line.contains("@INC") && !line.contains("foreach") && !line.contains("for ") {
            self.facts.extends_path = true;
        }
        self.statements(line);
        self.open_quote(line);
        self.next.extend(here_documents(line));
        self.open_next();
    }

    fn open_next(&mut self) {
        if self.hidden.is_none() && !self.next.is_empty() {
            let (end, indented) = self.next.remove(0);
            self.hidden = Some(Hidden::Here { end, indented });
        }
    }

    fn open_quote(&mut self, line: &str) {
        if self.hidden.is_some() {
            return;
        }
        for (at, _) in line.match_indices('q') {
            let before = line[..at].chars().next_back();
            let is_inside = |c: char| c.is_alphanumeric() || "_$@%&>:-{'\"/\\".contains(c);
            if before.is_some_and(is_inside) {
                continue;
            }
            let rest = line[at + 1..].trim_start_matches(['q', 'w', 'x', 'r']);
            let rest = rest.trim_start();
            let Some(open) = rest.chars().next() else {
                continue;
            };
            let close = match open {
                '{' => '}',
                '(' => ')',
                '[' => ']',
                '<' => '>',
                _ => continue,
            };
            let depth = left_open(rest, open, close, 0);
            if depth > 0 {
                self.hidden = Some(Hidden::Quote { open, close, depth });
                return;
            }
        }
    }

    /// Reads the statements at the start of a line, as long as they load something.
    fn statements(&mut self, line: &str) {
        let is_unindented = !line.starts_with([' ', '\t']);
        let mut rest = line.trim_start();
        if let Some(block) = rest.strip_prefix("BEGIN") {
            rest = block.trim_start().trim_start_matches('{').trim_start();
        }
        loop {
            let (word, after) = match rest.split_once([' ', '\t']) {
                Some(split) => split,
                None => return,
            };
            match word {
                "package" => {
                    let name = after.trim_start();
                    let name = name.split([';', ' ', '{']).next().unwrap_or_default();
                    self.packages.push(name.to_owned());
                }
                "use" => self.take_use(after.trim_start()),
                "require" if is_unindented => {
                    if let Some((name, _)) = after.split_once(';')
                        && is_module(name.trim())
                    {
                        self.facts.modules.push(name.trim().to_owned());
                    }
                }
                _ => return,
            }
            match rest.split_once(';') {
                Some((_, next)) => rest = next.trim_start(),
                None => return,
            }
        }
    }

    /// Reads what stands behind `use`.
    fn take_use(&mut self, text: &str) {
        let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
        let (module, rest) = text.split_at(end.unwrap_or(text.len()));
        let arguments = rest.trim_start();
        if !is_module(module) || !is_list(rest, arguments) {
            return;
        }
        let until = arguments.find(';').unwrap_or(arguments.len());
        let arguments = &arguments[..until];
        match module {
            "if" => {}
            "lib" => self.take_lib(arguments),
            "parent" | "base" => {
                self.facts.modules.push(module.to_owned());
                if !arguments.contains("-norequire") {
                    let parents = quoted(arguments);
                    let own = |name: &String| self.packages.contains(name);
                    let parents: Vec<String> = parents
                        .into_iter()
                        .filter(|name| is_module(name) && !own(name))
                        .collect();
                    self.facts.modules.extend(parents);
                }
            }
            _ => self.facts.modules.push(module.to_owned()),
        }
    }

    fn take_lib(&mut self, arguments: &str) {
        let dirs = quoted(arguments);
        if dirs.is_empty() {
            self.facts.extends_path = true;
        }
        for dir in dirs {
            let bin = ["$FindBin::Bin", "$FindBin::RealBin", "$Bin", "$RealBin"];
            let bin = bin.iter().find_map(|bin| dir.strip_prefix(bin));
            match bin {
                Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                    self.facts.dirs.push(format!("$Bin{rest}"));
                }
                _ if dir.starts_with('/') && !dir.contains('$') => self.facts.dirs.push(dir),
                _ => self.facts.extends_path = true,
            }
        }
    }
}

/// Says whether what follows the name of a module is a list or an end, and no prose.
fn is_list(rest: &str, arguments: &str) -> bool {
    let is_apart = rest.is_empty() || rest.starts_with([' ', '\t', ';', '(', '\r']);
    let starts = ["qw", "q(", "q{", "v5", "#", "\\"];
    let is_word = starts.iter().any(|start| arguments.starts_with(start))
        // `use X name => 1`
        || arguments.contains("=>");
    let is_start = |c: char| c.is_ascii_digit() || ";'\"($@%-+:{[\\".contains(c);
    is_apart && (arguments.is_empty() || arguments.starts_with(is_start) || is_word)
}

/// Says whether a bareword is the name of a module.
fn is_module(name: &str) -> bool {
    let is_part = |part: &str| {
        let mut chars = part.chars();
        chars
            .next()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let is_version = |name: &str| {
        name.strip_prefix('v')
            .is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit()))
    };
    name.split("::").all(is_part) && !is_version(name)
}

/// Returns the strings of a list: in quotes, or words in `qw`.
fn quoted(text: &str) -> Vec<String> {
    let text = text.trim();
    if let Some(rest) = text.trim_start_matches(['(', ' ']).strip_prefix("qw") {
        let rest = rest.trim_start();
        let mut chars = rest.chars();
        let close = match chars.next() {
            Some('(') => ')',
            Some('{') => '}',
            Some('[') => ']',
            Some('<') => '>',
            Some(other) => other,
            None => return Vec::new(),
        };
        let words = chars.as_str().split(close).next().unwrap_or_default();
        return words.split_whitespace().map(str::to_owned).collect();
    }
    let mut strings = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['\'', '"']) {
        let quote = &rest[at..=at];
        rest = &rest[at + 1..];
        let Some((own, after)) = rest.split_once(quote) else {
            break;
        };
        strings.push(own.to_owned());
        rest = after;
    }
    strings
}

/// Returns how many brackets are open behind a text; 0 as soon as all are closed.
fn left_open(text: &str, open: char, close: char, depth: usize) -> usize {
    let mut depth = depth;
    let mut escaped = false;
    for c in text.chars() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == open {
            depth += 1;
        } else if c == close {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                return 0;
            }
        }
    }
    depth
}

/// Finds the ends of the here-documents that start in a line.
fn here_documents(line: &str) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some(at) = rest.find("<<") {
        rest = &rest[at + 2..];
        let (indented, own) = match rest.strip_prefix('~') {
            Some(own) => (true, own),
            None => (false, rest),
        };
        let quote = own.chars().next().filter(|c| matches!(c, '"' | '\''));
        let end = match quote {
            Some(quote) => own[1..].split_once(quote).map(|(end, _)| end.to_owned()),
            None => {
                let end = own.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
                let word = &own[..end.unwrap_or(own.len())];
                // `1 << 3` and `$x << FLAG` are sums; names of ends are upper case by custom.
                let is_end = word.starts_with(|c: char| c.is_ascii_uppercase() || c == '_');
                is_end.then(|| word.to_owned())
            }
        };
        found.extend(end.map(|end| (end, indented)));
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expect: &[&str]) {
        assert_eq!(read(text.as_bytes()).modules, expect, "{text}");
    }

    #[test]
    fn modules_are_told_from_pragmas_versions_and_prose() {
        check(
            "use strict; use JSON;\nuse v5.36;\nuse 5.010;\n",
            &["strict", "JSON"],
        );
        check(
            "  use A::B qw(x y);\nuse C 1.2;\nuse D();\nuse E\n  qw(x);",
            &["A::B", "C", "D", "E"],
        );
        check(
            "use F name => 1;\nuse G 'x', 'y';\nuse H -x;",
            &["F", "G", "H"],
        );
        check("use this option with care\nuse Foo bar baz\n", &[]);
        check("use if $x, 'A';\nno B;\n# use C;\n", &[]);
        check(
            "require A::B;\n  require C;\nrequire D if $x;\nrequire 'e.pl';\nrequire $f;\n",
            &["A::B"],
        );
        check("eval { require A }; eval \"use B; 1\";\n", &[]);
        check("BEGIN { use A; }\nBEGIN { require B; }\n", &["A", "B"]);
        check(
            "package Own;\nuse parent -norequire, 'X';\nuse base qw(Own A::B);\n",
            &["parent", "base", "A::B"],
        );
    }

    #[test]
    fn what_is_no_code_is_skipped() {
        check(
            "=head1 X\n\nuse A;\n\n=cut\nuse B;\n__END__\nuse C;\n",
            &["B"],
        );
        check(
            "print <<EOT . <<'E 2';\nuse A;\nEOT\nuse B;\nE 2\nuse C;\n",
            &["C"],
        );
        check("print <<~EOT;\n  use A;\n  EOT\nuse B;\n", &["B"]);
        check("my $x = 1 << 3;\nuse B;\n", &["B"]);
        check("eval q{\n  use A;\n  if (1) { }\n};\nuse B;\n", &["B"]);
        check("my %x = (qw(a b\n  c)); use A;\nuse B;\n", &["B"]);
    }

    #[test]
    fn what_changes_the_search_path_is_told() {
        let facts = |text: &str| {
            let facts = read(text.as_bytes());
            (facts.dirs.join(" "), facts.extends_path)
        };
        assert_eq!(facts("use lib '/opt/lib';"), ("/opt/lib".to_owned(), false));
        assert_eq!(facts("use lib qw(/a /b);"), ("/a /b".to_owned(), false));
        assert_eq!(
            facts("use lib \"$FindBin::Bin/../lib\";"),
            ("$Bin/../lib".to_owned(), false)
        );
        assert_eq!(facts("use lib $x;"), (String::new(), true));
        assert_eq!(facts("push @INC, '/x';"), (String::new(), true));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
        }

        #[test]
        fn no_text_of_the_grammar_makes_the_reader_panic(
            text in "((use|require|package|BEGIN|qw|q|lib|parent|if|A::B|<<|EOT|=cut|@INC|ä)|[ \t\n;(){}<>'\"~$#=]){0,60}"
        ) {
            for module in read(text.as_bytes()).modules {
                prop_assert!(is_module(&module), "{}", module);
            }
        }
    }
}
