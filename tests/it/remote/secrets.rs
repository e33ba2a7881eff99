//! Credentials: where they are found, who gets them, and that they never show.

use layerset::remote::{Remote as _, RemoteError, RemoteOptions, open};

use super::servers::{Registry, S3_KEY, S3_SECRET, S3Server, Step, WebServer};
use super::{digest, noise, options, put, read, reader, writer};
use crate::support::{Nobody, copy_program};

const SECRET: &str = "registry-secret-that-must-not-show";

/// Of [`SECRET`], by bcrypt.
const HASH: &str = "$2y$05$abcdefghijklmnopqrstuuhE0xxpI8V6PUjtr1fAVNxJIDoLN1zFe";

/// Says that an error refuses, for this reason, with a hint, and shows no secret.
fn assert_denied(error: &RemoteError, reason: &str, hint: &str) {
    let shown = format!("{error} {error:?}");
    for secret in [SECRET, S3_SECRET, "hunter2", "aHVudGVyMg"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    let RemoteError::Denied {
        reason: said,
        hint: told,
        ..
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(said, reason);
    assert!(told.contains(hint), "{told}");
}

#[test]
fn a_web_server_gets_what_netrc_says() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("netrc"),
        "machine 127.0.0.1 login ann password hunter2\n",
    )
    .unwrap();
    let no = Step::Say(
        "401 No\r\nwww-authenticate: Basic".to_owned(),
        b"hunter2".to_vec(),
    );
    let server = WebServer::start(dir.path(), [no]);
    let netrc = dir.path().join("netrc");
    let options = options([("NETRC", netrc.to_str().unwrap())]);
    let remote = reader(&server.url, &options);
    assert_denied(
        &remote.read_head(9).unwrap_err(),
        "it answers 401 Unauthorized",
        "~/.netrc",
    );
    let seen = server.seen();
    assert_eq!(
        seen[0].header("authorization"),
        Some("Basic YW5uOmh1bnRlcjI=")
    );
    assert!(!format!("{options:?}").contains("netrc"));
}

#[test]
fn s3_credentials_are_found_or_their_absence_is_said() {
    let server = S3Server::start();
    let home = tempfile::tempdir().unwrap();
    let endpoint = ("AWS_ENDPOINT_URL", server.endpoint.as_str());
    let location = "s3://layers/x";
    // Nothing answers for the machine's own credentials here.
    let nobody = Nobody::new();
    let nobody_url = nobody.url();
    let nowhere = ("AWS_METADATA_ENDPOINT", nobody_url.as_str());
    let home_is = ("HOME", home.path().to_str().unwrap());
    let remote = reader(location, &options([endpoint, nowhere, home_is]));
    assert_denied(
        &remote.read_head(9).unwrap_err(),
        "there are no credentials",
        "AWS_ACCESS_KEY_ID",
    );

    let wrong = [
        endpoint,
        ("AWS_ACCESS_KEY_ID", S3_KEY),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
    ];
    let remote = reader(location, &options(wrong));
    assert_denied(
        &remote.read_head(9).unwrap_err(),
        "it answers 403 Forbidden",
        "~/.aws/credentials",
    );

    std::fs::create_dir(home.path().join(".aws")).unwrap();
    let profile =
        format!("[ops]\naws_access_key_id = {S3_KEY}\naws_secret_access_key = {S3_SECRET}\n");
    std::fs::write(home.path().join(".aws/credentials"), profile).unwrap();
    let remote = reader(
        location,
        &options([endpoint, home_is, ("AWS_PROFILE", "ops")]),
    );
    assert_eq!(remote.read_head(9).unwrap(), None);
}

#[test]
fn expired_s3_credentials_are_called_expired() {
    let dir = tempfile::tempdir().unwrap();
    let xml = b"<Error><Code>ExpiredToken</Code><Message>hunter2</Message></Error>".to_vec();
    let server = WebServer::start(dir.path(), [Step::Say("400 Bad Request".to_owned(), xml)]);
    let environment = [
        ("AWS_ENDPOINT_URL_S3", server.url.as_str()),
        ("AWS_ACCESS_KEY_ID", S3_KEY),
        ("AWS_SECRET_ACCESS_KEY", S3_SECRET),
        ("AWS_SESSION_TOKEN", "hunter2"),
    ];
    let remote = reader("s3://layers/x", &options(environment));
    assert_denied(
        &remote.read_head(9).unwrap_err(),
        "the credentials have expired",
        "AWS_SESSION_TOKEN",
    );
}

#[test]
fn s3_over_a_network_in_the_clear_must_be_asked_for() {
    let location = "s3://layers/x".parse().unwrap();
    for name in [
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
        "AWS_ENDPOINT",
        "AWS_ENDPOINT_URL_STS",
    ] {
        let endpoint = (name, "http://store.example.org");
        let error = open(&location, &options([endpoint])).err().unwrap();
        let expected = "'s3://layers/x' is not the location of a remote: its endpoint, from AWS_ENDPOINT_URL, is plain http; AWS_ALLOW_HTTP=true allows that";
        assert_eq!(error.to_string(), expected);
        assert!(open(&location, &options([endpoint, ("AWS_ALLOW_HTTP", "true")])).is_ok());
    }
}

