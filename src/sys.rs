//! What only the operating system knows. The one module that may hold unsafe code.

use std::ffi::c_int;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A descriptor of our own for what an inherited number stands for, closed on exec as the inherited one is from now on.
///
/// The number itself is not taken over: nobody can prove that nothing else in this process owns it.
pub(crate) fn inherit(number: RawFd) -> io::Result<OwnedFd> {
    // Standard input, output and error stay what they are, even where one of them is closed.
    const LOWEST: c_int = 3;
    // SAFETY: fcntl with F_DUPFD_CLOEXEC takes any integer, and fails for one that is no open descriptor.
    let ours = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, LOWEST) };
    if ours < 0 {
        return Err(io::Error::last_os_error());
    }
    close_on_exec(number)?;
    // SAFETY: the call above has just opened it, so that nobody else can own it.
    Ok(unsafe { OwnedFd::from_raw_fd(ours) })
}

/// Standard input, without the buffer that the standard library sets up with its own.
pub(crate) fn standard_input() -> BorrowedFd<'static> {
    // SAFETY: it is open for as long as the process lives: std opens one that is closed when the process starts, and nothing
    // here or there closes it.
    unsafe { BorrowedFd::borrow_raw(libc::STDIN_FILENO) }
}

/// Standard output, in the same way.
pub(crate) fn standard_output() -> BorrowedFd<'static> {
    // SAFETY: as for standard input.
    unsafe { BorrowedFd::borrow_raw(libc::STDOUT_FILENO) }
}

