//! `cargo xtask deps`: which crate imports which, and that all of them share the lints.
//!
//! The table below is the architecture: an edge that is not in it does not get in by accident.
//! Tests, benches and examples (dev-dependencies) follow the same table, and may use `ct-alloc` and `ct-random` everywhere.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::workspace::{self, DependencyKind, Package, Workspace};

/// A crate and what it may import.
struct Rule {
    name: &'static str,
    may_import: &'static [&'static str],
    /// Crates from outside that would break what this crate promises.
    never: &'static [&'static str],
}

const CANDLE: &[&str] = &["candle-core", "candle-nn"];

/// Every crate of the workspace; each imports only crates that stand above it, so there is no cycle.
const RULES: &[Rule] = &[
    Rule { name: "ct-alloc", may_import: &[], never: CANDLE },
    Rule { name: "ct-random", may_import: &[], never: CANDLE },
    Rule { name: "ct-schedule", may_import: &[], never: CANDLE },
    Rule { name: "ct-kernels", may_import: &[], never: &["candle-nn"] },
    Rule { name: "ct-model", may_import: &["ct-random", "ct-schedule", "ct-kernels"], never: &[] },
    Rule { name: "ct-data", may_import: &["ct-random"], never: &[] },
    Rule {
        name: "ct-train",
        may_import: &["ct-random", "ct-schedule", "ct-kernels", "ct-model", "ct-data"],
        never: &[],
    },
    Rule {
        name: "ct-sample",
        may_import: &["ct-random", "ct-schedule", "ct-kernels", "ct-model"],
        never: &[],
    },
    // Feature networks are made of the kernels, without the parameter store of models.
    Rule { name: "ct-eval", may_import: &["ct-random", "ct-kernels", "ct-model", "ct-data"], never: &[] },
    Rule {
        name: "ct-cli",
        may_import: &[
            "ct-alloc",
            "ct-random",
            "ct-schedule",
            "ct-kernels",
            "ct-model",
            "ct-data",
            "ct-train",
            "ct-sample",
            "ct-eval",
        ],
        never: &[],
    },
    Rule { name: "xtask", may_import: &[], never: CANDLE },
];

/// What an application embeds must not bring the trainer along, not even through another crate.
const EMBEDDED: &str = "ct-sample";
const NOT_EMBEDDED: [&str; 2] = ["ct-train", "ct-data"];

/// Tests everywhere may draw the same numbers as the library, and benches allocate as the program does.
const FREE_IN_TESTS: [&str; 2] = ["ct-alloc", "ct-random"];

/// The only crates that may hold `unsafe`.
const UNSAFE_CRATES: [&str; 2] = ["ct-alloc", "ct-kernels"];

/// One line of a dependency table: who imports whom.
#[derive(Debug, Clone, Copy)]
struct Edge<'a> {
    from: &'a str,
    to: &'a str,
    kind: Option<DependencyKind>,
}

/// Checks the workspace and prints the verdict.
pub(crate) fn run() -> Result<ExitCode> {
    let workspace = workspace::load()?;
    let edges = edges(&workspace.packages);
    let mut offences = check_members(&workspace.packages);
    offences.extend(check_directions(&edges));
    offences.extend(check_embedding(&edges));
    offences.extend(check_all_lints(&workspace)?);
    if !offences.is_empty() {
        bail!("{} offences against the architecture:\n  {}", offences.len(), offences.join("\n  "));
    }
    println!("crate directions and lints hold for {} crates", workspace.packages.len());
    Ok(ExitCode::SUCCESS)
}

fn edges(packages: &[Package]) -> Vec<Edge<'_>> {
    let mut edges = Vec::new();
    for package in packages {
        for dependency in &package.dependencies {
            edges.push(Edge { from: &package.name, to: &dependency.name, kind: dependency.kind });
        }
    }
    edges
}

fn rule(name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.name == name)
}

