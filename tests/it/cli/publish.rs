//! Publishing, serving, pulling and deploying by the program itself, with real keys.

use std::io::BufRead as _;
use std::process::Stdio;

use super::fixture::small;
use crate::session::Session;

#[test]
fn an_image_goes_from_a_publisher_over_http_to_a_machine_that_trusts_it() {
    let small = small();
    let session = &small.session;
    let dir = small.dir.path();
    let run = |line: &str| session.run(line);
    let keys = format!("--keys {0}/keys --root {0}/root.json", dir.display());
    let to = format!("--to {}/remote {keys}", dir.display());
    run(&format!("trust init {}/remote {keys}", dir.display())).expect(0);
    run(&format!("publish web --channel stable --dry-run {to}")).expect(0);
    run(&format!("publish web --channel stable {to}")).expect(0);
    let again = run(&format!("publish web --channel stable {to}")).expect(0);
    assert!(again.stdout.contains("unchanged"), "{}", again.transcript());
    let shown = run(&format!("trust show {}/remote {keys}", dir.display())).expect(0);
    assert!(
        shown.stdout.contains("images/web/stable: release 1"),
        "{}",
        shown.stdout
    );

    let served = dir.join("remote");
    let words = [
        "serve",
        served.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
        "--json",
    ];
    let mut server = session
        .command(&words)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(server.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains("127.0.0.1:") {
        assert_ne!(lines.read_line(&mut text).unwrap(), 0, "{text}");
    }
    let at = text.find("127.0.0.1:").unwrap();
    let address: String = text[at..]
        .chars()
        .take_while(|c| c.is_ascii_digit() || ".:".contains(*c))
        .collect();

    let policy = format!(
        "[[remote]]\nname = \"main\"\nlocation = \"http://{address}\"\nroot = \"root.json\"\nchannels = [\"images/web/*\"]\n"
    );
    std::fs::write(dir.join("trust.toml"), policy).unwrap();
    let machine = Session::new(dir, &dir.join("machine"));
    machine.run("init").expect(0);
    let trust = format!("--trust {}/trust.toml", dir.display());
    let pulled = machine
        .run(&format!("pull web/stable --json {trust}"))
        .expect(0)
        .json();
    assert_eq!(pulled["id"], small.image.to_string());
    assert_eq!(pulled["serial"], 1);
    machine.run("fsck").expect(0);
    let again = machine
        .run(&format!("pull web/stable --json {trust}"))
        .expect(0)
        .json();
    assert_eq!(again["requests"], 1);
    machine
        .run(&format!("pull layers/site/stable {trust}"))
        .expect(3)
        .says(&["does not let this machine follow"]);

    // Another root is another publisher.
    run(&format!(
        "trust init {0}/other --keys {0}/other-keys --root {0}/other.json",
        dir.display()
    ))
    .expect(0);
    std::fs::copy(dir.join("other/head"), dir.join("remote/head")).unwrap();
    let refused = machine.run(&format!("pull web/stable {trust}"));
    assert_ne!(refused.status, 0, "{}", refused.transcript());
    machine.run("fsck").expect(0);
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&server),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    server.wait().unwrap();
}