/// Keeps an inherited descriptor from programs that are started later.
pub(crate) fn close_on_exec(number: RawFd) -> io::Result<()> {
    // SAFETY: fcntl with F_GETFD takes any integer, and fails for one that is no open descriptor.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    // SAFETY: as above; F_SETFD changes nothing but what an exec would do with the descriptor.
    if flags < 0 || unsafe { libc::fcntl(number, libc::F_SETFD, flags | libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Whether a file has an extended attribute that begins with this byte.
#[cfg(target_os = "linux")]
pub(crate) fn attribute_begins(path: &std::ffi::CStr, name: &std::ffi::CStr, first: u8) -> bool {
    let mut value = [0_u8; 16];
    // SAFETY: two texts that end in NUL, and a pointer to as many bytes as the call is told.
    let length =
        unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    length > 0 && value.first() == Some(&first)
}

/// How many bytes the other end of a socket has not read yet.
#[cfg(test)]
pub(crate) fn unsent(socket: BorrowedFd<'_>) -> c_int {
    use std::os::fd::AsRawFd;
    let mut count: c_int = 0;
    // SAFETY: TIOCOUTQ writes one int to where it is pointed, which lives for the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    assert_eq!(result, 0);
    count
}

/// Adds a socket to a poller; it is to be deleted before it is closed.
pub(crate) fn watch(
    poller: &polling::Poller,
    socket: BorrowedFd<'_>,
    interest: polling::Event,
) -> io::Result<()> {
    // SAFETY: a socket that is closed while it is registered is no matter of memory: the kernel forgets it, or an event
    // arrives for a number that another descriptor has by then. Tokens of closed connections find nothing.
    unsafe { poller.add(&socket, interest) }
}

/// Removes environment variables, so that no program started later gets them; does nothing, and says `false`, where
/// another thread could be reading the environment meanwhile.
#[cfg(feature = "cli")]
pub(crate) fn forget_variables(names: &[&str]) -> bool {
    let threads = std::fs::read_dir("/proc/self/task").map(Iterator::count);
    if !matches!(threads, Ok(1)) {
        return false;
    }
    for name in names {
        // SAFETY: this is the process's only thread, as just counted, and only a thread can start another one; so
        // nobody reads or writes the environment during this call.
        unsafe { std::env::remove_var(name) };
    }
    true
}

#[cfg(feature = "cli")]
pub use arena::Arena;

/// The memory of a process that soon ends.
#[cfg(feature = "cli")]
mod arena {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::UnsafeCell;
    use std::ptr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// More than most requests need.
    const SIZE: usize = 32 * 1024;

    /// The global allocator of a program that answers one request, and ends.
    ///
    /// Its first 32 KiB are memory of the program itself, which costs no system call, and is handed out piece after piece;
    /// only the piece that was last is taken back, or grows where it is. All other memory is the system's, so that what a
    /// program needs for longer is freed and used again as ever. A program that is started for each request spends a
    /// quarter of its time on memory otherwise.
    ///
    /// ```
    /// #[global_allocator]
    /// static MEMORY: gatewright::cli::Arena = gatewright::cli::Arena::new();
    ///
    /// fn main() {
    ///     assert_eq!([1, 2, 3].repeat(100_000).len(), 300_000);
    /// }
    /// ```
    #[derive(Debug)]
    #[repr(C)]
    pub struct Arena {
        /// How much of it is handed out. It stands beside what is handed out first: one page for both.
        used: AtomicUsize,
        memory: UnsafeCell<Memory>,
    }

    #[derive(Debug)]
    #[repr(C, align(16))]
    struct Memory([u8; SIZE]);

    // SAFETY: pieces of the memory are handed out by one atomic step each, so that no two threads get the same; the memory
    // itself is never read or written here but as a piece that its owner lends.
    unsafe impl Sync for Arena {}

    impl Default for Arena {
        fn default() -> Self {
            Self::new()
        }
    }

    impl Arena {
        /// One whose first memory is all free.
        pub const fn new() -> Self {
            Self { used: AtomicUsize::new(0), memory: UnsafeCell::new(Memory([0; SIZE])) }
        }

        /// The address that a piece begins with, counted from the memory's; `None` for one that the system gave.
        fn place(&self, piece: *const u8) -> Option<usize> {
            (piece as usize).checked_sub(self.memory.get() as usize).filter(|place| *place < SIZE)
        }

        /// Has the last piece, of this place and size, end somewhere else: with a new size of zero nowhere. Says whether it has.
        fn end_last(&self, place: usize, size: usize, new_size: usize) -> bool {
            let Some(end) = place.checked_add(new_size).filter(|end| *end <= SIZE) else { return false };
            self.used.compare_exchange(place + size, end, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        }

        /// A piece of the memory; null where there is none of this size.
        fn next(&self, layout: Layout) -> *mut u8 {
            let start = self.memory.get().cast::<u8>();
            let place =
                |used: usize| (start as usize + used).next_multiple_of(layout.align()) - start as usize;
            let end = |used| place(used).checked_add(layout.size()).filter(|end| *end <= SIZE);
            match self.used.fetch_update(Ordering::AcqRel, Ordering::Relaxed, end) {
                Ok(used) => start.wrapping_add(place(used)),
                Err(_) => ptr::null_mut(),
            }
        }
    }

    // SAFETY: a piece lies inside the memory, aligned, and behind all that are handed out: `next` moves the end of those past
    // it in the same step. Only the one that ends there is taken back or moved in its end, again in one step that fails where
    // another thread was faster. All other calls are the system's allocator's, with what it gave itself.
    unsafe impl GlobalAlloc for Arena {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            match self.next(layout) {
                // SAFETY: what was asked of us.
                piece if piece.is_null() => unsafe { System.alloc(layout) },
                piece => piece,
            }
        }

        // SAFETY: as the trait wants it; what the caller promises is all that is used.
        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            let piece = self.next(layout);
            if piece.is_null() {
                // SAFETY: what was asked of us.
                return unsafe { System.alloc_zeroed(layout) };
            }
            // SAFETY: as many bytes as the piece has; it may have been another's that was taken back.
            unsafe { piece.write_bytes(0, layout.size()) };
            piece
        }

        // SAFETY: as the trait wants it; what the caller promises is all that is used.
        unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
            match self.place(piece) {
                // SAFETY: it is not ours, so that the system gave it.
                None => unsafe { System.dealloc(piece, layout) },
                Some(place) => {
                    self.end_last(place, layout.size(), 0);
                }
            }
        }

        // SAFETY: as the trait wants it; what the caller promises is all that is used.
        unsafe fn realloc(&self, piece: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
            let Some(place) = self.place(piece) else {
                // SAFETY: it is not ours, so that the system gave it.
                return unsafe { System.realloc(piece, layout, new_size) };
            };
            if self.end_last(place, layout.size(), new_size) || new_size <= layout.size() {
                return piece;
            }
            // SAFETY: the caller promises that the size is one for this alignment.
            let new = unsafe { self.alloc(Layout::from_size_align_unchecked(new_size, layout.align())) };
            if !new.is_null() {
                // SAFETY: two pieces that were handed out at different places, both of the old size at least. The old one is
                // not the last, so that nothing is to be taken back.
                unsafe { ptr::copy_nonoverlapping(piece, new, layout.size()) };
            }
            new
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        const EIGHT: Layout = Layout::new::<u64>();

        fn layout(size: usize, align: usize) -> Layout {
            Layout::from_size_align(size, align).unwrap()
        }

        #[test]
        fn pieces_follow_each_other_and_the_last_one_grows_and_goes() {
            let arena = Arena::new();
            // SAFETY: each piece is given back, or grown, once, with the layout that it has.
            unsafe {
                let first = arena.alloc(layout(3, 1));
                let second = arena.alloc(EIGHT);
                assert_eq!(second as usize % 8, 0);
                assert_eq!((arena.place(first), arena.place(second)), (Some(0), Some(8)));
                second.write_bytes(7, 8);
                assert_eq!(arena.realloc(second, EIGHT, 4096), second, "the last one");
                let moved = arena.realloc(first, layout(3, 1), 100);
                assert_eq!(arena.place(moved), Some(8 + 4096), "another one");
                arena.dealloc(moved, layout(100, 1));
                arena.dealloc(second, layout(4096, 8));
                let zeroed = arena.alloc_zeroed(layout(16, 16));
                assert_eq!(arena.place(zeroed), Some(16));
                assert_eq!(std::slice::from_raw_parts(arena.alloc_zeroed(EIGHT), 8), [0; 8]);
            }
        }

        #[test]
        fn the_system_gives_what_does_not_fit() {
            let arena = Arena::new();
            // SAFETY: as above.
            unsafe {
                let most = arena.alloc(layout(SIZE, 1));
                assert_eq!(arena.place(most), Some(0));
                let more = arena.alloc(layout(1, 1));
                assert_eq!(arena.place(more), None);
                let more = arena.realloc(more, layout(1, 1), 1 << 20);
                more.write_bytes(1, 1 << 20);
                arena.dealloc(more, layout(1 << 20, 1));
                // A piece that cannot grow where it is goes to the system with what is in it.
                most.write_bytes(9, SIZE);
                let grown = arena.realloc(most, layout(SIZE, 1), SIZE + 1);
                assert_eq!(arena.place(grown), None);
                assert!(std::slice::from_raw_parts(grown, SIZE).iter().all(|byte| *byte == 9));
                arena.dealloc(grown, layout(SIZE + 1, 1));
                let zeroed = arena.alloc_zeroed(layout(4096, 4096));
                assert!(std::slice::from_raw_parts(zeroed, 4096).iter().all(|byte| *byte == 0));
                arena.dealloc(zeroed, layout(4096, 4096));
            }
        }

        #[test]
        fn threads_get_pieces_of_their_own() {
            let arena = Arena::new();
            let pieces: Vec<usize> = std::thread::scope(|scope| {
                let take = || (0..100).map(|_| arena.next(layout(24, 8)) as usize).collect::<Vec<_>>();
                let threads = [scope.spawn(take), scope.spawn(take)];
                threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
            });
            let mut sorted = pieces.clone();
            sorted.sort_unstable();
            assert!(sorted.windows(2).all(|pair| pair[1] - pair[0] >= 24), "{pieces:?}");
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
pub(crate) use program::WITHOUT_CLONE3;
#[cfg(target_os = "linux")]
pub(crate) use program::{Given, Limit, SpawnError, Spawned, Texts, spawn};

/// Starting programs, with vfork's semantics: the time that takes does not grow with this process.
///
/// `Command` does that too, but only for what posix_spawn can set: no limits, no mask and dispositions of signals, no
/// umask, and it leaves open whatever is not closed on exec.
#[cfg(target_os = "linux")]
mod program {
    use std::ffi::{CStr, c_char, c_int, c_long, c_void};
    use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
    use std::ptr;
    use std::{fmt, io};

    use nix::unistd::Pid;

    /// Texts for a program: its arguments, or its environment.
    #[derive(Debug, Default)]
    pub(crate) struct Texts {
        slab: Vec<u8>,
        starts: Vec<usize>,
    }

    impl Texts {
        /// Appends one, made of parts; `false`, and nothing appended, where a part has a NUL.
        pub(crate) fn push(&mut self, parts: &[&[u8]]) -> bool {
            if parts.iter().any(|part| memchr::memchr(0, part).is_some()) {
                return false;
            }
            self.starts.push(self.slab.len());
            parts.iter().for_each(|part| self.slab.extend_from_slice(part));
            self.slab.push(0);
            true
        }

        /// The texts in order.
        pub(crate) fn iter(&self) -> impl Iterator<Item = &CStr> {
            self.starts.iter().filter_map(|start| CStr::from_bytes_until_nul(self.slab.get(*start..)?).ok())
        }

        /// What exec wants. The pointers are good for as long as the texts are not changed.
        fn pointers(&self) -> Vec<*const c_char> {
            self.iter().map(CStr::as_ptr).chain([ptr::null()]).collect()
        }
    }

    /// A resource limit, soft and hard.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Limit {
        pub(crate) resource: c_int,
        pub(crate) soft: u64,
        pub(crate) hard: u64,
    }

    /// What a program is given.
    #[derive(Debug)]
    pub(crate) struct Given<'a> {
        pub(crate) path: &'a CStr,
        pub(crate) arguments: &'a Texts,
        pub(crate) environment: &'a Texts,
        pub(crate) folder: Option<&'a CStr>,
        pub(crate) stdin: BorrowedFd<'a>,
        pub(crate) stdout: BorrowedFd<'a>,
        pub(crate) stderr: BorrowedFd<'a>,
        pub(crate) limits: &'a [Limit],
        /// The folder of the control group (v2) that it belongs to from its first moment.
        pub(crate) group: Option<BorrowedFd<'a>>,
    }

    /// A program that runs, as the leader of a process group of its own.
    #[derive(Debug)]
    pub(crate) struct Spawned {
        pub(crate) pid: Pid,
        /// Readable once it has ended; `None` where the kernel is older than 5.3.
        pub(crate) pidfd: Option<OwnedFd>,
    }

    /// Why no program runs: what was tried, and what came of it.
    #[derive(Debug)]
    pub(crate) struct SpawnError {
        pub(crate) step: &'static str,
        pub(crate) error: io::Error,
    }

    impl fmt::Display for SpawnError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{}: {}", self.step, self.error)
        }
    }

    /// What the step was called at which a child gave up.
    const STEPS: [&str; 7] = [
        "cannot make a process",
        "cannot limit it",
        "cannot enter its folder",
        "cannot give it its descriptors",
        "cannot close other descriptors",
        "cannot execute it",
        "cannot put it into its control group",
    ];

    /// Shared with the child, whose memory is ours.
    struct Child<'a> {
        given: &'a Given<'a>,
        arguments: &'a [*const c_char],
        environment: &'a [*const c_char],
        /// The kernel could not start it in its control group: it moves there itself.
        moves: bool,
        failed: usize,
        errno: c_int,
    }

    /// All signals, the two that glibc keeps to itself included, but SIGCHLD: nobody sends one to a process without
    /// children, and where it is blocked the kernel wakes another thread with it, whose call is interrupted.
    const ALL_SIGNALS: u64 = !(1 << (libc::SIGCHLD - 1));

    /// Starts a program: in a process group of its own, with umask 022, its signals at their defaults and none blocked,
    /// and no descriptor but the three that it is given. The caller reaps it.
    pub(crate) fn spawn(given: &Given<'_>) -> Result<Spawned, SpawnError> {
        let (arguments, environment) = (given.arguments.pointers(), given.environment.pointers());
        let mut child = Child {
            given,
            arguments: &arguments,
            environment: &environment,
            moves: false,
            failed: 0,
            errno: 0,
        };
        let mut pidfd: c_int = -1;
        // A handler of ours must not run in the child: it would change our memory.
        let before = set_mask(ALL_SIGNALS);
        let started = start(&mut child, &mut pidfd);
        set_mask(before);
        let pid = started.map_err(|error| SpawnError { step: STEPS[0], error })?;
        // SAFETY: the kernel has just opened it for us, and told nobody else.
        let pidfd = (pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) });
        if child.errno != 0 {
            // It has ended already, and is our child whom nobody else knows.
            let _ = nix::sys::wait::waitpid(pid, None);
            let step = STEPS.get(child.failed).copied().unwrap_or_default();
            return Err(SpawnError { step, error: io::Error::from_raw_os_error(child.errno) });
        }
        Ok(Spawned { pid, pidfd })
    }

    const STACK: usize = 64 * 1024;

    #[cfg(test)]
    thread_local! {
        /// As on an older kernel.
        pub(crate) static WITHOUT_CLONE3: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    }

    fn start(child: &mut Child<'_>, pidfd: &mut c_int) -> io::Result<Pid> {
        let mut stack: Vec<u128> = Vec::with_capacity(STACK / size_of::<u128>());
        if let Some(group) = child.given.group {
            match start_in_group(child, pidfd, &mut stack, group) {
                // What older kernels, and filters for system calls, say to what they do not know.
                Err(libc::ENOSYS | libc::E2BIG | libc::EINVAL | libc::EPERM) => child.moves = true,
                result => return result.map(Pid::from_raw).map_err(io::Error::from_raw_os_error),
            }
        }
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
        // SAFETY: the stack is valid for its capacity, aligned to 16 bytes, and used by nobody else; this thread stands
        // still until the child has executed its program or ended, so that the stack, `child` and all that it points
        // to outlive the child's use of them. `pidfd` is what CLONE_PIDFD writes to.
        let pid = unsafe {
            let top = stack.as_mut_ptr().add(stack.capacity());
            let child: *mut Child<'_> = child;
            libc::clone(run_child, top.cast(), flags, child.cast(), pidfd as *mut c_int)
        };
        if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(Pid::from_raw(pid)) }
    }

    /// The same by `clone3`, which alone can start a process inside a control group: one that moves there later makes the
    /// kernel wait until all others have noticed, 13 ms as a rule. glibc has no way to call it with a new stack.
    #[cfg(target_arch = "x86_64")]
    fn start_in_group(
        child: &mut Child<'_>,
        pidfd: &mut c_int,
        stack: &mut Vec<u128>,
        group: BorrowedFd<'_>,
    ) -> Result<c_int, c_int> {
        #[cfg(test)]
        if WITHOUT_CLONE3.get() {
            return Err(libc::ENOSYS);
        }
        /// The kernel's `struct clone_args`, as far as it goes since 5.7.
        #[repr(C)]
        #[derive(Default)]
        struct CloneArgs {
            flags: u64,
            pidfd: u64,
            child_tid: u64,
            parent_tid: u64,
            exit_signal: u64,
            stack: u64,
            stack_size: u64,
            tls: u64,
            set_tid: u64,
            set_tid_size: u64,
            cgroup: u64,
        }
        const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD;
        let arguments = CloneArgs {
            flags: u64::from(flags.cast_unsigned()) | CLONE_INTO_CGROUP,
            pidfd: (&raw mut *pidfd).expose_provenance() as u64,
            exit_signal: u64::from(libc::SIGCHLD.cast_unsigned()),
            stack: stack.as_mut_ptr().expose_provenance() as u64,
            stack_size: (stack.capacity() * size_of::<u128>()) as u64,
            cgroup: u64::from(group.as_raw_fd().cast_unsigned()),
            ..CloneArgs::default()
        };
        let result: i64;
        // SAFETY: as for `clone` above, and the same call but for the group. The child begins behind the system call with
        // our registers and its own stack, whose end is aligned to 16 bytes: it calls `run_child`, which never comes
        // back, and touches nothing of ours before. The kernel changes rcx, r11 and the result's rax.
        unsafe {
            core::arch::asm!(
                "syscall",
                "test rax, rax",
                "jnz 2f",
                "xor ebp, ebp",
                "mov rdi, r12",
                "call {run_child}",
                "ud2",
                "2:",
                run_child = sym run_child,
                inlateout("rax") libc::SYS_clone3 => result,
                in("rdi") &raw const arguments,
                in("rsi") size_of::<CloneArgs>(),
                in("r12") core::ptr::from_mut(child).cast::<c_void>(),
                lateout("rcx") _,
                lateout("r11") _,
            );
        }
        match c_int::try_from(result) {
            Ok(pid @ 1..) => Ok(pid),
            Ok(failed) => Err(-failed),
            Err(_) => Err(libc::EINVAL),
        }
    }

    /// Elsewhere the child moves there itself.
    #[cfg(not(target_arch = "x86_64"))]
    fn start_in_group(
        _: &mut Child<'_>,
        _: &mut c_int,
        _: &mut Vec<u128>,
        _: BorrowedFd<'_>,
    ) -> Result<c_int, c_int> {
        Err(libc::ENOSYS)
    }

    /// Sets this thread's mask of blocked signals; the result is the one before.
    fn set_mask(mask: u64) -> u64 {
        let mut before = 0_u64;
        // SAFETY: both are pointers to as many bytes as the call is told. (glibc's own would leave its two signals out.)
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigprocmask,
                c_long::from(libc::SIG_SETMASK),
                &raw const mask,
                &raw mut before,
                size_of::<u64>(),
            );
        }
        before
    }

    /// The child's side. It runs in our memory: it calls the system, and nothing else.
    extern "C" fn run_child(child: *mut c_void) -> c_int {
        // SAFETY: `spawn` passes a pointer to its `Child`, and stands still meanwhile.
        let child = unsafe { &mut *child.cast::<Child<'_>>() };
        // SAFETY: as `become_program` asks: this is the child, with all signals blocked.
        child.failed = unsafe { become_program(child) };
        child.errno = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL);
        // SAFETY: ends this process without running what the parent has registered for its own end.
        unsafe { libc::_exit(127) }
    }

    /// Executes the program; the result is the step at which that failed, with errno set.
    ///
    /// # Safety
    /// For a child that shares its parent's memory and blocks all signals, and for nobody else: it changes what belongs
    /// to a whole process.
    // SAFETY: its one caller is such a child, and tells so.
    unsafe fn become_program(child: &Child<'_>) -> usize {
        let given = child.given;
        // SAFETY: system calls on integers, and on texts that end in NUL and live in `given`; the arrays of pointers end
        // in a null pointer. Structures are passed by pointers to locals of the right type.
        unsafe {
            if libc::setpgid(0, 0) < 0 {
                return 0;
            }
            if let (true, Some(group)) = (child.moves, given.group) {
                let file = libc::openat(group.as_raw_fd(), c"cgroup.procs".as_ptr(), libc::O_WRONLY);
                if file < 0 || libc::write(file, c"0".as_ptr().cast(), 1) < 0 {
                    return 6;
                }
                libc::close(file);
            }
            for limit in given.limits {
                let values = libc::rlimit { rlim_cur: limit.soft, rlim_max: limit.hard };
                // The type of a resource's number differs from one C library to the other.
                if libc::prlimit(0, limit.resource as _, &raw const values, ptr::null_mut()) < 0 {
                    return 1;
                }
            }
            libc::umask(0o022);
            if let Some(folder) = given.folder
                && libc::chdir(folder.as_ptr()) < 0
            {
                return 2;
            }
            let mut sources = [given.stdin.as_raw_fd(), given.stdout.as_raw_fd(), given.stderr.as_raw_fd()];
            for source in &mut sources {
                // One that stands where another shall be would be lost.
                if *source < 3 {
                    *source = libc::fcntl(*source, libc::F_DUPFD, 3);
                }
            }
            for (source, target) in sources.into_iter().zip(0..) {
                if source < 0 || libc::dup2(source, target) < 0 {
                    return 3;
                }
            }
            // Older kernels than 5.9 have no such call: what we open ourselves is closed on exec all the same.
            let (first, last, flags): (c_long, c_long, c_long) = (3, u32::MAX.into(), 0);
            if libc::syscall(libc::SYS_close_range, first, last, flags) < 0
                && io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS)
            {
                return 4;
            }
            // The kernel's own structure, shorter than this, where all zeroes are the default. (glibc's function would
            // leave its two signals out.)
            let default = [0_u64; 8];
            for signal in 1..=64 {
                let (signal, size): (c_long, c_long) = (signal, 8);
                // It fails for SIGKILL and SIGSTOP, which have no other disposition.
                libc::syscall(
                    libc::SYS_rt_sigaction,
                    signal,
                    default.as_ptr(),
                    ptr::null_mut::<c_void>(),
                    size,
                );
            }
            set_mask(0);
            libc::execve(given.path.as_ptr(), child.arguments.as_ptr(), child.environment.as_ptr());
        }
        5
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    /// What comes of starting a program with these limits, in this folder.
    #[cfg(target_os = "linux")]
    fn start(path: &std::ffi::CStr, folder: &std::ffi::CStr, limits: &[Limit]) -> Result<i32, String> {
        use std::os::fd::AsFd;
        let nothing = std::fs::File::options().read(true).write(true).open("/dev/null").unwrap();
        let (mut arguments, environment) = (Texts::default(), Texts::default());
        assert!(arguments.push(&[path.to_bytes()]));
        let given = Given {
            path,
            arguments: &arguments,
            environment: &environment,
            folder: Some(folder),
            stdin: nothing.as_fd(),
            stdout: nothing.as_fd(),
            stderr: nothing.as_fd(),
            limits,
            group: None,
        };
        let spawned = spawn(&given).map_err(|error| error.to_string())?;
        match nix::sys::wait::waitpid(spawned.pid, None) {
            Ok(nix::sys::wait::WaitStatus::Exited(_, code)) => Ok(code),
            other => panic!("{other:?}"),
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_keeps_a_program_from_starting_is_told_by_its_step() {
        assert_eq!(start(c"/bin/true", c"/", &[]), Ok(0));
        assert_eq!(start(c"/bin/false", c"/", &[]), Ok(1));
        let none = start(c"/no/such/program", c"/", &[]).unwrap_err();
        assert!(none.starts_with("cannot execute it: No such file"), "{none}");
        let folder = start(c"/bin/true", c"/no/such/folder", &[]).unwrap_err();
        assert!(folder.starts_with("cannot enter its folder: No such file"), "{folder}");
        // Soft above hard is a limit that nobody may have.
        let limit = Limit { resource: libc::RLIMIT_NOFILE as i32, soft: 20, hard: 10 };
        let limit = start(c"/bin/true", c"/", &[limit]).unwrap_err();
        assert!(limit.starts_with("cannot limit it: "), "{limit}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_text_with_a_nul_is_none() {
        let mut texts = Texts::default();
        assert!(texts.push(&[b"A", b"=", b"1"]) && !texts.push(&[b"B=", b"x\0y"]) && texts.push(&[b""]));
        assert_eq!(texts.iter().collect::<Vec<_>>(), [c"A=1", c""]);
    }

    #[test]
    fn what_is_inherited_is_a_descriptor_of_its_own_and_closed_on_exec() {
        let (reader, _writer) = std::io::pipe().unwrap();
        let ours = inherit(reader.as_raw_fd()).unwrap();
        assert_ne!(ours.as_raw_fd(), reader.as_raw_fd());
        for fd in [&ours as &dyn AsRawFd, &reader] {
            let flags = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap();
            let flags = flags.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim().to_owned();
            let flags = i32::from_str_radix(&flags, 8).unwrap();
            assert_ne!(flags & libc::O_CLOEXEC, 0);
        }
    }

    #[test]
    fn numbers_that_are_no_descriptors_are_errors() {
        for number in [-1, i32::MIN, 1_000_000, i32::MAX] {
            assert_eq!(inherit(number).unwrap_err().raw_os_error(), Some(libc::EBADF));
            assert_eq!(close_on_exec(number).unwrap_err().raw_os_error(), Some(libc::EBADF));
        }
    }

    #[cfg(feature = "cli")]
    #[test]
    fn variables_stay_where_another_thread_could_read_them() {
        assert!(!forget_variables(&["PATH"]), "a test has a thread of its own");
        assert!(std::env::var_os("PATH").is_some());
    }
}
