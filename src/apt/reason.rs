//! Reads the reasons apt gives when it finds no solution.

/// Holds one line of apt's "unmet dependencies".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UnmetRelation {
    /// The package that has the relation.
    pub package: String,
    /// `Depends`, `PreDepends`, `Breaks`, `Conflicts`, `Recommends` …
    pub relation: String,
    /// The other package's name.
    pub target: String,
    /// The version it must (or must not) have, as in `(>= 3.5.4)`, or nothing.
    pub condition: String,
    /// Why it is not met, in apt's words, from `but` on.
    pub problem: String,
}

impl UnmetRelation {
    /// Says whether the other package was left out only because one of its own relations failed.
    pub(super) fn is_consequence(&self) -> bool {
        self.problem.contains("not going to be installed")
    }

    /// Says whether the relation forbids the other package, rather than asking for it.
    pub(super) fn forbids(&self) -> bool {
        matches!(self.relation.as_str(), "Breaks" | "Conflicts")
    }

    /// Returns the other package with its version condition.
    pub(super) fn wanted(&self) -> String {
        format!("{} {}", self.target, self.condition)
            .trim_end()
            .to_owned()
    }

    /// Returns the line for people.
    pub(super) fn text(&self) -> String {
        let verb = match self.relation.as_str() {
            "Depends" | "PreDepends" => "depends on",
            "Recommends" => "recommends",
            "Breaks" => "breaks",
            "Conflicts" => "conflicts with",
            other => other,
        };
        format!("{} {verb} {} {}", self.package, self.wanted(), self.problem)
            .trim_end()
            .to_owned()
    }
}

/// Reads the block after "The following packages have unmet dependencies:".
pub(super) fn unmet(output: &str) -> Vec<UnmetRelation> {
    let mut all: Vec<UnmetRelation> = Vec::new();
    let mut package = String::new();
    let block = output
        .lines()
        .skip_while(|l| !l.contains("have unmet dependencies"))
        .skip(1);
    for line in block {
        if !line.starts_with(' ') {
            break;
        }
        let mut rest = line.trim();
        if let Some((name, after)) = rest.split_once(" : ") {
            name.trim().clone_into(&mut package);
            rest = after.trim();
        }
        // Alternatives of one relation stand on lines of their own, without the relation's name.
        let (relation, rest) = match rest.split_once(": ") {
            Some((relation, after)) if !relation.contains(' ') => {
                (relation.to_owned(), after.trim())
            }
            _ => (
                all.last().map_or_else(String::new, |u| u.relation.clone()),
                rest,
            ),
        };
        let rest = rest.strip_suffix(" or").unwrap_or(rest);
        let (wanted, problem) = match rest.find(" but ") {
            Some(at) => (&rest[..at], rest[at + 1..].to_owned()),
            None => (rest, String::new()),
        };
        let (target, condition) = wanted.trim().split_once(' ').unwrap_or((wanted.trim(), ""));
        all.push(UnmetRelation {
            package: package.clone(),
            relation,
            target: target.split(':').next().unwrap_or(target).to_owned(),
            condition: condition.trim().to_owned(),
            problem,
        });
    }
    all
}

/// Returns the text of all lines, root causes only where there are any.
pub(super) fn text(all: &[UnmetRelation]) -> String {
    let causes: Vec<&UnmetRelation> = all.iter().filter(|u| !u.is_consequence()).collect();
    let shown: Vec<String> = if causes.is_empty() {
        all.iter().map(UnmetRelation::text).collect()
    } else {
        causes.iter().map(|u| u.text()).collect()
    };
    shown.join("; ")
}

/// Returns the version or suite that apt says a package does not have, and the package.
pub(super) fn no_such_version(output: &str) -> Option<(String, String)> {
    output.lines().find_map(|line| {
        let rest = line
            .strip_prefix("E: Version '")
            .or_else(|| line.strip_prefix("E: Release '"))?;
        let (wanted, rest) = rest.split_once("' for '")?;
        Some((wanted.to_owned(), rest.split('\'').next()?.to_owned()))
    })
}

