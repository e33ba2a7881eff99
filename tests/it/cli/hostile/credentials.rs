//! Credentials that are missing, wrong or expired: said in one sentence, with a hint, and never shown.

use std::process::Command;

use super::World;
use super::world::masked;
use crate::remote::servers::{Registry, S3_KEY, S3_SECRET, S3Server, Step, WebServer};
use crate::support::Nobody;

const TOKEN: &str = "session-token-that-must-not-show";
const PASSWORD: &str = "registry-secret-that-must-not-show";

/// Of [`PASSWORD`], by bcrypt.
const HASH: &str = "$2y$05$abcdefghijklmnopqrstuuhE0xxpI8V6PUjtr1fAVNxJIDoLN1zFe";

/// Publishes and pulls with an environment that lacks what it takes; both must refuse, with the same words.
fn refused(world: &World, remote: &str, environment: &[(&str, &str)]) -> String {
    let policy =
        format!("[[remote]]\nname = \"main\"\nlocation = {remote:?}\nroot = \"root.json\"\n");
    std::fs::write(world.path("trust.toml"), policy).unwrap();
    let dir = world.path("").display().to_string();
    let nobody = Nobody::new();
    let mut said = Vec::new();
    for line in [
        format!(
            "publish web --to main --channel stable --keys {dir}/keys --trust {dir}/trust.toml"
        ),
        format!("pull web/stable --trust {dir}/trust.toml"),
        format!("trust show main --trust {dir}/trust.toml --json"),
    ] {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut command: Command = world.publisher().command(&words);
        command
            .env("AWS_METADATA_ENDPOINT", nobody.url())
            .env("LAYERSET_TIMEOUT", "1")
            .env("LAYERSET_TRIES", "1")
            .envs(environment.iter().copied());
        let ran = world
            .publisher()
            .ran(&line, command.output().unwrap())
            .expect(1);
        for secret in [S3_SECRET, TOKEN, PASSWORD, "hunter2", "c2VjcmV0"] {
            assert!(!ran.transcript().contains(secret), "{}", ran.transcript());
        }
        said.push(ran.stderr);
    }
    assert_eq!(said[0], said[1]);
    assert_eq!(said[1], said[2]);
    masked(said[0].trim())
}

#[test]
fn a_store_that_refuses_is_told_with_where_credentials_come_from() {
    let world = World::published();
    let store = S3Server::start();
    let endpoint = ("AWS_ENDPOINT_URL", store.endpoint.as_str());
    let expired = b"<Error><Code>ExpiredToken</Code><Message>session-token-that-must-not-show</Message></Error>";
    let step = Step::Say("400 Bad Request".to_owned(), expired.to_vec());
    let late = WebServer::ruled(&world.path("remote"), move |_, _| Some(step.clone()));
    let mut table = String::new();
    for (name, environment) in [
        ("missing", vec![endpoint]),
        (
            "wrong",
            vec![
                endpoint,
                ("AWS_ACCESS_KEY_ID", S3_KEY),
                ("AWS_SECRET_ACCESS_KEY", "hunter2"),
            ],
        ),
        (
            "expired",
            vec![
                ("AWS_ENDPOINT_URL", late.url.as_str()),
                ("AWS_ACCESS_KEY_ID", S3_KEY),
                ("AWS_SECRET_ACCESS_KEY", S3_SECRET),
                ("AWS_SESSION_TOKEN", TOKEN),
            ],
        ),
    ] {
        let said = refused(&world, "s3://layers/fleet", &environment);
        table.push_str(&format!("{name}:\n{said}\n"));
    }
    insta::assert_snapshot!(table, @r#"
    missing:
    error: 's3://layers/fleet' refuses: there are no credentials
    hint: credentials are looked for in AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, then in the profile AWS_PROFILE of ~/.aws/credentials and ~/.aws/config, then asked of the machine's metadata service
    wrong:
    error: 's3://layers/fleet' refuses: it answers 403 Forbidden
    hint: credentials are looked for in AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, then in the profile AWS_PROFILE of ~/.aws/credentials and ~/.aws/config, then asked of the machine's metadata service
    expired:
    error: 's3://layers/fleet' refuses: the credentials have expired
    hint: credentials are looked for in AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, then in the profile AWS_PROFILE of ~/.aws/credentials and ~/.aws/config, then asked of the machine's metadata service
    "#);
}

#[test]
fn a_registry_that_refuses_is_told_with_where_credentials_come_from() {
    let world = World::published();
    let users = tempfile::tempdir().unwrap();
    let htpasswd = users.path().join("htpasswd");
    std::fs::write(&htpasswd, format!("ann:{HASH}\n")).unwrap();
    let extra = format!(
        "auth:\n  htpasswd:\n    realm: test\n    path: {}\n",
        htpasswd.display()
    );
    let name = "a_registry_that_refuses_is_told_with_where_credentials_come_from";
    let Some(registry) = Registry::start(name, &extra) else {
        return;
    };
    let location = format!("oci://{}/fleet/web", registry.host);
    let auth = |password: &str| {
        use base64::Engine as _;
        let both = base64::engine::general_purpose::STANDARD.encode(format!("ann:{password}"));
        let path = users.path().join(format!("auth-{}.json", password.len()));
        let text = format!(
            "{{\"auths\": {{\"{}\": {{\"auth\": \"{both}\"}}}}}}",
            registry.host
        );
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let wrong = auth("hunter2");
    let mut table = String::new();
    for (name, environment) in [
        ("missing", vec![]),
        ("wrong", vec![("REGISTRY_AUTH_FILE", wrong.as_str())]),
    ] {
        let said = refused(&world, &location, &environment).replace(&registry.host, "HOST");
        table.push_str(&format!("{name}:\n{said}\n"));
    }
    insta::assert_snapshot!(table, @r#"
    missing:
    error: 'oci://HOST/fleet/web' refuses: it answers 401 Unauthorized, and there are no credentials for it
    hint: credentials are looked for in $REGISTRY_AUTH_FILE, $XDG_RUNTIME_DIR/containers/auth.json, ~/.config/containers/auth.json, $DOCKER_CONFIG/config.json and ~/.docker/config.json; 'skopeo login' or 'docker login' writes them
    wrong:
    error: 'oci://HOST/fleet/web' refuses: it answers 401 Unauthorized
    hint: credentials are looked for in $REGISTRY_AUTH_FILE, $XDG_RUNTIME_DIR/containers/auth.json, ~/.config/containers/auth.json, $DOCKER_CONFIG/config.json and ~/.docker/config.json; 'skopeo login' or 'docker login' writes them
    "#);
}
