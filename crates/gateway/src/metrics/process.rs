//! What the kernel tells of this process. What it does not tell stays out of the page.

use std::fs;

/// Ticks a second in `/proc/self/stat`. Fixed by the kernel's interface to programs.
const TICKS_PER_S: u64 = 100;

/// Bytes of a page of memory, on the architectures this runs on.
const PAGE_BYTES: u64 = 4096;

/// The process at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Process {
    /// Processor time, user and system, in seconds.
    pub(super) cpu_s: f64,
    /// Memory in use, in bytes.
    pub(super) resident_bytes: u64,
    pub(super) threads: u64,
    pub(super) open_files: u64,
    /// Bytes read and written by system calls of any kind, and how many of them.
    pub(super) read_bytes: u64,
    pub(super) written_bytes: u64,
    pub(super) read_calls: u64,
    pub(super) write_calls: u64,
}

impl Process {
    /// Reads `/proc/self`. Zero for what cannot be read.
    pub(super) fn read() -> Process {
        let text = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        let open_files = fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
        Process { open_files, ..Process::parse(&text("stat"), &text("io")) }
    }

    fn parse(stat: &str, io: &str) -> Process {
        // The second field is the program's name in parentheses and may hold blanks: count after it.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let field =
            |number: usize| fields.get(number - 3).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let named = |name: &str| {
            let mut lines = io.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(have, _)| *have == name).and_then(|(_, number)| number.parse().ok()).unwrap_or(0)
        };
        #[expect(clippy::cast_precision_loss, reason = "ticks of a process fit the 53 bits of a float")]
        let cpu_s = (field(14) + field(15)) as f64 / TICKS_PER_S as f64;
        Process {
            cpu_s,
            resident_bytes: field(24) * PAGE_BYTES,
            threads: field(20),
            open_files: 0,
            read_bytes: named("rchar"),
            written_bytes: named("wchar"),
            read_calls: named("syscr"),
            write_calls: named("syscw"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Process;

    #[test]
    fn the_fields_are_counted_after_the_name_of_the_program() {
        let stat = "42 (a b) c) S 1 42 42 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 9 0 100 1000000 25 0";
        let io = "rchar: 10\nwchar: 20\nsyscr: 3\nsyscw: 4\nread_bytes: 0\n";
        let expected = Process {
            cpu_s: 2.0,
            resident_bytes: 25 * 4096,
            threads: 9,
            open_files: 0,
            read_bytes: 10,
            written_bytes: 20,
            read_calls: 3,
            write_calls: 4,
        };
        assert_eq!(Process::parse(stat, io), expected);
        assert_eq!(Process::parse("", ""), Process::default());
    }
}
