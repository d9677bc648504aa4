//! A real S3 server for tests: moto, whose conditional puts are atomic. It keeps everything in memory.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Command,
};

use crate::{
    ports::Port,
    process::{Process, program},
};

/// The region of the bucket.
pub const REGION: &str = "us-east-1";

/// A `moto_server` of its own on a free loopback port with one bucket; killed, and its objects with it, when dropped.
#[derive(Debug)]
pub struct S3 {
    process: Process,
    port: Port,
    bucket: String,
}

impl S3 {
    /// Starts a server and makes an empty bucket in it.
    ///
    /// # Panics
    /// When there is no `moto_server`, it does not start or refuses the bucket.
    pub async fn start(bucket: &str) -> Self {
        let port = Port::free();
        let mut command = Command::new(program("CLOAKROOM_TEST_MOTO", "moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port.number().to_string()]);
        let mut process = Process::spawn("moto_server", command);
        process.wait_for_line("Running on").await;
        let server = Self { process, port, bucket: bucket.to_owned() };
        server.make_bucket(bucket);
        server
    }

    /// Makes a further bucket. Moto takes the request without a signature.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn make_bucket(&self, bucket: &str) {
        let answer = self.ask("PUT", bucket).unwrap_or_else(|e| panic!("cannot make the bucket {bucket}: {e}"));
        assert!(answer.starts_with("HTTP/1.1 200 "), "cannot make the bucket {bucket}: {answer}");
    }

    fn ask(&self, method: &str, path: &str) -> std::io::Result<String> {
        let address = self.port.address();
        let mut stream = TcpStream::connect(&address)?;
        write!(stream, "{method} /{path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// `http://127.0.0.1:PORT`, for path-style requests. Any access key and secret are taken.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.port.address())
    }

    /// The name of the bucket made at the start.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Its process, to freeze or kill it. What it held is gone after a kill.
    pub const fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

#[cfg(test)]
mod tests {
    use super::S3;

    #[tokio::test]
    async fn a_bucket_is_there_and_others_are_not() {
        let server = S3::start("coats").await;
        assert_eq!(server.endpoint(), format!("http://{}", server.port.address()));
        let status = |bucket: &str| server.ask("HEAD", bucket).expect("the server answers");
        assert!(status(server.bucket()).starts_with("HTTP/1.1 200 "));
        assert!(status("hats").starts_with("HTTP/1.1 404 "));
        server.make_bucket("hats");
        assert!(status("hats").starts_with("HTTP/1.1 200 "));
    }
}
