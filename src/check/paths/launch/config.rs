//! Files of configuration that a program is told to read.

/// Where such files come with packages and layers.
const PLACES: [&str; 3] = ["/etc/", "/opt/", "/usr/"];

/// How their names end.
const ENDINGS: [&str; 11] = [
    ".cf", ".cfg", ".cnf", ".conf", ".config", ".ini", ".json", ".toml", ".xml", ".yaml", ".yml",
];

/// The words of an option, one of which says that its value is configuration.
const WORDS: [&str; 7] = [
    "cfg",
    "cfgfile",
    "conf",
    "conffile",
    "config",
    "configfile",
    "configuration",
];

/// Programs that make files, or ask whether they are there.
const OTHERS: [&str; 14] = [
    "[", "chmod", "chown", "cp", "install", "ln", "mkdir", "mv", "rm", "sed", "stat", "test",
    "touch", "cat",
];

/// Returns the files of options that are called after configuration (`--config=FILE`), and of `-c`,
/// `-C` and `-f` where the file has such a name.
pub(super) fn files<'a>(program: &str, words: &'a [String]) -> Vec<&'a str> {
    if OTHERS.contains(&program) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        if word == "--" {
            break;
        }
        let (option, value) = match word.split_once('=') {
            Some((option, value)) => (option, Some(value)),
            None => (word.as_str(), words.get(at + 1).map(String::as_str)),
        };
        let Some(path) = value.filter(|path| PLACES.iter().any(|place| path.starts_with(place)))
        else {
            continue;
        };
        let is_named = ENDINGS.iter().any(|ending| path.ends_with(ending));
        let is_option = match option {
            "-c" | "-C" | "-f" => is_named,
            option => is_of_configuration(option),
        };
        // A directory may be made by the program; a pattern is read by it.
        if is_option && !path.ends_with('/') && !path.contains(['*', '?', ',', ':']) {
            found.push(path);
        }
    }
    found
}

/// Says whether an option is called after configuration: `--config`, `-conf`, `--web.config.file`.
fn is_of_configuration(option: &str) -> bool {
    let Some(name) = option.strip_prefix('-') else {
        return false;
    };
    let name = name.to_ascii_lowercase();
    let mut words = name.split(['-', '_', '.']);
    words.clone().any(|word| WORDS.contains(&word)) && !words.any(|word| word == "no")
}