/// Returns the name for which apt has no version to install.
pub(super) fn no_candidate(output: &str) -> Option<String> {
    output.lines().find_map(|line| {
        let (name, rest) = line.strip_prefix("E: Package '")?.split_once('\'')?;
        rest.contains("no installation candidate")
            .then(|| name.to_owned())
    })
}

/// Returns the packages that apt lists as providing a virtual one.
pub(super) fn providers(output: &str) -> Vec<String> {
    let block = output
        .lines()
        .skip_while(|l| !l.contains("is a virtual package provided by:"))
        .skip(1);
    let names = block
        .take_while(|l| l.starts_with("  "))
        .filter_map(|l| l.split_whitespace().next());
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}

/// Returns the packages that apt would remove.
pub(super) fn removed(output: &str) -> Vec<String> {
    let block = output
        .lines()
        .skip_while(|l| !l.contains("packages will be REMOVED:"))
        .skip(1);
    let lines = block.take_while(|l| l.starts_with("  "));
    // A star marks a purge.
    lines
        .flat_map(str::split_whitespace)
        .map(|name| name.trim_end_matches('*').to_owned())
        .collect()
}

/// Returns the packages that apt chose in place of virtual ones.
pub(super) fn selected_instead(output: &str) -> Vec<String> {
    let notes = output.lines().filter_map(|l| {
        l.strip_prefix("Note, selecting '")?
            .split_once("' instead of '")
    });
    notes.map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: &str = "Reading package lists...\nSome packages could not be installed. This may mean that you have\n\
        requested an impossible situation\n\nThe following packages have unmet dependencies:\n \
        nginx : Depends: libssl3t64 (>= 3.5.4) but 3.5.1-1 is to be installed\n         \
        Depends: nginx-common (= 1.26) but it is not going to be installed\n \
        curl : Breaks: libcurl4:i386 (< 8) but 7.88 is to be installed\n \
        mail : Depends: exim4 but it is not installable or\n                 postfix but it is not installable\n\
        E: Unable to correct problems, you have held broken packages.\n";

    #[test]
    fn every_unmet_relation_is_read_with_its_package_target_and_problem() {
        let all = unmet(HELD);
        let told: Vec<String> = all.iter().map(UnmetRelation::text).collect();
        assert_eq!(
            told,
            [
                "nginx depends on libssl3t64 (>= 3.5.4) but 3.5.1-1 is to be installed",
                "nginx depends on nginx-common (= 1.26) but it is not going to be installed",
                "curl breaks libcurl4 (< 8) but 7.88 is to be installed",
                "mail depends on exim4 but it is not installable",
                "mail depends on postfix but it is not installable",
            ]
        );
        assert!(all[1].is_consequence() && !all[0].is_consequence());
        assert!(all[2].forbids());
    }

    #[test]
    fn consequences_are_left_out_where_a_cause_is_known() {
        assert!(!text(&unmet(HELD)).contains("nginx-common"));
        let only = unmet(
            "have unmet dependencies:\n a : Depends: b but it is not going to be installed\n",
        );
        assert_eq!(
            text(&only),
            "a depends on b but it is not going to be installed"
        );
    }

    #[test]
    fn single_line_errors_are_read() {
        let version = "E: Version '1.2' for 'nginx' was not found\n";
        assert_eq!(
            no_such_version(version),
            Some(("1.2".into(), "nginx".into()))
        );
        assert_eq!(
            no_such_version("E: Release 'sid' for 'nginx' was not found"),
            Some(("sid".into(), "nginx".into()))
        );
        let text = "Package mail-transport-agent is a virtual package provided by:\n  postfix 3.10\n  \
                    exim4-daemon-light 4.98 (= 1)\nYou should explicitly select one to install.\n\n\
                    E: Package 'mail-transport-agent' has no installation candidate\n";
        assert_eq!(no_candidate(text), Some("mail-transport-agent".into()));
        assert_eq!(providers(text), ["exim4-daemon-light", "postfix"]);
        assert_eq!(
            selected_instead("Note, selecting 'mawk' instead of 'awk'\n"),
            ["mawk"]
        );
    }
}
