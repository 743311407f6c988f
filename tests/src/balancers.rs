//! Load balancers as processes of their own: Debian's nginx and HAProxy, with the files of `scripts/deploy`.

use crate::binary::workspace_dir;
use crate::node::{LOOK_AGAIN, Process};
use rustix::process::Signal;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

/// Where Debian has them; `sbin` is not in everybody's PATH.
const NGINX: &str = "/usr/sbin/nginx";
const HAPROXY: &str = "/usr/sbin/haproxy";
const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// A file of `scripts/deploy` with other addresses in place of its examples.
///
/// # Panics
/// Where the file lacks one of them, or has one more.
pub fn deployed(file: &str, addresses: &[(&str, String)]) -> String {
    let path = workspace_dir().join("scripts/deploy").join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
    let text = addresses.iter().fold(text, |text, (example, address)| {
        assert!(text.contains(example), "{file} has no {example}");
        text.replace(example, address)
    });
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        assert!(!line.contains("10.0.0.") && !line.contains("0.0.0.0"), "{file}: {line}");
    }
    text
}

/// A balancer that runs.
pub struct Balancer {
    /// The process; of nginx the one that has started the others.
    pub process: Process,
}

impl Balancer {
    /// nginx with these two files beside each other, once it takes connections at all of `listens`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn nginx(dir: &Path, http: &str, stream: &str, listens: &[SocketAddr]) -> Self {
        let write = |name: &str, text: &str| fs::write(dir.join(name), text).expect("written");
        write("http.conf", http);
        write("stream.conf", stream);
        let folder = dir.display();
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary: Vec<String> =
            kinds.iter().map(|kind| format!("{kind}_temp_path {folder}/{kind};")).collect();
        // As Debian's own nginx.conf, but for what needs root, and in the foreground.
        let main = format!(
            "load_module {STREAM_MODULE};\n\
             daemon off;\n\
             worker_processes 2;\n\
             pid {folder}/pid;\n\
             error_log stderr warn;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ {} include {folder}/http.conf; }}\n\
             include {folder}/stream.conf;\n",
            temporary.join(" ")
        );
        write("nginx.conf", &main);
        let mut command = Command::new(NGINX);
        command.arg("-p").arg(dir).arg("-c").arg(dir.join("nginx.conf"));
        // Root's processes would become somebody else, who can't enter the folder.
        if rustix::process::getuid().is_root() {
            command.args(["-g", "user root;"]);
        }
        Self::listening(&mut command, NGINX, listens)
    }

    /// HAProxy with this configuration, once it takes connections at all of `listens`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn haproxy(dir: &Path, text: &str, listens: &[SocketAddr]) -> Self {
        let file = dir.join("haproxy.cfg");
        fs::write(&file, text).expect("written");
        let mut command = Command::new(HAPROXY);
        Self::listening(command.arg("-db").arg("-f").arg(file), HAPROXY, listens)
    }

    fn listening(command: &mut Command, program: &str, listens: &[SocketAddr]) -> Self {
        let there = Path::new(program).exists();
        assert!(there, "{program} is missing: run scripts/setup.sh tests");
        let mut process = Process::spawn(command);
        for listen in listens {
            while TcpStream::connect(listen).is_err() {
                assert!(!process.has_ended(), "{}", process.stderr());
                std::thread::sleep(LOOK_AGAIN);
            }
        }
        Self { process }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // A kill would leave the processes that nginx has started. Where it has ended already, it takes no signal.
        if !self.process.has_ended() {
            self.process.signal(Signal::TERM);
            self.process.wait();
        }
    }
}