/// The table and the workspace name the same crates.
fn check_members(packages: &[Package]) -> Vec<String> {
    let present: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let named: BTreeSet<&str> = RULES.iter().map(|rule| rule.name).collect();
    let new =
        present.difference(&named).map(|name| format!("{name} has no rule; add it in xtask/src/deps.rs"));
    let gone =
        named.difference(&present).map(|name| format!("{name} has a rule but is not in the workspace"));
    new.chain(gone).collect()
}

/// Every edge is in the table.
fn check_directions(edges: &[Edge<'_>]) -> Vec<String> {
    edges.iter().filter_map(|edge| check_edge(*edge)).collect()
}

fn check_edge(edge: Edge<'_>) -> Option<String> {
    let Edge { from, to, kind } = edge;
    let rule_of_from = rule(from)?;
    if rule_of_from.never.contains(&to) {
        return Some(format!("{from} -> {to}: {from} promises to do without it"));
    }
    let is_free = kind == Some(DependencyKind::Dev) && (FREE_IN_TESTS.contains(&to) || to == from);
    if rule(to).is_none() || is_free || rule_of_from.may_import.contains(&to) {
        return None;
    }
    let allowed = match rule_of_from.may_import {
        [] => "no crate of the workspace".to_owned(),
        names => names.join(", "),
    };
    Some(format!("{from} -> {to}: {from} may import {allowed}"))
}

/// No path of ordinary dependencies leads from what applications embed to the trainer or its data.
fn check_embedding(edges: &[Edge<'_>]) -> Vec<String> {
    let mut paths = vec![vec![EMBEDDED]];
    let mut seen = BTreeSet::from([EMBEDDED]);
    let mut offences = Vec::new();
    while let Some(path) = paths.pop() {
        let Some(last) = path.last() else { continue };
        for edge in edges.iter().filter(|edge| edge.from == *last && edge.kind != Some(DependencyKind::Dev)) {
            let longer = [path.as_slice(), &[edge.to]].concat();
            if NOT_EMBEDDED.contains(&edge.to) {
                offences.push(format!(
                    "{}: an application that embeds {EMBEDDED} would carry it",
                    longer.join(" -> ")
                ));
            } else if seen.insert(edge.to) {
                paths.push(longer);
            }
        }
    }
    offences
}

/// Reads the manifests and compares their lints.
fn check_all_lints(workspace: &Workspace) -> Result<Vec<String>> {
    let root = read_manifest(&workspace.root.join("Cargo.toml"))?;
    let shared = root.get("workspace").and_then(|table| table.get("lints")).and_then(toml::Value::as_table);
    let shared = shared.context("the root Cargo.toml has no [workspace.lints]")?;
    let mut offences = Vec::new();
    for package in &workspace.packages {
        let manifest = read_manifest(&package.manifest_path)?;
        offences.extend(check_lints(&package.name, &manifest, shared));
    }
    if lint(shared, "rust", "unsafe_code").and_then(toml::Value::as_str) != Some("forbid") {
        offences.push("Cargo.toml: workspace.lints.rust.unsafe_code must be \"forbid\"".to_owned());
    }
    Ok(offences)
}

fn read_manifest(path: &std::path::Path) -> Result<toml::Table> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.parse().with_context(|| format!("{} is not a manifest", path.display()))
}

/// A crate inherits the shared lints, or repeats every one of them.
/// Only the crate with `unsafe` may say `deny` where the others say `forbid`.
fn check_lints(name: &str, manifest: &toml::Table, shared: &toml::Table) -> Vec<String> {
    let Some(own) = manifest.get("lints").and_then(toml::Value::as_table) else {
        return vec![format!("{name}: no lints; add `[lints]` with `workspace = true`")];
    };
    if own.get("workspace").and_then(toml::Value::as_bool) == Some(true) {
        return Vec::new();
    }
    let mut offences = Vec::new();
    for (tool, lints) in shared {
        for (key, level) in lints.as_table().into_iter().flatten() {
            let relaxed = toml::Value::from("deny");
            let is_the_exception = UNSAFE_CRATES.contains(&name) && tool == "rust" && key == "unsafe_code";
            let wanted = if is_the_exception { &relaxed } else { level };
            match lint(own, tool, key) {
                Some(found) if found == wanted => {}
                found => {
                    let found = found.map_or_else(|| "missing".to_owned(), ToString::to_string);
                    offences.push(format!("{name}: lints.{tool}.{key} is {found}, must be {wanted}"));
                }
            }
        }
    }
    offences
}

fn lint<'a>(lints: &'a toml::Table, tool: &str, key: &str) -> Option<&'a toml::Value> {
    lints.get(tool)?.get(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge<'a>(from: &'a str, to: &'a str) -> Edge<'a> {
        Edge { from, to, kind: None }
    }

    fn dev<'a>(from: &'a str, to: &'a str) -> Edge<'a> {
        Edge { from, to, kind: Some(DependencyKind::Dev) }
    }

    #[test]
    fn the_table_has_no_cycle() {
        for (position, rule) in RULES.iter().enumerate() {
            for import in rule.may_import {
                let above = RULES[..position].iter().any(|other| other.name == *import);
                assert!(above, "{} imports {import}, which does not stand above it", rule.name);
            }
        }
    }

    #[test]
    fn the_table_keeps_the_trainer_out_of_what_is_embedded() {
        let edges: Vec<_> =
            RULES.iter().flat_map(|rule| rule.may_import.iter().map(|to| edge(rule.name, to))).collect();
        assert_eq!(check_directions(&edges), [] as [String; 0]);
        assert_eq!(check_embedding(&edges), [] as [String; 0]);
    }

    #[test]
    fn a_wrong_edge_is_named() {
        let offences = check_directions(&[edge("ct-model", "ct-schedule"), edge("ct-schedule", "ct-model")]);
        assert_eq!(offences, ["ct-schedule -> ct-model: ct-schedule may import no crate of the workspace"]);
    }

    #[test]
    fn mathematics_does_without_tensors() {
        let offences = check_directions(&[edge("ct-schedule", "candle-core"), edge("ct-schedule", "libm")]);
        assert_eq!(offences, ["ct-schedule -> candle-core: ct-schedule promises to do without it"]);
    }

    #[test]
    fn tests_may_use_random_numbers_and_nothing_else_new() {
        assert_eq!(check_directions(&[dev("ct-kernels", "ct-random")]), [] as [String; 0]);
        assert_eq!(check_directions(&[edge("ct-kernels", "ct-random")]).len(), 1);
        assert_eq!(check_directions(&[dev("ct-sample", "ct-train")]).len(), 1);
    }

    #[test]
    fn a_detour_to_the_trainer_is_found() {
        let edges =
            [edge("ct-sample", "ct-model"), edge("ct-model", "ct-data"), dev("ct-sample", "ct-train")];
        let offences = check_embedding(&edges);
        assert_eq!(offences.len(), 1);
        assert!(offences[0].starts_with("ct-sample -> ct-model -> ct-data:"), "{}", offences[0]);
    }

    fn table(text: &str) -> toml::Table {
        text.parse().unwrap()
    }

    #[test]
    fn lints_are_inherited_or_restated() {
        let shared = table("rust.unsafe_code = 'forbid'\nclippy.panic = 'warn'");
        let check = |name, manifest| check_lints(name, &table(manifest), &shared);
        assert_eq!(check("ct-data", "lints.workspace = true"), [] as [String; 0]);
        assert_eq!(check("ct-data", "package.name = 'ct-data'").len(), 1);
        let relaxed = "lints.rust.unsafe_code = 'deny'\nlints.clippy.panic = 'warn'";
        assert_eq!(check("ct-kernels", relaxed), [] as [String; 0]);
        assert_eq!(
            check("ct-data", relaxed),
            [r#"ct-data: lints.rust.unsafe_code is "deny", must be "forbid""#]
        );
        let incomplete = "lints.rust.unsafe_code = 'deny'";
        assert_eq!(
            check("ct-kernels", incomplete),
            [r#"ct-kernels: lints.clippy.panic is missing, must be "warn""#]
        );
    }
}
