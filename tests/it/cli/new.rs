//! `layerset new`: what it writes, and what it refuses to overwrite.

use super::fixture::empty;
use crate::session::transcripts;

#[test]
fn a_layer_and_a_recipe_start_from_files_that_are_right() {
    let at = empty();
    let ran = [
        "new layer shop",
        "new layer debian --base trixie",
        "new layer shop",
        "new recipe web",
        "new recipe shop debian shop",
        "new layer shop",
        "new layer Shop",
        "new recipe web/x",
    ];
    insta::assert_snapshot!(transcripts(&ran.map(|line| at.session.run(line))), @r"
    $ layerset new layer shop
    ! error: there is no base in './layers'
    ! hint: make one first: `layerset new layer debian --base trixie`; or give --dir
    [status 2]

    $ layerset new layer debian --base trixie
    ./layers/debian/layer.toml
    [status 0]

    $ layerset new layer shop
    ./layers/shop/layer.toml
    ./layers/shop/files/usr/share/shop/README
    [status 0]

    $ layerset new recipe web
    ./recipes/web.toml
    [status 0]

    $ layerset new recipe shop debian shop
    ./recipes/shop.toml
    [status 0]

    $ layerset new layer shop
    ! error: cannot write './layers/shop/layer.toml'
    ! caused by: File exists (os error 17)
    ! hint: choose another name, or remove it: nothing is overwritten
    [status 1]

    $ layerset new layer Shop
    ! error: 'Shop' is not a name: use up to 64 of a-z, 0-9, '+', '.', '-', '_', starting with a letter or digit
    [status 2]

    $ layerset new recipe web/x
    ! error: 'web/x' is not a name: use up to 64 of a-z, 0-9, '+', '.', '-', '_', starting with a letter or digit
    [status 2]
    ");
}
