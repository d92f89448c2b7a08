//! A real browser without a window: Debian's `chromium`, spoken to in its DevTools protocol.
//!
//! In: a page's path, a size, expressions. Out: their values, and everything that the page complained of. Messages go
//! through two pipes (`--remote-debugging-pipe`: JSON, ended by a zero byte), so there is no port to find and no race to
//! connect. A browser that is missing or falls silent fails the test.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

/// How long an answer may take. Machines that run tests may be slow.
const PATIENCE: Duration = Duration::from_secs(120);

const MISSING: &str = "chromium does not answer; is it there? scripts/test.sh installs Debian's package `chromium`";

/// A browser with one page.
pub struct Browser {
    process: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    session: Option<Value>,
    sent: u64,
    /// Console messages, exceptions and log entries so far.
    pub complaints: Vec<Value>,
    loaded: bool,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub fn start() -> Browser {
        let profile = tempfile::tempdir().unwrap();
        // The browser reads from file descriptor 3 and writes to 4.
        let mut process = Command::new("sh")
            .args(["-c", "exec chromium \"$@\" 3<&0 4>&1 >/dev/null", "sh"])
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .args(["--remote-debugging-pipe", "about:blank"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (commands, answers) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        let messages = listen(answers);
        let mut browser = Browser {
            process,
            commands,
            messages,
            session: None,
            sent: 0,
            complaints: Vec::new(),
            loaded: false,
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let session = browser
            .call("Target.attachToTarget", json!({"targetId": target["targetId"], "flatten": true}))["sessionId"]
            .take();
        browser.session = Some(session);
        for method in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.call(method, json!({}));
        }
        browser
    }

    /// Opens a file and waits until it is loaded.
    pub fn open(&mut self, page: &Path) {
        self.loaded = false;
        self.call("Page.navigate", json!({"url": format!("file://{}", page.display())}));
        while !self.loaded {
            self.receive();
        }
    }

    /// Sets the size of the window, in CSS pixels.
    pub fn resize(&mut self, width: u32, height: u32) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// The value of an expression on the page.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut answer = self.call("Runtime.evaluate", parameters);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer:#}");
        answer["result"]["value"].take()
    }

    /// Sends a command and waits for its answer.
    #[track_caller]
    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.sent += 1;
        let mut message = json!({"id": self.sent, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = session.clone();
        }
        let sent = self.commands.write_all(format!("{message}\0").as_bytes());
        assert!(sent.is_ok(), "{MISSING}");
        loop {
            let mut answer = self.receive();
            if answer["id"] == self.sent {
                assert!(answer.get("error").is_none(), "{method}: {answer:#}");
                return answer["result"].take();
            }
        }
    }

    /// The next message; complaints are remembered.
    #[track_caller]
    fn receive(&mut self) -> Value {
        let message = self.messages.recv_timeout(PATIENCE).expect(MISSING);
        match message["method"].as_str() {
            Some("Page.loadEventFired") => self.loaded = true,
            Some("Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded") => {
                self.complaints.push(message["params"].clone());
            }
            _ => {}
        }
        message
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends by itself when its pipe does; this is for one that hangs.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Reads messages on a thread of its own, so that waiting for one can be given up.
fn listen(mut answers: impl Read + Send + 'static) -> Receiver<Value> {
    let (sender, messages) = channel();
    std::thread::spawn(move || {
        let (mut pending, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
        while let Ok(bytes @ 1..) = answers.read(&mut buffer) {
            pending.extend_from_slice(&buffer[..bytes]);
            while let Some(end) = pending.iter().position(|&byte| byte == 0) {
                let message = pending.drain(..=end).collect::<Vec<_>>();
                let Ok(message) = serde_json::from_slice(&message[..end]) else { return };
                if sender.send(message).is_err() {
                    return;
                }
            }
        }
    });
    messages
}
