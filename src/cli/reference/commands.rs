//! The pages of section 1: `layerset` and each of its commands.

use clap::{Arg, Command};
use clap_mangen::Man;

use super::page::{Page, title};
use super::{CliError, FILES, environment, status};

/// Returns the pages of a command and of all below it.
pub(super) fn pages(command: Command) -> Result<Vec<Page>, CliError> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    collect(&command, &[], &mut pages)?;
    Ok(pages)
}

fn collect(command: &Command, above: &[String], pages: &mut Vec<Page>) -> Result<(), CliError> {
    pages.push(page(command, above)?);
    let mut path = above.to_vec();
    path.push(name(command));
    for below in command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
    {
        collect(below, &path, pages)?;
    }
    Ok(())
}

fn name(command: &Command) -> String {
    let name = command.get_display_name();
    name.unwrap_or_else(|| command.get_name()).to_owned()
}

fn page(command: &Command, above: &[String]) -> Result<Page, CliError> {
    let name = name(command);
    let mut page = Page::empty(&name, 1);
    let help = Help::of(command);
    page.raw(
        &of_clap(command, &name).map_err(|error| {
            CliError::bug(format!("the page of '{name}' cannot be made: {error}"))
        })?,
    );
    if !help.prose.is_empty() {
        page.heading("NOTES");
        for paragraph in &help.prose {
            page.paragraph(paragraph);
        }
    }
    status::add(&mut page);
    environment::add(&mut page, command.get_arguments());
    page.heading("FILES");
    for (path, words) in FILES.iter().filter(|(path, _)| is_used(path, command)) {
        page.item(path, "", words);
    }
    page.heading("EXAMPLES");
    for (caption, lines) in &help.examples {
        if let Some(caption) = caption {
            page.paragraph(caption);
        }
        page.commands(lines);
    }
    if help.examples.is_empty() {
        page.paragraph("The pages of the commands have examples.");
    }
    page.see_also(related(command, above));
    Ok(page)
}

/// Renders what clap knows: name, synopsis, description, options and commands.
fn of_clap(command: &Command, name: &str) -> std::io::Result<Vec<u8>> {
    let [upper, section, date, source, manual] = title(name, 1);
    // clap_mangen would print the words below the options as one block.
    let plain = command.clone().after_help("").after_long_help("");
    let man = Man::new(plain)
        .title(upper)
        .section(section)
        .date(date)
        .source(source)
        .manual(manual);
    let mut bytes = Vec::new();
    man.render_title(&mut bytes)?;
    man.render_name_section(&mut bytes)?;
    man.render_synopsis_section(&mut bytes)?;
    man.render_description_section(&mut bytes)?;
    man.render_options_section(&mut bytes)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut bytes)?;
    }
    // An empty line between two breaks, which readers of pages warn of.
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.replace("\n.br\n\n.br\n", "\n.sp\n").into_bytes())
}

fn has(command: &Command, id: &str) -> bool {
    command.get_arguments().any(|arg| *arg.get_id() == id)
}

fn is_used(path: &str, command: &Command) -> bool {
    let is_all = command.get_name() == "layerset";
    is_all
        || match path {
            "/var/lib/layerset" => true,
            "/etc/layerset" => has(command, "trust") || has(command, "keys"),
            "TARGET/layerset" => has(command, "target"),
            _ => has(command, "recipe"),
        }
}

fn related(command: &Command, above: &[String]) -> Vec<String> {
    let of_commands = |name: &String| format!("{name}(1)");
    let mut pages: Vec<String> = above.iter().map(of_commands).collect();
    let below = command
        .get_subcommands()
        .filter(|below| !below.is_hide_set());
    pages.extend(below.map(|below| of_commands(&name(below))));
    pages.extend(["layerset(7)", "layerset-environment(7)"].map(str::to_owned));
    let is_top = above.is_empty();
    if is_top || has(command, "recipe") {
        pages.extend(["layerset-layer.toml(5)", "layerset-recipe.toml(5)"].map(str::to_owned));
    }
    if is_top || has(command, "trust") {
        pages.push("layerset-trust.toml(5)".to_owned());
    }
    pages
}

/// The words after the options: examples with their captions, and prose.
struct Help {
    examples: Vec<(Option<String>, String)>,
    prose: Vec<String>,
}

impl Help {
    fn of(command: &Command) -> Self {
        let text = command.get_after_help().map(ToString::to_string);
        Self::read(&text.unwrap_or_default())
    }

    fn read(text: &str) -> Self {
        let mut help = Self {
            examples: Vec::new(),
            prose: Vec::new(),
        };
        for paragraph in text.split("\n\n").map(str::trim_end) {
            let (first, rest) = paragraph.split_once('\n').unwrap_or((paragraph, ""));
            let is_example = first.ends_with(':')
                && !rest.is_empty()
                && rest.lines().all(|line| line.starts_with("  "));
            if is_example {
                let is_caption = !first.starts_with("Example");
                let lines: Vec<&str> = rest.lines().map(|line| &line[2..]).collect();
                let caption = is_caption.then(|| first.to_owned());
                help.examples.push((caption, lines.join("\n")));
            } else if first.starts_with("Exit status:") && command_says_no_more(paragraph) {
                // The page has a section of that name.
            } else if !paragraph.is_empty() {
                help.prose.push(paragraph.replace('\n', " "));
            }
        }
        help
    }
}

/// Says whether a paragraph lists the statuses that all commands have.
fn command_says_no_more(paragraph: &str) -> bool {
    paragraph.contains("70 a bug")
}

/// Returns the variable that an option can be given by.
pub(super) fn variable(arg: &Arg) -> Option<String> {
    let name = arg.get_env()?;
    Some(name.to_string_lossy().into_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn examples_prose_and_common_statuses_are_told_apart() {
        let help = Help::read(
            "Examples:\n  layerset a\n  layerset b   # why\n\nIt is\nso.\n\nThen:\n  layerset c\n\nExit status: 0 done, 70 a bug.\n\nExit status: 0 safe, 3 not.",
        );
        let expected = [
            (None, "layerset a\nlayerset b   # why".to_owned()),
            (Some("Then:".to_owned()), "layerset c".to_owned()),
        ];
        assert_eq!(help.examples, expected);
        assert_eq!(help.prose, ["It is so.", "Exit status: 0 safe, 3 not."]);
    }
}
