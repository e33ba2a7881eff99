//! How a script is started: what its first line says, whatever its mode.
//!
//! A build key has the content of a script and not its mode, and checkouts lose modes. So a script
//! that has lost its run bit is run by what its first line names, and never by whatever is at hand.

/// Starts of a file that are looked at; the kernel looks at fewer (`BINPRM_BUF_SIZE`).
pub const SCRIPT_START: usize = 4096;

/// How a script is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScriptStart {
    /// By itself, for it has the run bit; where it is a script, with what its `#!` line names.
    Itself(Option<String>),
    /// By `/bin/sh -e`: it has no run bit, and is the shell's by its `#!` line or its ending.
    Shell,
    /// By these words, which its `#!` line has.
    Words(Vec<String>),
}

/// Endings of names that belong to other languages than the shell's, with what runs them.
const OTHERS: [(&str, &str); 9] = [
    ("bash", "/bin/bash"),
    ("py", "/usr/bin/env python3"),
    ("pl", "/usr/bin/perl"),
    ("rb", "/usr/bin/env ruby"),
    ("js", "/usr/bin/env node"),
    ("php", "/usr/bin/env php"),
    ("lua", "/usr/bin/env lua"),
    ("tcl", "/usr/bin/env tclsh"),
    ("R", "/usr/bin/env Rscript"),
];

/// Says how the script called `name` is started, of which `start` are the first bytes; the error
/// is what is wrong with it, and what mends that.
pub fn script_start(
    name: &str,
    start: &[u8],
    is_executable: bool,
) -> Result<ScriptStart, (String, String)> {
    if start.starts_with(b"\x7fELF") {
        return match is_executable {
            true => Ok(ScriptStart::Itself(None)),
            false => Err((
                format!("'{name}' is a program without the run bit"),
                format!("run `chmod +x {name}`; in git: `git update-index --chmod=+x {name}`"),
            )),
        };
    }
    if start.starts_with(b"\xef\xbb\xbf") {
        return Err((
            format!("'{name}' starts with a byte order mark, which hides its first line"),
            format!("run `sed -i '1s/^\\xEF\\xBB\\xBF//' {name}`"),
        ));
    }
    if start.contains(&0) {
        return Err((
            format!("'{name}' is neither a script nor a program of Linux"),
            "name a script with a `#!` line, or a program with the run bit".to_owned(),
        ));
    }
    let line = start.split(|b| *b == b'\n').next().unwrap_or_default();
    if line.ends_with(b"\r") {
        return Err((
            format!("'{name}' has the line ends of Windows"),
            format!(
                "run `sed -i 's/\\r$//' {name}`; git keeps them away with `*.sh text eol=lf` in .gitattributes"
            ),
        ));
    }
    let line = String::from_utf8_lossy(line);
    let Some(words) = line.strip_prefix("#!").map(str::trim) else {
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        return match OTHERS.iter().find(|(other, _)| *other == ending) {
            Some((_, runs)) => Err((
                format!("'{name}' does not say what runs it, so a shell would"),
                format!("make `#!{runs}` its first line"),
            )),
            None if ending != "sh" => Err(unknown(name, is_executable)),
            None if is_executable => Ok(ScriptStart::Itself(None)),
            None => Ok(ScriptStart::Shell),
        };
    };
    if !words.starts_with('/') {
        return Err((
            format!("the first line of '{name}' names no program by its full path"),
            "write e.g. `#!/bin/sh` or `#!/usr/bin/env python3`".to_owned(),
        ));
    }
    Ok(match is_executable {
        true => ScriptStart::Itself(words.split([' ', '\t']).next().map(str::to_owned)),
        false => by_words(words),
    })
}

/// Says what is wrong with a text of which nothing says what runs it, and what mends that.
fn unknown(name: &str, is_executable: bool) -> (String, String) {
    let line = "make `#!/bin/sh`, or what it is written for, its first line";
    match is_executable {
        true => (
            format!("nothing says what runs '{name}', so a shell would"),
            line.to_owned(),
        ),
        false => (
            format!("'{name}' has no run bit, and nothing says what runs it"),
            format!("{line}, and run `chmod +x {name}`"),
        ),
    }
}

