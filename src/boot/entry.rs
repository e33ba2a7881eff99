//! Boot entries as text: of the Boot Loader Specification (type 1), which systemd-boot reads, and
//! the command line of the kernel.
//!
//! Everything lies on the ESP. The kernel and the initrds of a deployment lie in a directory that
//! is named by what they hold, which deployments with the same ones share.

use std::fmt::Write as _;

use crate::id::{ObjectId, hex};

/// Where systemd-boot finds its entries.
pub const ENTRIES: &str = "loader/entries";
/// Where systemd-boot finds its settings.
pub const LOADER_CONF: &str = "loader/loader.conf";
/// Where directories of kernels and what GRUB reads lie.
pub const DIRECTORY: &str = "layerset";
/// The kernel's name in its directory.
pub const LINUX: &str = "linux";
/// The name of the image's initrd there.
pub const INITRD: &str = "initrd";
/// The name of the archive with the boot script there.
pub const BOOT_ARCHIVE: &str = "boot.cpio";

/// How often an entry may be tried before it has to have proved itself.
pub const TRIES: u8 = 3;

/// The settings of systemd-boot: start the default entry at once, and show the menu to whoever
/// holds a key.
pub const LOADER_CONF_TEXT: &str = "\
# Hold the space bar to see the menu.
timeout 0
console-mode keep
editor no
";

/// What cannot stand in a boot entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' cannot stand in a boot entry: {problem}")]
pub struct EntryError {
    /// The text, escaped.
    pub text: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// Returns the directory on the ESP of a kernel and its initrds, named by what they hold.
pub fn kernel_directory(linux: &ObjectId, initrd: &ObjectId, boot_archive: &ObjectId) -> String {
    let all = [linux, initrd, boot_archive]
        .map(|id| *id.as_bytes())
        .concat();
    let digest = ObjectId::of(&all);
    // FAT holds long names; 16 digits are short to read and never met twice.
    format!("{DIRECTORY}/{}", hex(&digest.as_bytes()[..8]))
}

/// The command line of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine<'a> {
    /// The deployment that the boot script mounts; `None` for a plain root, which the initrd mounts
    /// itself.
    pub deployment: Option<u64>,
    /// The UUID of the filesystem of the data, or of the plain root.
    pub uuid: &'a str,
    /// Consoles, as in `console=`; the last one is what `/dev/console` is.
    pub consoles: &'a [&'a str],
    /// What the recipe adds.
    pub extra: &'a [&'a str],
}

/// The consoles that show something everywhere: the screen, and the first serial line.
pub const CONSOLES: [&str; 2] = ["tty0", "ttyS0"];

impl CommandLine<'_> {
    /// Returns its text, in one line; an empty word, or one that holds a control character, is an
    /// error.
    pub fn text(&self) -> Result<String, EntryError> {
        let mut words = Vec::new();
        if let Some(number) = self.deployment {
            words.push("boot=layerset".to_owned());
            words.push(format!("layerset.deployment={number}"));
        }
        words.push(format!("root=UUID={}", self.uuid));
        words.push("ro".to_owned());
        // What systemd would make anew because `/usr` is newer than a stamp is part of the image.
        words.push("systemd.condition_needs_update=no".to_owned());
        words.extend(
            self.consoles
                .iter()
                .map(|console| format!("console={console}")),
        );
        if self.deployment.is_some() {
            // A boot that fails starts again, so that the next entry gets its turn.
            words.push("panic=10".to_owned());
        }
        words.extend(self.extra.iter().map(|word| (*word).to_owned()));
        for word in &words {
            check_line(word)?;
            if let Some(problem) = argument_problem(word) {
                return Err(fault(word, problem));
            }
        }
        Ok(words.join(" "))
    }
}

/// An entry for one deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What the menu shows.
    pub title: &'a str,
    /// The deployment's number.
    pub deployment: u64,
    /// The highest comes first in the menu, and starts by itself.
    pub version: u64,
    /// What [`kernel_directory`] returned.
    pub kernel_directory: &'a str,
    /// What [`CommandLine::text`] returned.
    pub options: &'a str,
}

