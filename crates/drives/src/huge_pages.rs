//! Huge pages, from the first large body on.
//!
//! The allocator asks the kernel for pages of 2 MiB. An idle server touches a little of a dozen of them: 24 MiB hold 3.
//! Small objects have no use for them either. What goes past the page cache does: a PUT of 64 MiB is a quarter faster
//! with them, since the drive gets few pieces of memory in place of many. So a program holds them back when it begins,
//! and the first large body that is written or read lets the kernel give them again, to the whole process and for good.
//!
//! Elsewhere than on Linux, and where the kernel has none, nothing of this does anything.

use std::sync::atomic::{AtomicBool, Ordering};

static HUGE_PAGES: HugePages = HugePages { are_held_back: AtomicBool::new(false) };

/// Has the kernel give this process no huge pages until a large body comes.
pub fn hold_back() {
    HUGE_PAGES.hold_back();
}

/// A large body comes.
pub(crate) fn allow() {
    HUGE_PAGES.allow();
}

struct HugePages {
    are_held_back: AtomicBool,
}

impl HugePages {
    fn hold_back(&self) {
        self.are_held_back.store(disable(true), Ordering::Relaxed);
    }

    fn allow(&self) {
        if self.are_held_back.load(Ordering::Relaxed) && self.are_held_back.swap(false, Ordering::Relaxed) {
            disable(false);
        }
    }
}

/// Whether the kernel heard of it: one that does not knows none, and all is as it was.
#[cfg(target_os = "linux")]
fn disable(is_disabled: bool) -> bool {
    rustix::thread::disable_transparent_huge_pages(is_disabled).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn disable(_is_disabled: bool) -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::sync::atomic::AtomicBool;

    use rustix::thread::transparent_huge_pages_are_disabled as are_disabled;

    use super::HugePages;

    #[test]
    fn they_are_held_back_until_the_first_large_body_and_given_from_then_on() {
        let pages = HugePages { are_held_back: AtomicBool::new(false) };
        pages.hold_back();
        assert_eq!(are_disabled(), Ok(true));
        for _ in 0..2 {
            pages.allow();
            assert_eq!(are_disabled(), Ok(false));
        }
    }
}
