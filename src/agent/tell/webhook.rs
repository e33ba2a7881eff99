//! Events posted to an address on the web.

use std::time::Duration;

use super::Event;
use crate::causes::chain;

/// How long the other side may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Posts an event as JSON.
pub(super) fn post(url: &str, event: &Event) -> Result<(), String> {
    // The address may hold a token: who reads the journal need not know it.
    let shown = url::Url::parse(url).map_or_else(
        |_| "the webhook".to_owned(),
        |url| format!("the webhook at {}", url.host_str().unwrap_or_default()),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("{shown} cannot be told: {error}"))?;
    let body = serde_json::to_vec(event).unwrap_or_default();
    let answer = runtime.block_on(async {
        let client = reqwest::Client::builder().timeout(LIMIT).build()?;
        let request = client
            .post(url)
            .header("content-type", "application/json")
            .body(body);
        Ok::<_, reqwest::Error>(request.send().await?.status())
    });
    match answer {
        Ok(status) if status.is_success() => Ok(()),
        Ok(status) => Err(format!("{shown} answers {status}")),
        Err(error) => Err(format!(
            "{shown} cannot be told: {}",
            chain(&error.without_url())
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::EventKind;
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::path::Path;

    fn serve(status: &'static str) -> (String, std::thread::JoinHandle<String>) {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/token-of-ours", server.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut text = String::new();
            let mut part = [0; 4096];
            while !text.ends_with('}') {
                let n = stream.read(&mut part).unwrap();
                text.push_str(std::str::from_utf8(&part[..n]).unwrap());
            }
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
            text
        });
        (url, thread)
    }

    #[test]
    fn an_event_is_posted_and_a_refusal_told_without_the_token() {
        let event = Event::new(EventKind::Failed, Path::new("/srv/web"), 7, "x".to_owned());
        let (url, server) = serve("204 No Content");
        assert_eq!(post(&url, &event), Ok(()));
        let request = server.join().unwrap();
        assert!(
            request.starts_with("POST /token-of-ours HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(request.contains("\"event\":\"failed\""), "{request}");
        let (url, server) = serve("403 Forbidden");
        let problem = post(&url, &event).unwrap_err();
        assert!(
            problem.contains("answers 403") && !problem.contains("token"),
            "{problem}"
        );
        server.join().unwrap();
        // Nobody is there any more.
        let problem = post(&url, &event).unwrap_err();
        assert!(
            problem.contains("cannot be told") && !problem.contains("token"),
            "{problem}"
        );
    }
}
