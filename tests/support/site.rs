//! The login site (`tests/site/login_site.py`) as a server of a test.

use std::{path::Path, process::Command};

use crate::{
    ports::Port,
    process::{Process, program},
};

/// Every user's password on the site.
pub const PASSWORD: &str = "open sesame";

/// A login site of its own on a loopback port; killed when dropped.
///
/// It remembers nobody: after [`Site::restart`] on the same port the same browsers are still logged in.
#[derive(Debug)]
pub struct Site {
    process: Process,
    port: Port,
    url: String,
}

impl Site {
    /// Starts a site and returns when it listens.
    ///
    /// # Panics
    /// When there is no Python, or the site does not start.
    pub async fn start() -> Self {
        let port = Port::free();
        let (process, url) = serve(&port).await;
        Self { process, port, url }
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends it and starts it again on the same port, with the same secret.
    ///
    /// # Panics
    /// When it does not end with exit code 0, or does not start.
    pub async fn restart(&mut self) {
        let code = self.process.terminate().await;
        assert_eq!(code, Some(0), "the login site was asked to stop: {}", self.process.stderr());
        (self.process, self.url) = serve(&self.port).await;
    }
}

async fn serve(port: &Port) -> (Process, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("site/login_site.py");
    let mut command = Command::new(program("CLOAKROOM_TEST_PYTHON", "python3"));
    command.arg(script).args(["--port", &port.number().to_string()]);
    let mut process = Process::spawn("the login site", command);
    let line = process.wait_for_line("\"url\"").await;
    let facts: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("the login site's first line is not JSON ({e}): {line}"));
    let url = facts["url"].as_str().unwrap_or_else(|| panic!("the login site told no url: {line}"));
    let url = url.to_owned();
    (process, url)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpStream,
    };

    use super::{PASSWORD, Site};

    fn ask(site: &Site, method: &str, path: &str, cookies: &str, body: &str) -> String {
        let address = site.url().trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).expect("the site listens");
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: {address}\r\nCookie: {cookies}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
            .expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    fn cookies_of(answer: &str) -> Vec<&str> {
        answer.lines().filter_map(|line| line.strip_prefix("Set-Cookie: ")).collect()
    }

    #[tokio::test]
    async fn a_login_is_a_persistent_and_a_session_cookie_that_outlive_a_restart_of_the_site() {
        let mut site = Site::start().await;
        let wrong = ask(&site, "POST", "/login", "", "user=ada&password=wrong");
        assert!(wrong.starts_with("HTTP/1.1 401 ") && cookies_of(&wrong).is_empty(), "{wrong}");

        let form = format!("user=ada&password={}", PASSWORD.replace(' ', "+"));
        let answer = ask(&site, "POST", "/login", "", &form);
        let cookies = cookies_of(&answer);
        let persistent = cookies.iter().filter(|cookie| cookie.contains("Max-Age=2592000")).count();
        assert_eq!((cookies.len(), persistent), (2, 1), "{answer}");
        assert!(cookies.iter().all(|cookie| cookie.contains("HttpOnly")), "{answer}");

        let sent: Vec<&str> = cookies.iter().filter_map(|cookie| cookie.split(';').next()).collect();
        let url = site.url().to_owned();
        site.restart().await;
        assert_eq!(site.url(), url);
        let nothing_else = r#"{"localStorage":null,"indexedDB":null}"#;
        let judged = ask(&site, "POST", "/check", &sent.join("; "), nothing_else);
        assert!(judged.contains(r#""persistentCookie": true, "sessionCookie": true, "localStorage": false"#), "{judged}");
        assert!(judged.contains(r#""loggedIn": false"#), "two of four are no login: {judged}");
    }
}