impl Entry<'_> {
    /// Returns the name of its file in [`ENTRIES`]: with a counter of `tries` that systemd-boot
    /// keeps, or for good.
    pub fn file_name(&self, tries: Option<u8>) -> String {
        let counter = tries.map_or(String::new(), |tries| format!("+{tries}"));
        format!("layerset-{}{counter}.conf", self.deployment)
    }

    /// Returns its text.
    pub fn text(&self) -> Result<String, EntryError> {
        let directory = self.checked_directory()?;
        let mut text = String::new();
        for (key, value) in [
            ("title", self.title),
            ("sort-key", "layerset"),
            ("version", &self.version.to_string()),
            ("linux", &format!("/{directory}/{LINUX}")),
            ("initrd", &format!("/{directory}/{INITRD}")),
            ("initrd", &format!("/{directory}/{BOOT_ARCHIVE}")),
            ("options", self.options),
        ] {
            check_line(value)?;
            let _ = writeln!(text, "{key} {value}");
        }
        Ok(text)
    }

    /// Returns the same entry for GRUB: the content of [`file_name_of_grub`](Self::file_name_of_grub).
    pub fn text_of_grub(&self) -> Result<String, EntryError> {
        let directory = self.checked_directory()?;
        for value in [self.title, self.options] {
            check_line(value)?;
        }
        Ok(format!(
            "menuentry {title} --id layerset-{number} {{\n\
             \tlinux /{directory}/{LINUX} {options}\n\
             \tinitrd /{directory}/{INITRD} /{directory}/{BOOT_ARCHIVE}\n\
             }}\n",
            title = quote(self.title),
            number = self.deployment,
            options = grub_options(self.options),
        ))
    }

    /// Returns the name of its file for GRUB, in [`grub::ENTRIES`](super::grub::ENTRIES).
    pub fn file_name_of_grub(&self) -> String {
        format!("layerset-{}.cfg", self.deployment)
    }

    fn checked_directory(&self) -> Result<&str, EntryError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        if self.kernel_directory.chars().all(is_plain) {
            Ok(self.kernel_directory)
        } else {
            Err(fault(self.kernel_directory, "it is no plain path"))
        }
    }
}

