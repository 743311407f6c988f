//! Two networks with one cable between them, made of network namespaces: what partitions are tested
//! with. Needs root and `ip` (iproute2).

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Networks of this process so far, so that each has its own name.
static LAID: AtomicU32 = AtomicU32::new(0);

/// Two network namespaces joined by a pair of virtual network cards; gone when dropped.
pub struct Cable {
    names: [String; 2],
}

fn ip(args: &[&str]) {
    let output = Command::new("ip")
        .args(args)
        .output()
        .expect("`ip` is there: install the package iproute2");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "ip {}: {text} (network namespaces need root)",
        args.join(" ")
    );
}

impl Cable {
    /// Lays it, with a loopback of its own at each end.
    ///
    /// # Panics
    /// Where that is not allowed.
    pub fn lay() -> Self {
        let number = LAID.fetch_add(1, Ordering::Relaxed);
        let names = ["a", "b"].map(|end| format!("catraca-{}-{number}{end}", std::process::id()));
        for name in &names {
            ip(&["netns", "add", name]);
            ip(&["-n", name, "link", "set", "lo", "up"]);
        }
        let cable = Self { names };
        ip(&[
            "-n",
            &cable.names[0],
            "link",
            "add",
            "cable",
            "type",
            "veth",
            "peer",
            "name",
            "cable",
            "netns",
            &cable.names[1],
        ]);
        for end in 0..2 {
            ip(&[
                "-n",
                &cable.names[end],
                "address",
                "add",
                &format!("{}/24", cable.address(end)),
                "dev",
                "cable",
            ]);
            ip(&["-n", &cable.names[end], "link", "set", "cable", "up"]);
        }
        cable
    }

    /// The address of an end.
    pub fn address(&self, end: usize) -> String {
        format!("10.77.0.{}", end + 1)
    }

    /// What starts a program at an end.
    pub fn wrapper(&self, end: usize) -> Vec<String> {
        ["ip", "netns", "exec", &self.names[end]].map(str::to_owned).to_vec()
    }

    /// Nothing goes through any more.
    pub fn cut(&self) {
        ip(&["-n", &self.names[0], "link", "set", "cable", "down"]);
    }

    /// Everything goes through again.
    pub fn mend(&self) {
        ip(&["-n", &self.names[0], "link", "set", "cable", "up"]);
    }

    /// Nothing goes from this end to the other any more; what comes from there arrives.
    pub fn block(&self, from: usize) {
        ip(&["-n", &self.names[from], "route", "add", "blackhole", &self.address(1 - from)]);
    }

    /// Ends that.
    pub fn unblock(&self, from: usize) {
        ip(&["-n", &self.names[from], "route", "del", "blackhole", &self.address(1 - from)]);
    }

    /// Does something at an end: in a thread whose sockets, and whose threads' sockets, are there.
    ///
    /// # Panics
    /// When the thread does.
    pub fn at<T: Send>(&self, end: usize, body: impl FnOnce() -> T + Send) -> T {
        let name = &self.names[end];
        std::thread::scope(|scope| {
            let moved = scope.spawn(move || {
                let namespace = File::open(format!("/run/netns/{name}")).expect("made above");
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("root may move");
                body()
            });
            moved.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for name in &self.names {
            // Whatever still runs in it keeps it until it ends.
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}
