//! The program `sluice` on a terminal: what it draws there, and what it leaves.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    process::Stdio,
    thread,
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};
use tokio::{
    process::{Child, Command},
    sync::mpsc,
};

use crate::fake::Fake;

/// What a program sends to have a screen of its own, and to give it back.
const ENTERED: &str = "\u{1b}[?1049h";
const LEFT: &str = "\u{1b}[?1049l";
const CURSOR_SHOWN: &str = "\u{1b}[?25h";

pub(crate) struct Terminal {
    file: File,
    output: mpsc::UnboundedReceiver<Vec<u8>>,
    seen: Vec<u8>,
    child: Child,
}

impl Terminal {
    pub(crate) fn start(fake: &Fake, arguments: &[&str]) -> Terminal {
        let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let side = || Stdio::from(File::options().read(true).write(true).open(&name).unwrap());
        let child = Command::new(env!("CARGO_BIN_EXE_sluice"))
            .args(["--addr", &fake.url()])
            .args(arguments)
            .env("TERM", "xterm")
            .env_remove("SLUICE_TOKEN")
            .env_remove("SLUICE_TOKEN_FILE")
            .stdin(side())
            .stdout(side())
            .stderr(side())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let file = File::from(master);
        let mut reader = file.try_clone().unwrap();
        let (sender, output) = mpsc::unbounded_channel();
        // Ends when the program does: then there is nobody on the other side.
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut chunk) {
                let _ = sender.send(chunk[..count].to_vec());
            }
        });
        Terminal { file, output, seen: Vec::new(), child }
    }

    /// Waits until this was written.
    pub(crate) async fn until(&mut self, text: &str) {
        while !self.text().contains(text) {
            let chunk = self.output.recv().await;
            self.seen.extend(chunk.unwrap_or_else(|| panic!("ended without {text}: {}", self.text())));
        }
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.file.write_all(keys.as_bytes()).unwrap();
    }

    pub(crate) fn terminate(&self) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// The exit code, and what was written after the screen was given back. The terminal is as it was before.
    pub(crate) async fn end(mut self) -> (i32, String) {
        let status = self.child.wait().await.unwrap();
        while let Some(chunk) = self.output.recv().await {
            self.seen.extend(chunk);
        }
        let text = self.text();
        assert!(text.contains(ENTERED) && text.contains(CURSOR_SHOWN), "{text}");
        let modes = tcgetattr(&self.file).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG));
        (status.code().unwrap(), text.rsplit_once(LEFT).unwrap().1.to_owned())
    }

    /// Whether the program took the whole screen.
    pub(crate) fn has_entered(&self) -> bool {
        self.text().contains(ENTERED)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }
}
