//! The process in `/metrics`, by what the kernel says; a number that it does not tell is left out.

use super::super::listen::descriptor_limit;
use super::Page;

pub(super) fn show(page: &mut Page) {
    memory(page);
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = fields(&stat);
    if let Some(seconds) = cpu_seconds(&fields) {
        let help = "Total user and system CPU time spent in seconds.";
        page.counter("process_cpu_seconds_total", help, seconds);
    }
    if let Some(seconds) = start_seconds(&fields) {
        let help = "Start time of the process since unix epoch in seconds.";
        page.gauge("process_start_time_seconds", help, seconds);
    }
    let open = std::fs::read_dir("/proc/self/fd").map(Iterator::count);
    if let Ok(open) = open {
        page.gauge("process_open_fds", "Number of open file descriptors.", open);
        page.gauge("os_fd_used", "Number of open file descriptors.", open);
    }
    if let Some(limit) = descriptor_limit() {
        page.gauge("process_max_fds", "Maximum number of open file descriptors.", limit);
        page.gauge("os_fd_limit", "Maximum number of open file descriptors.", limit);
    }
}

fn memory(page: &mut Page) {
    let page_bytes = rustix::param::page_size() as u64;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut pages = statm.split_ascii_whitespace().map_while(|field| field.parse::<u64>().ok());
    if let (Some(virtual_pages), Some(resident_pages)) = (pages.next(), pages.next()) {
        page.gauge(
            "process_virtual_memory_bytes",
            "Virtual memory size in bytes.",
            virtual_pages * page_bytes,
        );
        page.gauge(
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            resident_pages * page_bytes,
        );
    }
}

/// What `/proc/self/stat` says behind the name of the program, which may contain spaces and is
/// therefore skipped by its bracket.
fn fields(stat: &str) -> Vec<&str> {
    stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_ascii_whitespace().collect()
}

fn seconds(ticks: u64) -> f64 {
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// User and system time.
fn cpu_seconds(fields: &[&str]) -> Option<f64> {
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(seconds(ticks))
}

/// When the process was started, which the kernel counts from the start of the machine.
fn start_seconds(fields: &[&str]) -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let booted = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim();
    Some(booted.parse::<f64>().ok()? + seconds(fields.get(19)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_shown_with_its_start() {
        let mut page = Page::default();
        show(&mut page);
        let number = |name: &str| -> f64 {
            let line = page.0.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            line.unwrap_or_else(|| panic!("{name} is missing in\n{}", page.0)).parse().unwrap()
        };
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        assert!(number("process_start_time_seconds") > 1e9);
        // The machine's start is told in whole seconds.
        assert!(number("process_start_time_seconds") < now + 2.0);
        assert!(number("os_fd_used") >= 3.0 && number("os_fd_limit") > 3.0);
    }
}
