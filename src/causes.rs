//! Errors with their causes, as text.

use std::error::Error;

/// Returns an error and its causes, outermost first, joined by colons.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    for cause in causes(error) {
        text.push_str(&format!(": {cause}"));
    }
    text
}

/// Returns the innermost cause of an error as text; the error itself, where it has none.
pub fn deepest(error: &dyn Error) -> String {
    causes(error)
        .last()
        .map_or_else(|| error.to_string(), ToString::to_string)
}

/// Goes through the causes of an error, outermost first, itself left out.
pub fn causes<'a>(error: &'a (dyn Error + 'a)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause: &&'a (dyn Error + 'static)| {
        (*cause).source()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read")]
    struct Outer(#[source] io::Error);

    #[test]
    fn causes_are_told_from_the_outermost_to_the_innermost() {
        let inner = io::Error::other("no such thing");
        assert_eq!(chain(&inner), "no such thing");
        assert_eq!(deepest(&inner), "no such thing");
        let outer = Outer(inner);
        assert_eq!(chain(&outer), "cannot read: no such thing");
        assert_eq!(deepest(&outer), "no such thing");
    }
}
