//! A poorer machine for one child process: fewer limits, fewer system calls. The only unsafe code
//! of the tests.

use crate::node::LOOK_AGAIN;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Runs the command with a limit, soft and hard: `libc::RLIMIT_MEMLOCK` and the like.
pub fn limit(command: &mut Command, resource: libc::__rlimit_resource_t, value: u64) {
    let apply = move || {
        let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
        // SAFETY: setrlimit reads one `struct rlimit` that outlives the call, and is
        // async-signal-safe.
        if unsafe { libc::setrlimit(resource, &raw const limit) } == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    };
    // SAFETY: the closure makes one system call, allocates nothing and takes no lock, as between
    // fork and exec must be.
    unsafe { command.pre_exec(apply) };
}

/// Runs the command without the signal that ends a process by default when it writes past its limit
/// of file sizes: the write fails instead, as on a disk that refuses it.
pub fn ignore_file_size_signal(command: &mut Command) {
    let apply = || {
        // SAFETY: ignoring a signal installs no code of ours, and is async-signal-safe.
        if unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) } == libc::SIG_ERR {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    };
    // SAFETY: the closure makes one system call, allocates nothing and takes no lock, as between
    // fork and exec must be.
    unsafe { command.pre_exec(apply) };
}

/// Runs the command with a signal held: it waits until the program takes it.
pub fn hold_signal(command: &mut Command, signal: libc::c_int) {
    let apply = move || {
        let mut set = std::mem::MaybeUninit::uninit();
        // SAFETY: sigemptyset makes a whole set of the memory, the other two read it or change it,
        // and all are async-signal-safe.
        let error = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), signal);
            libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut())
        };
        if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
    };
    // SAFETY: the closure makes one system call, allocates nothing and takes no lock, as between
    // fork and exec must be.
    unsafe { command.pre_exec(apply) };
}

/// Runs the command as on a kernel that refuses one system call with this error.
pub fn refuse_call(command: &mut Command, call: libc::c_long, error: i32) {
    let statement = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    // The number of the call is the first word of `struct seccomp_data` (linux/seccomp.h). The
    // tests run on one architecture only, so that the filter need not look which one it is.
    let program = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, call as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | error as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let apply = move || {
        let mut program = program;
        let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        // SAFETY: prctl with these arguments reads no memory of ours; without new privileges
        // anybody may install a filter.
        if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel copies the program, which outlives the call.
        let done = unsafe {
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter)
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: the closure makes two system calls, allocates nothing and takes no lock, as between
    // fork and exec must be.
    unsafe { command.pre_exec(apply) };
}

/// Holds one thread of a process still, as a core that is stuck would be, until dropped. The rest
/// of the process goes on.
pub struct HeldThread {
    let_go: std::sync::mpsc::Sender<()>,
}

impl HeldThread {
    /// Nothing is to be done: the thread is let go when this is dropped.
    pub fn is_held(&self) -> bool {
        self.let_go.send(()).is_ok()
    }
}

/// Longest wait for a thread that a busy machine has not let run yet.
const NAMED_WITHIN: std::time::Duration = std::time::Duration::from_secs(60);

/// Stops the thread of this name with the debugger's interface; who stops a thread must be one
/// itself, so a helper does.
///
/// # Panics
/// When there is no such thread, or it may not be traced.
pub fn hold_thread(process: rustix::process::Pid, name: &str) -> HeldThread {
    let tasks = format!("/proc/{}/task", process.as_raw_nonzero());
    let find = || {
        std::fs::read_dir(&tasks).expect("a running process").flatten().find_map(|task| {
            let comm = std::fs::read_to_string(task.path().join("comm")).ok()?;
            (comm.trim_end() == name)
                .then(|| task.file_name().to_string_lossy().parse::<libc::pid_t>().ok())?
        })
    };
    // A thread gives itself its name, once it runs.
    let began = std::time::Instant::now();
    let thread = loop {
        if let Some(thread) = find() {
            break thread;
        }
        assert!(began.elapsed() < NAMED_WITHIN, "no thread {name} in {tasks}");
        std::thread::sleep(LOOK_AGAIN);
    };
    let (held, holding) = std::sync::mpsc::channel();
    let (let_go, wait) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        // SAFETY: with these arguments ptrace reads and writes no memory of ours.
        let outcome = unsafe {
            let seized = libc::ptrace(libc::PTRACE_SEIZE, thread, 0, 0);
            if seized == 0 { libc::ptrace(libc::PTRACE_INTERRUPT, thread, 0, 0) } else { seized }
        };
        let _ = held.send(if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) });
        // The kernel lets a thread go when its tracer ends.
        while wait.recv().is_ok() {}
    });
    holding.recv().expect("the helper answers").expect("a child may be traced");
    HeldThread { let_go }
}
