//! All tests of this program once more, with the operations that a GPU would run.

use std::process::Command;

/// On the CPU, where there is always one: what is tested of our kernels holds of compositions of candle's operations.
///
/// The random cases are fewer, for these operations are slow here.
#[test]
fn every_test_holds_without_our_kernels() {
    let is = |name: &str, usual: &[&str]| {
        std::env::var(name).map_or(true, |value| usual.contains(&value.as_str()))
    };
    if !is("CT_KERNELS", &[""]) || !is("CT_TEST_DEVICE", &["", "cpu"]) {
        return;
    }
    let mut again = Command::new(std::env::current_exe().unwrap());
    let output = again.env("CT_KERNELS", "composed").env("CT_TEST_CASES", "4").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
