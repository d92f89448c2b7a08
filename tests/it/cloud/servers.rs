//! STORE: servers on this machine.
//!
//! In: nothing but Python with pip (see `scripts/s3_server.py`). Out: an S3 server that all tests share, a bucket of
//! each test's own; a web server whose file can change between two requests.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use crate::fixture::{Run, command};

/// The program, told where the S3 server is.
pub fn with_stores(arguments: &[&dyn AsRef<OsStr>]) -> Command {
    with_endpoint(&format!("http://127.0.0.1:{}", S3::get().port), arguments)
}

/// The same with a server of the test's own.
pub fn with_endpoint(endpoint: &str, arguments: &[&dyn AsRef<OsStr>]) -> Command {
    let mut command = command(arguments);
    command.env("AWS_ENDPOINT", endpoint).env("AWS_ALLOW_HTTP", "true").env("AWS_REGION", "us-east-1");
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "very-secret").env("NO_PROXY", "127.0.0.1");
    command
}

/// Runs the program.
pub fn bnfold(arguments: &[&dyn AsRef<OsStr>]) -> Run {
    Run::of(&mut with_stores(&[&[&"--device" as &dyn AsRef<_>, &"cpu"], arguments].concat()))
}

/// The S3 server. It ends when its standard input does, which is held open here: with this process.
struct S3 {
    port: u16,
    _server: Child,
}

impl S3 {
    fn get() -> &'static S3 {
        static SERVER: OnceLock<S3> = OnceLock::new();
        SERVER.get_or_init(|| {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let mut python = Command::new("python3");
            python.arg(root.join("scripts/s3_server.py")).arg("--packages").arg(root.join("target/moto"));
            let mut server = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("Python starts");
            let mut line = String::new();
            BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
            let port = line.trim().parse().unwrap_or_else(|_| panic!("the S3 server did not start: {line:?}"));
            S3 { port, _server: server }
        })
    }
}

/// A versioned bucket.
pub struct Bucket(&'static str);

impl Bucket {
    pub fn new(name: &'static str) -> Bucket {
        let bucket = Bucket(name);
        assert_eq!(bucket.ask("PUT", "", b"").0, 200);
        let text = "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>Enabled</Status>\
                    </VersioningConfiguration>";
        assert_eq!(bucket.ask("PUT", "?versioning", text.as_bytes()).0, 200);
        bucket
    }

    /// One that `new` has made.
    pub fn existing(name: &'static str) -> Bucket {
        Bucket(name)
    }

    pub fn url(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.0)
    }

    pub fn put(&self, key: &str, bytes: &[u8]) {
        assert_eq!(self.ask("PUT", &format!("/{key}"), bytes).0, 200);
    }

    pub fn put_file(&self, key: &str, path: &Path) {
        self.put(key, &std::fs::read(path).unwrap());
    }

    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        let (status, _, body) = self.ask("GET", &format!("/{key}"), b"");
        (status == 200).then_some(body)
    }

    /// Returns the status.
    pub fn delete(&self, key: &str) -> u16 {
        self.ask("DELETE", &format!("/{key}"), b"").0
    }

    /// Changes with every write.
    pub fn version(&self, key: &str) -> String {
        self.ask("HEAD", &format!("/{key}"), b"").1["x-amz-version-id"].clone()
    }

    /// All objects, and uploads that were begun and neither finished nor given up.
    pub fn keys(&self) -> Vec<String> {
        let mut keys = Vec::new();
        for query in ["?list-type=2", "?uploads"] {
            let listing = String::from_utf8(self.ask("GET", query, b"").2).unwrap();
            let found = listing.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap().to_owned());
            keys.extend(found);
        }
        keys
    }

    fn ask(&self, method: &str, rest: &str, body: &[u8]) -> (u16, BTreeMap<String, String>, Vec<u8>) {
        let mut stream = TcpStream::connect(("127.0.0.1", S3::get().port)).unwrap();
        let head = format!(
            "{method} /{}{rest} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {}\r\n\
             Content-Type: application/octet-stream\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential=test/20200101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0\r\n\r\n",
            self.0,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = BufReader::new(stream);
        let (first, headers) = read_head(&mut answer);
        let status = first.split(' ').nth(1).unwrap().parse().unwrap();
        let mut body = Vec::new();
        answer.read_to_end(&mut body).unwrap();
        (status, headers, body)
    }
}

/// The first line of a request or an answer, and its headers by name in small letters.
fn read_head(stream: &mut impl BufRead) -> (String, BTreeMap<String, String>) {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let headers = lines.iter().skip(1).filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    (lines.first().cloned().unwrap_or_default(), headers)
}

