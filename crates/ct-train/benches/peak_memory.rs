//! How much memory a process needs that does nothing but train: a few steps, then the peak of its resident set.
//!
//! ```text
//! cargo bench -p ct-train --bench peak_memory -- memory/train_step/unet28_b64
//! ```
//!
//! Prints one line of JSON, in MiB; `--list` prints the names.
//! Without a name it makes one step of the smallest network and says nothing: that is what it does as a test.
//! `CT_BENCH_THREADS` sets the number of threads; all cores without it.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a program that prints its measurement")]

mod common;

/// As in `ct`.
#[global_allocator]
static ALLOCATOR: ct_alloc::Allocator = ct_alloc::Allocator;

const NAMES: [&str; 3] = ["digits_b64", "unet28_b64", "unet32_b16"];
/// Steps after which nothing new is allocated.
const STEPS: usize = 4;

fn main() {
    ct_alloc::keep_pages();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let full_names = NAMES.map(|name| (name, format!("memory/train_step/{name}")));
    if arguments.iter().any(|argument| argument == "--list") {
        // As criterion does.
        for (_, full_name) in &full_names {
            println!("{full_name}: benchmark");
        }
        return;
    }
    common::start_threads();
    let Some((name, full_name)) = full_names.iter().find(|(_, full_name)| arguments.contains(full_name))
    else {
        common::named(NAMES[0]).step().unwrap();
        return;
    };
    let mut trainer = common::named(name);
    for _ in 0..STEPS {
        trainer.step().unwrap();
    }
    let mib = peak_mib().map_or_else(|| "null".to_owned(), |mib| format!("{mib:.1}"));
    println!(r#"{{"name": "{full_name}", "peak_rss_mib": {mib}}}"#);
}

/// Peak of the resident set, where the system keeps it in `/proc`.
fn peak_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix("kB")?;
    Some(kib.trim().parse::<f64>().ok()? / 1024.0)
}
