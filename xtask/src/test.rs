//! `cargo xtask test`: every test of the workspace, with one closing line `N passed, N failed, N skipped`.
//!
//! The output of `cargo test` streams through; the closing line sums its `test result:` lines.
//! A device that this machine lacks is one skipped test, never a passed one.

use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::ops::AddAssign;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::mistake::Mistake;
use crate::workspace::{self, Target, Workspace};

/// The feature that a crate declares when it has code for CUDA.
const CUDA_FEATURE: &str = "cuda";

/// Where the tests of operations put their inputs.
const DEVICE_VARIABLE: &str = "CT_TEST_DEVICE";

/// Arguments of `cargo xtask test`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask test\n  cargo xtask test --device cpu -p ct-schedule")]
pub(crate) struct Args {
    /// Where the tensors of the tests live.
    #[arg(long, value_enum, default_value_t = Device::All)]
    device: Device,
    /// Test only this crate (may be given several times).
    #[arg(short, long = "package", value_name = "CRATE")]
    packages: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Device {
    /// The processor.
    Cpu,
    /// The first CUDA device; skipped where there is none.
    Cuda,
    /// Every device of this machine.
    All,
}

/// Counts of one or more test binaries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// The tests of one device.
#[derive(Debug)]
struct Leg {
    tally: Tally,
    /// False when cargo itself failed: a test failed, or something did not compile.
    cargo_succeeded: bool,
}

/// Runs the tests and prints the closing line.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let workspace = workspace::load()?;
    let packages = package_arguments(&workspace, &args.packages)?;

    let mut total = Tally::default();
    let mut cargo_succeeded = true;
    let mut include = |leg: &Leg| {
        total += leg.tally;
        cargo_succeeded &= leg.cargo_succeeded;
    };
    if args.device != Device::Cuda {
        include(&run_leg(&workspace, &packages, "cpu")?);
    }
    if args.device != Device::Cpu {
        include(&cuda_leg(&workspace, &packages)?);
    }

