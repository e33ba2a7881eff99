//! What the checks of paths say of a root, against what the kernel says inside it.

mod kernel;
mod programs;
mod random;
mod traps;
mod view;

use std::path::PathBuf;
use std::time::Instant;

use layerset::check::{Problem, Weight, paths};

pub use view::{DirView, tree_of};

/// Prints what is found in the root that `LAYERSET_TEST_ROOT` names, this machine's own else, and how long it took.
#[test]
#[ignore = "it prints a report, and depends on the machine"]
fn report_the_problems_of_a_root() {
    let root = std::env::var_os("LAYERSET_TEST_ROOT").map_or("/".into(), PathBuf::from);
    let (tree, view) = (tree_of(&root), DirView(root));
    let timed = |name: &str, check: &dyn Fn() -> Vec<Problem>| {
        let start = Instant::now();
        let problems = check();
        eprintln!("{name}: {} problems, {:?}", problems.len(), start.elapsed());
    };
    eprintln!("{} entries", tree.len());
    timed("links", &|| paths::links(&tree));
    timed("scripts", &|| paths::scripts(&tree, &view).unwrap());
    timed("units", &|| paths::units(&tree, &view).unwrap());
    timed("config", &|| paths::config(&tree, &view).unwrap());
    timed("python", &|| paths::python(&tree, &view).unwrap());
    timed("abi", &|| paths::abi(&tree));
    for problem in paths::problems(&tree, &view).unwrap() {
        let mark = match problem.weight {
            Weight::Grave => "GRAVE",
            Weight::Minor => "minor",
        };
        eprintln!("{mark} {}: {}", problem.id, problem.reason);
    }
}