#[test]
fn a_registry_with_passwords_gets_them() {
    let users = tempfile::tempdir().unwrap();
    let htpasswd = users.path().join("htpasswd");
    std::fs::write(&htpasswd, format!("ann:{HASH}\n")).unwrap();
    let extra = format!(
        "auth:\n  htpasswd:\n    realm: test\n    path: {}\n",
        htpasswd.display()
    );
    let Some(registry) = Registry::start("a_registry_with_passwords_gets_them", &extra) else {
        return;
    };
    let location = format!("oci://{}/web", registry.host);
    let remote = reader(&location, &options([]));
    let reason = "it answers 401 Unauthorized, and there are no credentials for it";
    assert_denied(&remote.read_head(9).unwrap_err(), reason, "docker login");

    let config = users.path().join("config.json");
    let login = |pair: &str| {
        use base64::Engine as _;
        let auth = base64::engine::general_purpose::STANDARD.encode(pair);
        let text = format!(
            r#"{{"auths": {{"{}": {{"auth": "{auth}"}}}}}}"#,
            registry.host
        );
        std::fs::write(&config, text).unwrap();
    };
    let known = options([("DOCKER_CONFIG", users.path().to_str().unwrap())]);
    login("ann:hunter2");
    let error = reader(&location, &known).read_head(9).unwrap_err();
    assert_denied(&error, "it answers 401 Unauthorized", "config.json");
    login(&format!("ann:{SECRET}"));
    let remote = writer(&location, &known);
    let bytes = noise(300_000);
    let blob = put(remote.as_ref(), &bytes).unwrap();
    remote.replace_head(b"one", None).unwrap();
    assert!(read(remote.as_ref(), &blob, 5..300_000).unwrap() == bytes[5..]);
    assert_eq!(remote.read_head(9).unwrap().unwrap().bytes, b"one");

    // The same by a helper, which wants to be found on PATH.
    let helper = users.path().join("docker-credential-test");
    let script = format!(
        "#!/bin/sh\nread server\n[ \"$server\" = {} ] || exit 1\necho '{{\"Username\": \"ann\", \"Secret\": \"{SECRET}\"}}'\n",
        registry.host
    );
    let written = users.path().join("written");
    std::fs::write(&written, script).unwrap();
    std::fs::set_permissions(
        &written,
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    copy_program(&written, &helper);
    std::fs::write(
        &config,
        format!(r#"{{"credHelpers": {{"{}": "test"}}}}"#, registry.host),
    )
    .unwrap();
    let path = format!("{}:/usr/bin:/bin", users.path().display());
    let environment = [
        ("DOCKER_CONFIG", users.path().to_str().unwrap()),
        ("PATH", path.as_str()),
    ];
    let remote = reader(&location, &options(environment));
    assert_eq!(remote.blob_size(&digest(&bytes)).unwrap(), Some(300_000));
}

#[test]
fn a_token_server_is_asked_and_its_token_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let server = WebServer::start(dir.path(), []);
    let host = server.url.trim_start_matches("http://").to_owned();
    let say = |head: String, body: &str| Step::Say(head, body.as_bytes().to_vec());
    let challenge = format!(
        "401 No\r\nwww-authenticate: Bearer realm=\"{}/token\",service=\"s p\",scope=\"repository:web:pull\"",
        server.url
    );
    server.then(say(challenge, ""));
    server.then(say("200 OK".to_owned(), r#"{"token": "hunter2"}"#));
    server.then(say("403 No".to_owned(), ""));
    let config = dir.path().join("auth.json");
    std::fs::write(
        &config,
        format!(r#"{{"auths": {{"{host}": {{"auth": "YW5uOmh1bnRlcjI="}}}}}}"#),
    )
    .unwrap();
    let known = options([("REGISTRY_AUTH_FILE", config.to_str().unwrap())]);
    let error = reader(&format!("oci://{host}/web"), &known)
        .read_head(9)
        .unwrap_err();
    assert_denied(&error, "it answers 403 Forbidden", "REGISTRY_AUTH_FILE");
    let seen = server.seen();
    assert_eq!(seen[0].header("authorization"), None);
    assert_eq!(
        seen[1].path,
        "/token?scope=repository%3Aweb%3Apull&service=s+p"
    );
    assert_eq!(
        seen[1].header("authorization"),
        Some("Basic YW5uOmh1bnRlcjI=")
    );
    assert_eq!(seen[2].header("authorization"), Some("Bearer hunter2"));
}

#[test]
fn a_blob_from_elsewhere_comes_without_credentials_going_there() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = WebServer::start(dir.path(), []);
    let server = WebServer::start(dir.path(), []);
    std::fs::write(dir.path().join("blob"), noise(100)).unwrap();
    let host = server.url.trim_start_matches("http://").to_owned();
    let config = dir.path().join("auth.json");
    std::fs::write(
        &config,
        format!(r#"{{"auths": {{"{host}": {{"auth": "YW5uOmh1bnRlcjI="}}}}}}"#),
    )
    .unwrap();
    server.then(Step::Say(
        "401 No\r\nwww-authenticate: Basic".to_owned(),
        Vec::new(),
    ));
    server.then(Step::Say(
        format!("307 There\r\nlocation: {}/blob", elsewhere.url),
        Vec::new(),
    ));
    let known = RemoteOptions {
        attempts: 1,
        ..options([("REGISTRY_AUTH_FILE", config.to_str().unwrap())])
    };
    let remote = reader(&format!("oci://{host}/web"), &known);
    assert!(read(remote.as_ref(), &digest(b"x"), 5..50).unwrap() == noise(100)[5..50]);
    assert!(server.seen()[1].header("authorization").is_some());
    assert_eq!(elsewhere.seen()[0].header("authorization"), None);
    assert_eq!(elsewhere.ranges(), ["bytes=5-49"]);
}
