//! Sessions with a repository: made, listed, shown, cleaned, as text and as JSON.

use serde_json::Value;

use super::fixture::{PAGE, empty, small};
use crate::session::transcripts;

#[test]
fn a_repository_is_made_once_and_never_over_something_else() {
    let at = empty();
    at.write("full/file", "mine\n");
    let ran = ["init", "init", "--repo full init", "--repo sub/dir init"];
    insta::assert_snapshot!(transcripts(&ran.map(|line| at.session.run(line))), @r"
    $ layerset init
    made a repository at REPO
    [status 0]

    $ layerset init
    left as it is: there is already a repository at REPO
    [status 0]

    $ layerset --repo full init
    ! error: 'DIR/full' is not empty and holds no repository
    ! hint: choose an empty directory
    [status 1]

    $ layerset --repo sub/dir init
    made a repository at DIR/sub/dir
    [status 0]
    ");
    let left = std::fs::read_dir(at.dir.path().join("full"))
        .unwrap()
        .count();
    assert_eq!(left, 1);
}

#[test]
fn commands_without_a_repository_say_how_to_make_one() {
    let at = empty();
    let ran = ["list", "fsck", "gc", "deploy web --target t"];
    insta::assert_snapshot!(transcripts(&ran.map(|line| at.session.run(line))), @r"
    $ layerset list
    ! error: no repository at 'REPO'
    ! hint: run `layerset init --repo REPO`, or name another one with --repo
    [status 1]

    $ layerset fsck
    ! error: no repository at 'REPO'
    ! hint: run `layerset init --repo REPO`, or name another one with --repo
    [status 1]

    $ layerset gc
    ! error: no repository at 'REPO'
    ! hint: run `layerset init --repo REPO`, or name another one with --repo
    [status 1]

    $ layerset deploy web --target t
    ! error: no repository at 'REPO'
    ! hint: run `layerset init --repo REPO`, or name another one with --repo
    [status 1]
    ");
    assert_eq!(std::fs::read_dir(at.dir.path()).unwrap().count(), 0);
}

#[test]
fn an_empty_repository_lists_says_and_removes_nothing() {
    let at = empty();
    at.session.run("init").expect(0);
    let ran = ["list", "fsck", "gc", "gc --dry-run"];
    insta::assert_snapshot!(transcripts(&ran.map(|line| at.session.run(line))), @r"
    $ layerset list
    nothing is built yet: `layerset build RECIPE` makes an image
    [status 0]

    $ layerset fsck
    0 objects and 0 manifests verified
    [status 0]

    $ layerset gc
    removed 0 objects and 0 manifests, 0 B; 0 objects stay
    [status 0]

    $ layerset gc --dry-run
    would remove 0 objects and 0 manifests, 0 B; 0 objects stay
    [status 0]
    ");
}

#[test]
fn an_image_and_its_layer_are_listed_and_shown() {
    let at = small();
    let ran = [
        "list",
        "show web",
        "show web/site",
        "show web --dump",
        "show web/site --dump",
    ];
    insta::assert_snapshot!(transcripts(&ran.map(|line| at.session.run(line))), @r"
    $ layerset list
    ref                        id  version  size  holds
    images/web       263ef339af8b           18 B  site
    layers/web/site  9c8a046d5ad4  1        18 B  0 packages
    [status 0]

    $ layerset show web
    image web b3:263ef339af8be83b271d694b845f6e5b520a5a1669b2135ba632bb26032360ce
    18 B, 3 paths, amd64; targets keep 3 deployments

    layer  version            id
    site         1  9c8a046d5ad4
    [status 0]

    $ layerset show web/site
    layer site 1 b3:9c8a046d5ad42b4391157e1452662bf40923bf099d1c8087d26fe2e0c8a43539
    18 B, amd64, a base
    [status 0]

    $ layerset show web --dump
    / dir 0755 root root 0.0 -
    /srv dir 0755 root root 0.0 -
    /srv/page.html file 0644 root root 0.0 b3:608602bae30040bf1a835253af0dadd2c9a9074443b9119f21dc62f3111fb821 18
    [status 0]

    $ layerset show web/site --dump
    +/ dir 0755 root root 0.0 -
    +/srv dir 0755 root root 0.0 -
    +/srv/page.html file 0644 root root 0.0 b3:608602bae30040bf1a835253af0dadd2c9a9074443b9119f21dc62f3111fb821 18
    [status 0]
    ");
}

#[test]
fn a_set_of_layers_is_checked_and_questions_about_it_are_answered() {
    let at = small();
    let ran = [
        "check web",
        "check web --all",
        "check web --explain elf:none",
        "check web --with",
        "check web --with base",
        "check web --with base=web/site",
        "check web --with site=web/site",
        "check none",
        "compose recipes/none.toml",
    ];
    insta::assert_snapshot!(transcripts(&ran.map(|line| at.session.run(line))), @r"
    $ layerset check web
    safe
      site 1 9c8a046d5ad4
    [status 0]

    $ layerset check web --all
    safe
      site 1 9c8a046d5ad4
    [status 0]

    $ layerset check web --explain elf:none
    ! error: the set has no finding 'elf:none'
    ! hint: `layerset check --all` lists all of them
    [status 2]

    $ layerset check web --with
    ! error: a value is required for '--with <LAYER=ID>' but none was supplied
    !
    ! For more information, try '--help'.
    [status 2]

    $ layerset check web --with base
    ! error: invalid value 'base' for '--with <LAYER=ID>': it must be LAYER=ID, e.g. debian=web/debian
    !
    ! For more information, try '--help'.
    [status 2]

    $ layerset check web --with base=web/site
    ! error: the set has no layer 'base'
    ! hint: it has: site
    [status 2]

    $ layerset check web --with site=web/site
    safe
      site 1 9c8a046d5ad4
    [status 0]

    $ layerset check none
    ! error: the repository has no image, layer or ref 'none'
    ! hint: `layerset list` shows what there is
    [status 1]

    $ layerset compose recipes/none.toml
    ! error: cannot read 'recipes/none.toml'
    ! caused by: No such file or directory (os error 2)
    [status 1]
    ");
    let report = at.session.run("check web --json").expect(0).json();
    assert_eq!(report["verdict"], "safe");
    for key in ["layers", "findings", "known"] {
        assert!(report[key].is_array(), "{key}: {report:#}");
    }
}

#[test]
fn every_thing_is_shown_by_its_id_and_by_an_abbreviation() {
    let at = small();
    let show = |id: &str| at.session.run_words(&["show", id]).expect(0).stdout;
    assert_eq!(show(&at.page.to_string()).as_bytes(), PAGE);
    assert_eq!(show(&at.page.to_string()[..11]).as_bytes(), PAGE);
    assert_eq!(show(&at.image.to_string()), show("images/web"));
    assert_eq!(show(&at.image.to_hex()[..12]), show("web"));
    assert_eq!(show(&at.layer.to_string()), show("layers/web/site"));
    assert!(show(&at.tree.to_string()).contains("/srv/page.html file 0644 root root"));
    assert!(show(&at.changeset.to_string()).contains("+/srv/page.html file 0644 root root"));
}

#[test]
fn unknown_and_ambiguous_ids_are_told_apart() {
    let at = small();
    // Only the name of a file counts for an abbreviation: this is the page's object with another last digit.
    let object = at.file("object");
    let mut twin = object.to_str().unwrap().to_owned();
    let last = if twin.ends_with('0') { '1' } else { '0' };
    twin.pop();
    twin.push(last);
    std::fs::copy(&object, twin).unwrap();
    let ran = [
        "show nothing".to_owned(),
        "show b3:0000".to_owned(),
        "show b3:00".to_owned(),
        format!("show {}", &at.page.to_string()[..11]),
        "deploy web/site --target t".to_owned(),
    ];
    insta::assert_snapshot!(transcripts(&ran.map(|line| at.session.run(&line))), @r"
    $ layerset show nothing
    ! error: the repository has no image, layer or ref 'nothing'
    ! hint: `layerset list` shows what there is
    [status 1]

    $ layerset show b3:0000
    ! error: the repository has no image, layer, tree or object 'b3:0000'
    ! hint: `layerset list` shows what there is
    [status 1]

    $ layerset show b3:00
    ! error: the repository has no image, layer or ref 'b3:00'
    ! hint: `layerset list` shows what there is
    [status 1]

    $ layerset show b3:608602ba
    ! error: 'b3:608602ba' is ambiguous: it matches 2 things
    ! hint: give more digits of the id
    [status 1]

    $ layerset deploy web/site --target t
    ! error: the repository has no image 'web/site'
    ! hint: `layerset list` shows what there is
    [status 1]
    ");
}

#[test]
fn garbage_is_named_first_and_only_removed_when_asked() {
    let at = small();
    let ran = ["gc --dry-run", "gc", "gc", "fsck"];
    insta::assert_snapshot!(transcripts(&ran.map(|line| at.session.run(line))), @r"
    $ layerset gc --dry-run
    objects/f0/38761fc924b8f809274dd6c1ff0e1b4425a3d9facb768be41ae3d72d3ec2a1  18 B
    would remove 1 objects and 0 manifests, 18 B; 1 objects stay
    [status 0]

    $ layerset gc
    removed 1 objects and 0 manifests, 18 B; 1 objects stay
    [status 0]

    $ layerset gc
    removed 0 objects and 0 manifests, 0 B; 1 objects stay
    [status 0]

    $ layerset fsck
    1 objects and 4 manifests verified
    [status 0]
    ");
    assert_eq!(
        at.session
            .run_words(&["show", &at.page.to_string()])
            .expect(0)
            .stdout
            .as_bytes(),
        PAGE
    );
}

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn json_is_one_document_with_the_documented_keys() {
    let at = small();
    let json = |line: &str| at.session.run(line).expect(0).json();
    assert_eq!(keys(&json("--json init")), ["created", "repository"]);
    let list = json("--json list");
    assert_eq!(keys(&list), ["images", "layers", "targets"]);
    assert_eq!(
        keys(&list["images"][0]),
        ["bytes", "id", "layers", "name", "ref"]
    );
    assert_eq!(
        keys(&list["layers"][0]),
        ["bytes", "id", "name", "ref", "version"]
    );
    assert_eq!(list["images"][0]["id"], at.image.to_string().as_str());
    assert_eq!(
        keys(&json("--json fsck")),
        [
            "commands",
            "damaged",
            "manifests",
            "objects",
            "remarks",
            "repaired"
        ]
    );
    let plan = json("--json gc --dry-run");
    assert_eq!(
        keys(&plan),
        [
            "bytes",
            "cached_files",
            "dry_run",
            "files",
            "kept_objects",
            "manifests",
            "objects"
        ]
    );
    assert_eq!(keys(&plan["files"][0]), ["path", "size"]);
    assert_eq!(
        keys(&json("--json gc")),
        [
            "bytes",
            "cached_files",
            "dry_run",
            "kept_objects",
            "removed_files",
            "work_dirs"
        ]
    );
    assert_eq!(
        json("--json show web")["tree"],
        at.tree.to_string().as_str()
    );
    assert_eq!(json("--json show web/site")["name"], "site");
}

#[test]
fn a_failure_as_json_is_one_document_too() {
    let at = small();
    for (line, exit) in [
        ("--json show nothing", 1),
        ("--json --repo none list", 1),
        ("--json build none.toml", 1),
    ] {
        let ran = at.session.run(line).expect(exit);
        let json = ran.json();
        assert_eq!(
            keys(&json["error"]),
            ["causes", "exit", "hint", "message"],
            "{line}"
        );
        assert_eq!(json["error"]["exit"], exit, "{line}");
        assert!(ran.stderr.starts_with("error: "), "{line}: {}", ran.stderr);
    }
}
