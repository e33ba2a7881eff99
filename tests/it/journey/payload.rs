//! What a layer makes arrives as it was made, through capture, composition and a mounted deployment.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use super::shared::world;

const SCRIPT: &str = r#"
mkdir -p /var/local/kit && echo settings > /var/local/kit/own
useradd --system --uid 543 --user-group zed
mkdir -p /opt/kit
cd /opt/kit
echo one > a && ln a b
printf x > "$(printf 'new\nline')"
printf x > "$(printf 'high\377')"
mknod null c 1 3 && chmod 666 null
mkfifo pipe
truncate -s 5G sparse
cp /bin/true suid && chmod 4755 suid
rm /etc/nginx/koi-utf
rm -r /usr/share/doc/nginx && ln -s nginx-common /usr/share/doc/nginx
mv /etc/nginx/conf.d /etc/nginx/conf.new
"#;

#[test]
fn what_a_layer_makes_arrives_as_it_was_made() {
    let Some(at) = world("what_a_layer_makes_arrives_as_it_was_made") else {
        return;
    };
    let script = at.read("layers/hello/setup.sh") + SCRIPT;
    at.write("layers/hello/setup.sh", &script);
    fs::create_dir_all(at.path("layers/hello/files/opt/low")).unwrap();
    at.write("layers/hello/files/opt/low/tool", "#!/bin/sh\n");
    let modes = "mode = { \"usr/lib/hello/hello\" = \"0755\"";
    at.edit(
        "layers/hello/layer.toml",
        &format!("{modes} }}"),
        &format!("{modes}, \"opt/low/tool\" = \"4750\" }}\nowner = {{ \"opt/low/tool\" = \"hello:mail\" }}"),
    );
    at.append(
        "layers/hello/layer.toml",
        "\n[state]\n\"var/local\" = \"image\"\n",
    );
    at.build();
    at.run("deploy web --target t").expect(0);
    let root = at.path("t/layerset/current/root");
    let facts = |path: &str| fs::symlink_metadata(root.join(path)).unwrap();

    let tool = facts("opt/low/tool");
    assert_eq!(tool.mode() & 0o7777, 0o4750);
    let ids = at.read("layers/ids.toml");
    let hello = ids
        .lines()
        .find_map(|line| line.strip_prefix("hello = "))
        .unwrap();
    assert_eq!((tool.uid().to_string().as_str(), tool.gid()), (hello, 8));

    assert_eq!(
        (facts("opt/kit/a").ino(), facts("opt/kit/a").nlink()),
        (facts("opt/kit/b").ino(), 2)
    );
    assert!(facts("opt/kit/null").file_type().is_char_device());
    assert_eq!(facts("opt/kit/null").rdev(), 259);
    assert!(facts("opt/kit/pipe").file_type().is_fifo());
    assert_eq!(facts("opt/kit/sparse").len(), 5 << 30);
    let objects = at.path("repo/objects");
    let room: u64 = fs::read_dir(objects)
        .unwrap()
        .flat_map(|dir| fs::read_dir(dir.unwrap().path()).unwrap())
        .map(|entry| entry.unwrap().metadata().unwrap().blocks() * 512)
        .sum();
    assert!(room < 1 << 30, "holes are stored: {room} bytes");
    assert_eq!(facts("opt/kit/suid").mode() & 0o7777, 0o4755);
    let names = fs::read_dir(root.join("opt/kit"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let names: Vec<Vec<u8>> = names.map(|name| name.as_encoded_bytes().to_vec()).collect();
    assert!(
        names.contains(&b"new\nline".to_vec()) && names.contains(&b"high\xff".to_vec()),
        "{names:?}"
    );

    // /var/local is a directory of the base and stays one; what is new in it is the image's, reached by a link.
    assert!(facts("var/local").is_dir() && facts("var/local/kit").is_symlink());
    assert_eq!(at.current("var/local/kit/own"), "settings\n");

    assert!(!root.join("etc/nginx/koi-utf").exists());
    assert!(facts("usr/share/doc/nginx").file_type().is_symlink());
    assert!(!root.join("etc/nginx/conf.d").exists() && root.join("etc/nginx/conf.new").is_dir());
    at.is_clean_but_mounted();
}
