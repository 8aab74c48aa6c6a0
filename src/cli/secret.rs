//! What is read from standard input, so that it stands neither in the process list nor in the
//! shell's history; nor on the screen, where somebody types it.

use std::io::{self, BufRead, IsTerminal as _};

/// The longest line that is read.
const CHARS_MAX: usize = 256;

/// One line of standard input, unseen if it is typed.
///
/// # Errors
/// Those of [`read_line`].
pub(super) fn ask(what: &str) -> io::Result<String> {
    let input = io::stdin();
    if !input.is_terminal() {
        return read_line(input.lock(), what);
    }
    let typed = rpassword::prompt_password(format!("{what} (it is not shown): "))?;
    read_line(typed.as_bytes(), what)
}

/// One line; it goes into the request and nowhere else. `what` names it to whoever gave none.
///
/// # Errors
/// When there is none, or it is too long.
pub(super) fn read_line(input: impl BufRead, what: &str) -> io::Result<String> {
    let mut line = String::new();
    input.take(CHARS_MAX as u64 + 2).read_line(&mut line)?;
    // Spaces may be a part of a password.
    let text = line.trim_end_matches(['\r', '\n']);
    if text.is_empty() || text.len() > CHARS_MAX {
        let told = format!("give {what} on standard input");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, told));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_read_without_its_end() {
        let read = |text: &str| read_line(text.as_bytes(), "the password");
        assert_eq!(read("hunter2\nmore\n").expect("a line"), "hunter2");
        assert_eq!(read(" hunter 2 \r\n").expect("a line"), " hunter 2 ");
        let told = read("\n").expect_err("nothing").to_string();
        assert_eq!(told, "give the password on standard input");
        assert!(read(&"x".repeat(CHARS_MAX + 1)).is_err());
        assert!(read(&format!("{}x", " ".repeat(2 * CHARS_MAX))).is_err(), "none is cut");
    }
}
