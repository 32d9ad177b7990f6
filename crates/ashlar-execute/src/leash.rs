//! A command that ends when we do.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Lets the kernel kill a command when the thread that starts it ends before, for instance because
/// this process was killed. What the command itself has started goes on.
pub fn end_with_us(command: &mut Command) {
    let parent = std::process::id();
    // SAFETY: between fork and exec it only makes system calls.
    unsafe {
        command.pre_exec(move || {
            let signal = rustix::process::Signal::KILL;
            rustix::process::set_parent_process_death_signal(Some(signal))?;
            // It may have ended in between.
            let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
            if now.and_then(|pid| u32::try_from(pid).ok()) != Some(parent) {
                return Err(std::io::ErrorKind::BrokenPipe.into());
            }
            Ok(())
        });
    }
}