/// Returns a command line with another deployment in it.
pub fn with_deployment(options: &str, deployment: u64) -> String {
    let words = options.split(' ').filter(|word| !word.is_empty());
    let words = words.map(|word| match word.strip_prefix("layerset.deployment=") {
        Some(_) => format!("layerset.deployment={deployment}"),
        None => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Returns the text of the entry of a plain root, whose kernel and initrd lie in `directory` on the
/// ESP.
pub fn plain_text(
    title: &str,
    version: &str,
    directory: &str,
    options: &str,
) -> Result<String, EntryError> {
    let mut text = String::new();
    for (key, value) in [
        ("title", title),
        ("sort-key", "layerset"),
        ("version", version),
        ("linux", &format!("/{directory}/{LINUX}")),
        ("initrd", &format!("/{directory}/{INITRD}")),
        ("options", options),
    ] {
        check_line(value)?;
        let _ = writeln!(text, "{key} {value}");
    }
    Ok(text)
}

/// Says why a text cannot be one argument of the kernel, if it cannot.
///
/// The kernel knows double quotes only, around spaces. GRUB puts a backslash before the others.
pub fn argument_problem(word: &str) -> Option<&'static str> {
    if word.trim().is_empty() {
        return Some("it is empty");
    }
    if word.contains(['\'', '\\']) {
        return Some("it holds a single quote or a backslash, which the kernel does not know");
    }
    match arguments(word).as_slice() {
        [only] if only.len() + word.matches('"').count() == word.len() => {}
        _ => return Some("it holds a space that no double quotes are around"),
    }
    (word.matches('"').count() % 2 == 1).then_some("it holds one double quote without the other")
}

/// Splits a command line as the kernel does: at spaces outside double quotes, which are left out.
fn arguments(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for c in line.chars() {
        match (c, words.last_mut()) {
            ('"', _) => is_quoted = !is_quoted,
            (' ', _) if !is_quoted => words.push(String::new()),
            (c, Some(word)) => word.push(c),
            _ => {}
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Writes a command line for GRUB, which puts double quotes around a word with a space itself.
pub(super) fn grub_options(line: &str) -> String {
    let words: Vec<String> = arguments(line).iter().map(|word| quote(word)).collect();
    words.join(" ")
}

/// Quotes a word for GRUB where it has to be: like a shell's single quotes, which GRUB has too.
pub(super) fn quote(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "=:,._/+-@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Makes sure that a text stays in its line.
pub(super) fn check_line(text: &str) -> Result<(), EntryError> {
    if text.chars().any(char::is_control) {
        return Err(fault(text, "it holds a control character"));
    }
    Ok(())
}

fn fault(text: &str, problem: &'static str) -> EntryError {
    EntryError {
        text: text.escape_debug().to_string(),
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "11111111-2222-4333-8444-555555555555";

    fn line<'a>(extra: &'a [&'a str]) -> CommandLine<'a> {
        CommandLine {
            deployment: Some(7),
            uuid: UUID,
            consoles: &CONSOLES,
            extra,
        }
    }

    #[test]
    fn an_entry_names_its_deployment_its_kernel_and_both_initrds() {
        let options = line(&["quiet"]).text().unwrap();
        let id = |text: &str| ObjectId::of(text.as_bytes());
        let directory = kernel_directory(&id("linux"), &id("initrd"), &id("cpio"));
        let entry = Entry {
            title: "web 7",
            deployment: 7,
            version: 9,
            kernel_directory: &directory,
            options: &options,
        };
        insta::assert_snapshot!(entry.text().unwrap(), @r"
        title web 7
        sort-key layerset
        version 9
        linux /layerset/9390bf9e329d2c55/linux
        initrd /layerset/9390bf9e329d2c55/initrd
        initrd /layerset/9390bf9e329d2c55/boot.cpio
        options boot=layerset layerset.deployment=7 root=UUID=11111111-2222-4333-8444-555555555555 ro systemd.condition_needs_update=no console=tty0 console=ttyS0 panic=10 quiet
        ");
        let grub = entry.text_of_grub().unwrap();
        let (head, rest) = grub.split_once('\n').unwrap();
        assert_eq!(head, "menuentry 'web 7' --id layerset-7 {");
        let (linux, rest) = rest.split_once('\n').unwrap();
        assert_eq!(linux, format!("\tlinux /{directory}/linux {options}"));
        assert_eq!(
            rest,
            format!("\tinitrd /{directory}/initrd /{directory}/boot.cpio\n}}\n")
        );
        assert_eq!(entry.file_name(Some(TRIES)), "layerset-7+3.conf");
        assert_eq!(entry.file_name(None), "layerset-7.conf");
        assert_eq!(entry.file_name_of_grub(), "layerset-7.cfg");
        let other = kernel_directory(&id("linux"), &id("initrd"), &id("other script"));
        assert_ne!(directory, other);
    }

    #[test]
    fn another_deployment_gets_the_same_arguments() {
        let options = line(&["a=\"b c\"", "quiet"]).text().unwrap();
        let other = with_deployment(&options, 12);
        assert!(other.contains(" layerset.deployment=12 ") && other.ends_with("a=\"b c\" quiet"));
        assert_eq!(with_deployment(&other, 7), options);
    }

    #[test]
    fn a_plain_root_is_mounted_by_the_initrd_itself() {
        let plain = CommandLine {
            deployment: None,
            ..line(&[])
        };
        assert_eq!(
            plain.text().unwrap(),
            format!(
                "root=UUID={UUID} ro systemd.condition_needs_update=no console=tty0 console=ttyS0"
            )
        );
    }

    #[test]
    fn nothing_leaves_its_line_or_its_quotes() {
        let error = line(&["quiet\nlinux /evil"]).text().unwrap_err();
        assert_eq!(
            error.to_string(),
            r"'quiet\nlinux /evil' cannot stand in a boot entry: it holds a control character"
        );
        for word in ["", " ", "it's", "a b", "a=\"b", "a=\"b\" c", "a\\b"] {
            assert!(line(&[word]).text().is_err(), "{word}");
        }
        assert!(line(&["a=\"b c\""]).text().is_ok());
        let entry = Entry {
            title: "it's; reboot",
            deployment: 1,
            version: 1,
            kernel_directory: "layerset/0",
            options: "a=$b c d=\"e f\"",
        };
        let text = entry.text_of_grub().unwrap();
        assert!(
            text.starts_with(r"menuentry 'it'\''s; reboot' --id layerset-1 {"),
            "{text}"
        );
        assert!(
            text.contains("linux /layerset/0/linux 'a=$b' c 'd=e f'\n"),
            "{text}"
        );
        let entry = Entry {
            kernel_directory: "layerset/$x",
            ..entry
        };
        assert!(entry.text().is_err() && entry.text_of_grub().is_err());
    }
}