    let problem = problem(total, cargo_succeeded);
    if let Some(problem) = problem {
        eprintln!("error: {problem}");
    }
    println!("{total}");
    Ok(if problem.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Why the tests do not count as passed, if they do not.
fn problem(total: Tally, cargo_succeeded: bool) -> Option<&'static str> {
    if total.failed > 0 {
        Some("tests failed; their messages stand above")
    } else if !cargo_succeeded {
        Some("cargo test failed, though no test did; its message stands above")
    } else if total.passed == 0 {
        Some("no test ran")
    } else {
        None
    }
}

/// `--workspace`, or one `--package` for each crate that was named.
fn package_arguments(workspace: &Workspace, names: &[String]) -> Result<Vec<String>> {
    if names.is_empty() {
        return Ok(vec!["--workspace".to_owned()]);
    }
    let mut arguments = Vec::new();
    for name in names {
        if !workspace.packages.iter().any(|package| package.name == *name) {
            let known: Vec<&str> = workspace.packages.iter().map(|package| package.name.as_str()).collect();
            bail!(Mistake(format!("there is no crate `{name}` here; try one of {}", known.join(", "))));
        }
        arguments.extend(["--package".to_owned(), name.clone()]);
    }
    Ok(arguments)
}

/// The tests on CUDA, or one skipped test with the reason.
fn cuda_leg(workspace: &Workspace, packages: &[String]) -> Result<Leg> {
    let features = cuda_features(workspace);
    let reason = if !workspace::has_cuda_device() {
        Some("no CUDA device")
    } else if features.is_empty() {
        Some("no crate has the feature `cuda` yet")
    } else {
        None
    };
    if let Some(reason) = reason {
        println!("skipped: {reason}");
        return Ok(Leg { tally: Tally { skipped: 1, ..Tally::default() }, cargo_succeeded: true });
    }
    let mut arguments = packages.to_vec();
    arguments.extend(["--features".to_owned(), features.join(",")]);
    run_leg(workspace, &arguments, "cuda")
}

/// `crate/cuda` for each crate that has the feature.
fn cuda_features(workspace: &Workspace) -> Vec<String> {
    workspace
        .packages
        .iter()
        .filter(|package| package.features.contains_key(CUDA_FEATURE))
        .map(|package| format!("{}/{CUDA_FEATURE}", package.name))
        .collect()
}

/// Unit and integration tests, benches and examples as tests, then the examples in the docs of libraries.
fn run_leg(workspace: &Workspace, arguments: &[String], device: &str) -> Result<Leg> {
    let mut leg = stream_cargo_test("--all-targets", arguments, device)?;
    if names_a_library(workspace, arguments) {
        let docs = stream_cargo_test("--doc", arguments, device)?;
        leg.tally += docs.tally;
        leg.cargo_succeeded &= docs.cargo_succeeded;
    }
    Ok(leg)
}

/// Whether one of the selected crates is a library; cargo refuses to test the docs of programs alone.
fn names_a_library(workspace: &Workspace, arguments: &[String]) -> bool {
    let selected =
        |name: &String| arguments.iter().any(|argument| argument == "--workspace" || argument == name);
    let is_library = |target: &Target| target.kind.iter().any(|kind| kind == "lib");
    workspace.packages.iter().any(|package| selected(&package.name) && package.targets.iter().any(is_library))
}

/// Runs `cargo test`, shows what it prints, and sums its `test result:` lines.
fn stream_cargo_test(targets: &str, arguments: &[String], device: &str) -> Result<Leg> {
    eprintln!("$ cargo test --no-fail-fast {targets} {}", arguments.join(" "));
    let sh = workspace::shell()?;
    let mut child = Command::new("cargo")
        .args(["test", "--no-fail-fast", targets])
        .args(arguments)
        .env(DEVICE_VARIABLE, device)
        .current_dir(sh.current_dir())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let stdout = child.stdout.take().context("cargo's output is not piped")?;

    let mut tally = Tally::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.context("cannot read cargo's output")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        if let Some(result) = parse_result_line(&line) {
            tally += result;
        }
    }
    let status = child.wait().context("cannot wait for cargo")?;
    Ok(Leg { tally, cargo_succeeded: status.success() })
}

/// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; ..`.
fn parse_result_line(line: &str) -> Option<Tally> {
    let (_, counts) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| {
        counts.split(';').find_map(|part| part.trim().strip_suffix(what)?.trim().parse::<usize>().ok())
    };
    Some(Tally { passed: count("passed")?, failed: count("failed")?, skipped: count("ignored")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_read() {
        let ok =
            "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 1 filtered out; finished in 0.02s";
        assert_eq!(parse_result_line(ok), Some(Tally { passed: 12, failed: 0, skipped: 3 }));
        let bad = "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.50s";
        assert_eq!(parse_result_line(bad), Some(Tally { passed: 1, failed: 2, skipped: 0 }));
    }

    #[test]
    fn other_lines_are_not() {
        for line in
            ["running 3 tests", "test a::b ... ok", "test result: ", "test result: ok. x passed; 0 failed"]
        {
            assert_eq!(parse_result_line(line), None, "{line}");
        }
    }

    #[test]
    fn only_tests_that_ran_and_passed_count() {
        let passed = Tally { passed: 1, ..Tally::default() };
        assert_eq!(problem(passed, true), None);
        assert!(problem(passed, false).is_some());
        assert!(problem(Tally { failed: 1, ..passed }, false).is_some());
        assert_eq!(problem(Tally { skipped: 1, ..Tally::default() }, true), Some("no test ran"));
    }

    #[test]
    fn the_closing_line_sums() {
        let mut total = Tally { passed: 2, failed: 0, skipped: 1 };
        total += Tally { passed: 3, failed: 1, skipped: 0 };
        assert_eq!(total.to_string(), "5 passed, 1 failed, 1 skipped");
    }
}