/// One file on the web, whatever is asked for; but there is no `config.json`, and as with a signed URL, nothing but `GET` is
/// allowed.
#[derive(Clone, Default)]
pub struct Page {
    pub bytes: Vec<u8>,
    pub tag: Option<&'static str>,
    /// Whether parts of it can be had.
    pub ranges: bool,
    /// Whether `If-Match` is heeded.
    pub conditions: bool,
}

/// A request as the server saw it: its first line and its headers.
pub type Request = (String, BTreeMap<String, String>);

/// A web server; gone when dropped.
pub struct Web {
    pub port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    ended: Arc<AtomicBool>,
}

impl Web {
    /// Serves what `page` says about the request of that number.
    pub fn new(page: impl Fn(usize) -> Page + Send + 'static) -> Web {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let web = Web { port, requests: Arc::default(), ended: Arc::default() };
        let (requests, ended) = (Arc::clone(&web.requests), Arc::clone(&web.ended));
        std::thread::spawn(move || {
            for stream in listener.incoming().map(Result::unwrap) {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                let mut stream = BufReader::new(stream);
                let request = read_head(&mut stream);
                // A client that goes away is its own business.
                if request.0.contains("/config.json") {
                    let nothing = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                    let _ = stream.get_mut().write_all(nothing.as_bytes());
                    continue;
                }
                let page = page(requests.lock().unwrap().len());
                requests.lock().unwrap().push(request.clone());
                let _ = answer(&page, &request, stream.get_mut());
            }
        });
        web
    }

    pub fn url(&self, rest: &str) -> String {
        format!("http://127.0.0.1:{}/{rest}", self.port)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn answer(page: &Page, (line, headers): &Request, stream: &mut TcpStream) -> std::io::Result<()> {
    let Page { bytes, tag, ranges, conditions } = page;
    let tag_line = tag.map_or_else(String::new, |tag| format!("ETag: {tag}\r\n"));
    // A weak tag never matches (RFC 9110, 13.1.1).
    let differs = |wanted: &String| wanted.starts_with("W/") || Some(wanted.as_str()) != *tag;
    let range = headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let (status, extra, body) = match range {
        _ if line.starts_with("HEAD") => ("403 Forbidden", String::new(), &[][..]),
        _ if *conditions && headers.get("if-match").is_some_and(differs) => {
            ("412 Precondition Failed", String::new(), &[][..])
        }
        Some((from, to)) if *ranges => {
            let (from, to) = (from.parse::<usize>().unwrap(), to.parse::<usize>().unwrap().min(bytes.len() - 1));
            ("206 Partial Content", format!("Content-Range: bytes {from}-{to}/{}\r\n", bytes.len()), &bytes[from..=to])
        }
        _ => ("200 OK", String::new(), &bytes[..]),
    };
    let length = body.len();
    let dated = "Last-Modified: Tue, 24 Nov 2020 08:14:55 GMT\r\n";
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{dated}{tag_line}{extra}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    stream.write_all(body)
}

/// What stands between the program and the S3 server.
pub struct Proxy {
    pub endpoint: String,
    port: u16,
    ended: Arc<AtomicBool>,
}

impl Proxy {
    /// Lets a request through if `passes` says so about its first line; others are answered by 400. It may take its time.
    pub fn new(passes: impl Fn(&str) -> bool + Send + Sync + 'static) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let ended = Arc::<AtomicBool>::default();
        let (over, passes) = (Arc::clone(&ended), Arc::new(passes));
        std::thread::spawn(move || {
            for stream in listener.incoming().map(Result::unwrap) {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let passes = Arc::clone(&passes);
                // A client that goes away is its own business.
                std::thread::spawn(move || drop(forward(stream, &*passes)));
            }
        });
        Proxy { endpoint: format!("http://127.0.0.1:{port}"), port, ended }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn forward(stream: TcpStream, passes: &dyn Fn(&str) -> bool) -> std::io::Result<()> {
    let mut client = BufReader::new(stream);
    let (line, headers) = read_head(&mut client);
    let mut body = vec![0; headers.get("content-length").map_or(0, |length| length.parse().unwrap())];
    client.read_exact(&mut body)?;
    if !passes(&line) {
        let answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return client.get_mut().write_all(answer);
    }
    let headers = headers.iter().filter(|(name, _)| *name != "connection");
    let headers = headers.map(|(name, value)| format!("{name}: {value}\r\n")).collect::<String>();
    let mut server = TcpStream::connect(("127.0.0.1", S3::get().port))?;
    write!(server, "{line}\r\n{headers}connection: close\r\n\r\n")?;
    server.write_all(&body)?;
    std::io::copy(&mut server, client.get_mut()).map(drop)
}
