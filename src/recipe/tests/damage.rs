//! Damaged files: every error has a place that a handler can draw, and nothing panics.

use super::*;

fn draw(error: &RecipeError) {
    let [fault] = error.faults() else {
        panic!("{error}")
    };
    let mut text = String::new();
    miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::none())
        .render_report(&mut text, fault)
        .unwrap();
    let place = format!(":{}:{}]", fault.line, fault.column);
    assert!(text.contains("[a.toml:"), "{error}: {text}");
    // miette counts columns of the label in its own way where characters are wide; lines always
    // agree.
    if text.is_ascii() {
        assert!(text.contains(&place), "{error}: {text}");
    }
}

fn each_damage(text: &str, mut check: impl FnMut(SourceFile)) {
    for (at, _) in text.char_indices() {
        check(SourceFile::new("a.toml", &text[..at]));
        for piece in ["", "\"", "]", "\n", "ö", "x"] {
            let (before, after) = text.split_at(at);
            let rest: String = after.chars().skip(1).collect();
            check(SourceFile::new("a.toml", format!("{before}{piece}{rest}")));
        }
    }
}

#[test]
fn every_damaged_definition_is_read_or_refused_at_a_place() {
    let (mut read, mut refused) = (0, 0);
    each_damage(HELLO, |source| match Definition::parse(&source, "hello") {
        Ok(_) => read += 1,
        Err(error) => {
            refused += 1;
            draw(&error);
        }
    });
    assert!(read > 0 && refused > read, "{read} read, {refused} refused");
}

#[test]
fn every_damaged_lock_is_refused_at_a_place_or_reads_back_the_same() {
    let lock = RecipeLock {
        version: LOCK_VERSION,
        recipe: "web".into(),
        architecture: "amd64".into(),
        layers: vec![LayerLock {
            name: "debian".into(),
            epoch: 7,
            requested: Vec::new(),
            packages: vec![package("dash", "0.5.12-12"), package("sed", "4.9-2")],
        }],
    };
    each_damage(&lock.to_toml(), |source| match RecipeLock::parse(&source) {
        Ok(lock) => {
            let again = SourceFile::new("b.lock", lock.to_toml());
            let mut sorted = lock;
            sorted.layers.iter_mut().for_each(|l| l.packages.sort());
            assert_eq!(RecipeLock::parse(&again).unwrap(), sorted);
        }
        Err(error) => draw(&error),
    });
}
