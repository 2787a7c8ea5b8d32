//! What a process says before it dies of a page that cannot be read.
//!
//! Where a mapped page cannot be read, because the medium failed or somebody cut the file, there is
//! no call that could return an error: the kernel sends the thread a SIGBUS, and by default the
//! process dies without a word about which file it was. The handler here says it, and then lets the
//! process die as it would have.

use std::mem;
use std::ptr;
use std::sync::{Once, OnceLock};

use libc::{c_int, c_void, siginfo_t};

use super::registry::{self, Found};

/// What was done about the signal before.
static EARLIER: OnceLock<libc::sigaction> = OnceLock::new();

/// Names a mapped file that cannot be read: from now on a SIGBUS in a [`Mapping`](crate::Mapping)
/// of a real file writes one line with the file and the offset to standard error before the process
/// dies of the signal. For the start of a program; later calls do nothing.
///
/// A SIGBUS elsewhere goes to whatever handled it before, or kills the process as it would have.
/// Of more than 64 mappings at a time some are not named, and of a long path only the last 256
/// bytes are.
pub fn report_bus_errors() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(install);
}

fn install() {
    // SAFETY: a `sigaction` is plain data for which all zeros is a value (the default action, no
    // flags). Both pointers are null or lead to such a value that lives for the call. The handler
    // has the signature that SA_SIGINFO asks for, and does only what a handler may (see there).
    unsafe {
        let mut earlier: libc::sigaction = mem::zeroed();
        if libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut earlier) != 0 {
            return;
        }
        // Kept before the handler is there, so that it always finds it.
        let _ = EARLIER.set(earlier);
        let mut ours: libc::sigaction = mem::zeroed();
        let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = on_bus_error;
        ours.sa_sigaction = handler as libc::sighandler_t;
        // On the stack for signals, where a thread has one: an earlier handler may need that.
        ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigaction(libc::SIGBUS, &raw const ours, ptr::null_mut());
    }
}

/// Runs on a thread that was stopped anywhere: it takes no lock, allocates nothing, and calls only
/// what POSIX lists as safe there (`write`, `sigaction`, `raise`).
extern "C" fn on_bus_error(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid `siginfo_t`, and for SIGBUS its address
    // field is the one that is filled in; for a signal that a process sent it is other plain data,
    // and not used.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    let is_fault = [libc::BUS_ADRALN, libc::BUS_ADRERR, libc::BUS_MCEERR_AR].contains(&code);
    let found = if is_fault { registry::find(address) } else { None };
    match found {
        Some(found) => {
            say(&found);
            die(signal, is_fault);
        }
        None => pass_on(signal, info, context, is_fault),
    }
}

/// Lets the signal do what it would have done without us.
fn pass_on(signal: c_int, info: *mut siginfo_t, context: *mut c_void, is_fault: bool) {
    let Some(earlier) = EARLIER.get() else {
        return die(signal, is_fault);
    };
    match earlier.sa_sigaction {
        libc::SIG_DFL => die(signal, is_fault),
        // A fault cannot be ignored: the thread would fault again for ever.
        libc::SIG_IGN if is_fault => die(signal, is_fault),
        libc::SIG_IGN => {}
        handler if earlier.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: a handler that was installed with SA_SIGINFO has this signature, and gets
            // what the kernel gave us.
            unsafe {
                let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) =
                    mem::transmute(handler);
                handler(signal, info, context);
            }
        }
        handler => {
            // SAFETY: a handler that was installed without SA_SIGINFO has this signature.
            unsafe {
                let handler: extern "C" fn(c_int) = mem::transmute(handler);
                handler(signal);
            }
        }
    }
}

/// Restores the default action. A fault then happens again as soon as the handler returns, and
/// kills the process where it happened; a signal that was sent is sent again.
fn die(signal: c_int, is_fault: bool) {
    // SAFETY: all zeros is the default action, which lives for the call; both calls are safe in a
    // handler.
    unsafe {
        let default: libc::sigaction = mem::zeroed();
        libc::sigaction(signal, &raw const default, ptr::null_mut());
        if !is_fault {
            libc::raise(signal);
        }
    }
}

/// Writes the line.
fn say(found: &Found) {
    let mut line = Line::new();
    line.push(b"cannot read ");
    line.push(found.path());
    line.push(b" at offset ");
    line.push_number(found.offset);
    line.push(b" through its mapping: the medium failed, or the file was cut\n");
    let mut rest = line.bytes();
    while !rest.is_empty() {
        // SAFETY: the bytes are borrowed for the call; a closed descriptor is only an error.
        let written =
            unsafe { libc::write(libc::STDERR_FILENO, rest.as_ptr().cast::<c_void>(), rest.len()) };
        match usize::try_from(written) {
            Ok(written) if written > 0 => rest = &rest[written.min(rest.len())..],
            // Nobody is left to be told.
            _ => return,
        }
    }
}

/// A line of limited length, made without allocating.
struct Line {
    bytes: [u8; 512],
    len: usize,
}

impl Line {
    fn new() -> Line {
        Line { bytes: [0; 512], len: 0 }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Appends as much as there is room for.
    fn push(&mut self, bytes: &[u8]) {
        let room = &mut self.bytes[self.len..];
        let len = bytes.len().min(room.len());
        room[..len].copy_from_slice(&bytes[..len]);
        self.len += len;
    }

    fn push_number(&mut self, number: u64) {
        let mut digits = [0; 20];
        let (mut rest, mut start) = (number, digits.len());
        loop {
            start -= 1;
            digits[start] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.push(&digits[start..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_full_and_lines_are_bounded() {
        let mut line = Line::new();
        for number in [0, 7, 10, u64::MAX] {
            line.push_number(number);
            line.push(b" ");
        }
        assert_eq!(line.bytes(), b"0 7 10 18446744073709551615 ");
        line.push(&[b'x'; 1000]);
        assert_eq!(line.bytes().len(), 512);
    }
}
