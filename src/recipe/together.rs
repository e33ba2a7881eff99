//! Readers that go on after a mistake: what several of them found is one error.

use super::error::RecipeError;

/// Returns all values, or all that is wrong.
pub(crate) fn all<T>(
    results: impl IntoIterator<Item = Result<T, RecipeError>>,
) -> Result<Vec<T>, RecipeError> {
    let (mut values, mut wrong) = (Vec::new(), None::<RecipeError>);
    for result in results {
        match result {
            Ok(value) => values.push(value),
            Err(error) => {
                wrong = Some(match wrong {
                    Some(before) => before.and(error),
                    None => error,
                });
            }
        }
    }
    wrong.map_or(Ok(values), Err)
}

/// Results of several readers, of which none stops the others.
pub(crate) trait Together {
    /// What they come to when nothing is wrong.
    type Values;

    /// Returns all values, or all that is wrong.
    fn together(self) -> Result<Self::Values, RecipeError>;
}

macro_rules! together {
    ($($name:ident)+) => {
        impl<$($name),+> Together for ($(Result<$name, RecipeError>,)+) {
            type Values = ($($name,)+);

            #[allow(non_snake_case)]
            fn together(self) -> Result<Self::Values, RecipeError> {
                let ($($name,)+) = self;
                let mut wrong = None::<RecipeError>;
                $(let $name = match $name {
                    Ok(value) => Some(value),
                    Err(error) => {
                        wrong = Some(match wrong {
                            Some(before) => before.and(error),
                            None => error,
                        });
                        None
                    }
                };)+
                match (wrong, $($name,)+) {
                    (None, $(Some($name),)+) => Ok(($($name,)+)),
                    (wrong, ..) => Err(wrong.unwrap_or_else(|| RecipeError::nothing())),
                }
            }
        }
    };
}

together!(A B);
together!(A B C);
together!(A B C D);
together!(A B C D E);
together!(A B C D E F);
together!(A B C D E F G);
together!(A B C D E F G H);
together!(A B C D E F G H I);
together!(A B C D E F G H I J);