/// Splits a `#!` line as the kernel does: the program, and all that follows as one word.
fn by_words(line: &str) -> ScriptStart {
    let (program, argument) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let argument = argument.trim();
    let called = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let runs = match called(program).as_str() {
        "env" => called(argument),
        _ => called(program),
    };
    if program == "/bin/sh" && argument.is_empty() {
        return ScriptStart::Shell;
    }
    let mut words = vec![program.to_owned()];
    words.extend((!argument.is_empty()).then(|| argument.to_owned()));
    // A script without the run bit has always ended at the first command that fails.
    words.extend(
        ["sh", "dash", "bash", "ksh", "zsh"]
            .contains(&runs.as_str())
            .then(|| "-e".to_owned()),
    );
    ScriptStart::Words(words)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> ScriptStart {
        ScriptStart::Words(words.iter().map(|w| (*w).to_owned()).collect())
    }

    #[test]
    fn a_script_that_lost_its_run_bit_is_run_by_what_its_first_line_names() {
        for (text, start) in [
            ("#!/bin/sh\n", ScriptStart::Shell),
            ("#! /bin/sh", ScriptStart::Shell),
            ("#!/bin/sh -eu\n", words(&["/bin/sh", "-eu", "-e"])),
            ("#!/bin/bash\n", words(&["/bin/bash", "-e"])),
            (
                "#!/usr/bin/env bash\n",
                words(&["/usr/bin/env", "bash", "-e"]),
            ),
            ("#!/usr/bin/python3\n", words(&["/usr/bin/python3"])),
            (
                "#!/usr/bin/env -S perl -w\n",
                words(&["/usr/bin/env", "-S perl -w"]),
            ),
        ] {
            assert_eq!(
                script_start("setup", text.as_bytes(), false).unwrap(),
                start,
                "{text}"
            );
            let with = script_start("setup", text.as_bytes(), true).unwrap();
            let named = text.strip_prefix("#!").map(str::trim);
            let named = named.and_then(|line| line.split(' ').next());
            assert_eq!(
                with,
                ScriptStart::Itself(named.map(str::to_owned)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_a_shell_would_garble_is_refused_with_what_mends_it() {
        for (name, text, executable, said, cure) in [
            (
                "a",
                &b"\x7fELF\0"[..],
                false,
                "without the run bit",
                "chmod +x a",
            ),
            ("a.py", b"import os\n", false, "a shell would", "python3"),
            ("a.py", b"import os\n", true, "a shell would", "python3"),
            ("a", b"#!/bin/sh\r\necho\r\n", true, "Windows", "sed"),
            ("a.sh", b"echo\r\n", false, "Windows", "sed"),
            (
                "a",
                b"\xef\xbb\xbf#!/bin/sh\n",
                true,
                "byte order mark",
                "sed",
            ),
            ("a", b"MZ\0\0", true, "neither", "#!"),
            ("a", b"import os\n", false, "no run bit", "chmod +x a"),
            ("a", b"import os\n", true, "nothing says", "#!/bin/sh"),
            ("x.sh/a", b"", false, "no run bit", "chmod +x x.sh/a"),
            ("a.bash", b"x=(1)\n", false, "a shell would", "#!/bin/bash"),
            ("a", b"#!python3\n", true, "full path", "/usr/bin/env"),
        ] {
            let (found, help) = script_start(name, text, executable).unwrap_err();
            assert!(
                found.contains(said) && help.contains(cure),
                "{found} ({help})"
            );
        }
        for (name, text, executable, start) in [
            ("a", &b"\x7fELF\0"[..], true, ScriptStart::Itself(None)),
            ("a.sh", b"echo\n", true, ScriptStart::Itself(None)),
            ("a.sh", b"echo\n", false, ScriptStart::Shell),
            ("a.sh", b"", false, ScriptStart::Shell),
        ] {
            assert_eq!(script_start(name, text, executable), Ok(start), "{name}");
        }
    }
}
