//! A layer and a recipe as `layerset new` writes them, built with real packages.

use super::shared::world;
use super::world::actions;

#[test]
fn what_is_written_to_start_from_can_be_locked_built_and_deployed() {
    let Some(at) = world("what_is_written_to_start_from_can_be_locked_built_and_deployed") else {
        return;
    };
    at.run("new layer shop --on debian").expect(0);
    at.run("new recipe small debian shop").expect(0);
    at.run("lock recipes/small.toml").expect(0);
    let report = at.json("build recipes/small.toml --json");
    let done = actions(&report);
    assert_eq!((done[1].0.as_str(), done[1].1.as_str()), ("shop", "built"));
    at.run("deploy small --target t --copy").expect(0);
    assert_eq!(at.current("usr/share/shop/README"), "The layer 'shop'.\n");
}
